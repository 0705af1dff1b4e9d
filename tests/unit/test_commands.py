"""What people ask for by quoting a notice: exactly ok, resume, or a time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from router.whatsapp.commands import Command, is_command, read_command
from tests.for_each import for_each

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
NOW = datetime(2026, 11, 26, 18, 0, tzinfo=SAO_PAULO)  # a Thursday


def until(text: str, now: datetime = NOW) -> str | None:
    """When it is given back, in the time zone of the business."""
    command = read_command(text, now, SAO_PAULO)
    if command is None or command.until is None:
        return None
    return command.until.astimezone(SAO_PAULO).strftime("%d %H:%M")


@pytest.mark.parametrize("text", ["ok", "OK", " Ok. ", "ok!…", "\u200eok\u2060\ufe0f"])
def test_ok_takes_it(text: str):
    assert read_command(text, NOW, SAO_PAULO) == Command("take")


@pytest.mark.parametrize("text", ["resume", "Resume", "RESUME."])
def test_resume_gives_it_back(text: str):
    assert read_command(text, NOW, SAO_PAULO) == Command("resume")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", "26 20:00"),
        ("2 horas", "26 20:00"),
        ("in 2 hours", "26 20:00"),
        ("em 2 horas", "26 20:00"),
        ("en 2 horas", "26 20:00"),
        ("30m", "26 18:30"),
        ("30 min", "26 18:30"),
        ("45 minutos", "26 18:45"),
        ("1h30", "26 19:30"),
        ("1h 30m", "26 19:30"),
        ("2 dias", "28 18:00"),
        ("1 day", "27 18:00"),
        ("0h", "26 18:00"),
        ("12h", "27 06:00"),
        ("24h", "27 18:00"),
        ("15 horas", "27 09:00"),
    ],
)
def test_how_long(text: str, moment: str):
    assert until(text) == moment


@for_each(
    ("text", "moment"),
    [
        ("19:30", "26 19:30"),
        ("15:00", "27 15:00"),
        ("às 19h", "26 19:00"),
        ("19h", "26 19:00"),
        ("15h", "27 15:00"),
        ("20h30", "26 20:30"),
        ("22 hs", "26 22:00"),
        ("as 19h30", "26 19:30"),
        ("a las 19:30", "26 19:30"),
        ("at 7pm", "26 19:00"),
        ("7pm", "26 19:00"),
        ("9 a.m.", "27 09:00"),
        ("12am", "27 00:00"),
        ("amanhã 9h", "27 09:00"),
        ("Amanha às 9", "27 09:00"),
        ("amanhã, 9h30", "27 09:30"),
        ("mañana 9h", "27 09:00"),
        ("mañana a las 9", "27 09:00"),
        ("tomorrow 9am", "27 09:00"),
        ("tomorrow at 9", "27 09:00"),
        ("hoje 20h", "26 20:00"),
        ("hoy a las 20", "26 20:00"),
        ("today 8pm", "26 20:00"),
        ("segunda 9h", "30 09:00"),
        ("segunda-feira às 9h", "30 09:00"),
        ("lunes a las 9", "30 09:00"),
        ("monday 9am", "30 09:00"),
        ("sexta 15h", "27 15:00"),
        ("quinta 19h", "26 19:00"),
        ("quinta 9h", "03 09:00"),
        ("SEX 9H", "27 09:00"),
        ("sex 9h", "27 09:00"),
        ("sex. 9h", "27 09:00"),
        ("lun a las 9", "30 09:00"),
        ("21h00", "26 21:00"),
        ("9h00", "27 09:00"),
        ("amanhã às 9h30min", "27 09:30"),
        ("às 19h30min", "26 19:30"),
        ("19h30min", "26 19:30"),
        ("\u200e\uff11\uff15h30...", "27 15:30"),
        ("MAÑANA  A LAS 9", "27 09:00"),
    ],
)
def test_when(text: str, moment: str):
    assert until(text) == moment


def test_what_is_over_today_is_told_as_it_is():
    assert until("hoje 9h") == "26 09:00"


@for_each(
    "text",
    [
        *("", "okay", "ok, já te ligo", "ok 2h", "resume por favor", "não", "👍", "oks"),
        *("9", "15", "12,50", "R$ 15", "a 9", "25:00", "13pm", "0pm", "9:75", "99:00"),
        *(
            "mar 15",
            "dom 12",
            "seg 10",
            "lunes 9",
            "sexta 13",
            "martes 13",
            "amanhã",
            "tomorrow",
            "segunda",
            "amanhã de manhã",
            "amanhã 9h na loja",
            "dia 9h",
        ),
        *("2h de espera", "são 2h", "h", "2x", "às 9h da manhã", "999999h", "resume\nresume"),
        "são 15:00 agora e a loja fecha daqui a pouco, viu?",
    ],
)
def test_all_else_is_for_the_customer(text: str):
    assert read_command(text, NOW, SAO_PAULO) is None
    assert not is_command(text)


def test_a_time_is_that_of_the_business():
    here = read_command("tomorrow 9am", NOW, SAO_PAULO)
    there = read_command("tomorrow 9am", NOW, ZoneInfo("Europe/Lisbon"))
    assert here is not None
    assert there is not None
    assert here.until is not None
    assert there.until is not None
    assert here.until - there.until == timedelta(hours=3)


def test_across_the_change_of_the_clocks_the_hour_stays():
    new_york = ZoneInfo("America/New_York")
    now = datetime(2026, 10, 31, 18, 0, tzinfo=new_york)
    command = read_command("tomorrow 9am", now, new_york)
    assert command is not None
    assert command.until is not None
    assert command.until.astimezone(UTC) == datetime(2026, 11, 1, 14, 0, tzinfo=UTC)
    longer = read_command("24h", now, new_york)
    assert longer is not None
    assert longer.until is not None
    assert longer.until.astimezone(UTC) - now.astimezone(UTC) == timedelta(hours=24)


def test_the_longest_numbers_end_in_no_fault():
    for text in ("9999 days", "9999h", "99999 min", "9999 dias"):
        assert read_command(text, NOW, SAO_PAULO) is not None
