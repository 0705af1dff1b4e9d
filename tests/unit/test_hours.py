"""When a business is open, by its own clock."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st
from pydantic import ValidationError

from router.configuration.opening_hours import WEEKDAYS, Hours, OpeningHours, compiled
from router.configuration.zones import zone_of
from router.tenants.away import away_text, check_away_message
from router.tenants.hours import Opening, open_for, opening_at, read_hours, was_open

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
NEW_YORK = ZoneInfo("America/New_York")
SHOP = {day: ["09:00-18:00"] for day in ("mon", "tue", "wed", "thu", "fri")}
BAR = {"fri": ["18:00-02:00"]}


def hours(weekly: dict[str, list[str]], **more: Any) -> Hours:
    return compiled(OpeningHours.model_validate({"weekly": weekly, **more}))


def at(text: str, zone: ZoneInfo = SAO_PAULO) -> datetime:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def told(rule: Hours, text: str, zone: ZoneInfo = SAO_PAULO) -> tuple[bool, str | None]:
    opening = opening_at(rule, zone, at(text, zone))
    changes = opening.changes_at
    return opening.is_open, None if changes is None else f"{changes:%a %Y-%m-%d %H:%M%z}"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-26 08:59:59", (False, "Thu 2026-11-26 09:00-0300")),
        ("2026-11-26 09:00", (True, "Thu 2026-11-26 18:00-0300")),
        ("2026-11-26 17:59:59", (True, "Thu 2026-11-26 18:00-0300")),
        ("2026-11-26 18:00", (False, "Fri 2026-11-27 09:00-0300")),
        ("2026-11-27 18:00", (False, "Mon 2026-11-30 09:00-0300")),
        ("2026-11-29 00:00", (False, "Mon 2026-11-30 09:00-0300")),
    ],
)
def test_a_shop_opens_and_closes_to_the_second(now: str, expected: tuple[bool, str]) -> None:
    assert told(hours(SHOP), now) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-27 17:59", (False, "Fri 2026-11-27 18:00-0300")),
        ("2026-11-27 18:00", (True, "Sat 2026-11-28 02:00-0300")),
        ("2026-11-27 23:59:59", (True, "Sat 2026-11-28 02:00-0300")),
        ("2026-11-28 00:00", (True, "Sat 2026-11-28 02:00-0300")),
        ("2026-11-28 01:59:59", (True, "Sat 2026-11-28 02:00-0300")),
        ("2026-11-28 02:00", (False, "Fri 2026-12-04 18:00-0300")),
        ("2026-11-27 01:00", (False, "Fri 2026-11-27 18:00-0300")),
    ],
)
def test_a_window_goes_on_past_midnight(now: str, expected: tuple[bool, str]) -> None:
    assert told(hours(BAR), now) == expected


def test_windows_that_touch_or_overlap_are_one() -> None:
    lunch = hours({"thu": ["09:00-12:00", "11:00-13:00", "13:00-24:00"], "fri": ["00:00-02:00"]})
    assert told(lunch, "2026-11-26 10:00") == (True, "Fri 2026-11-27 02:00-0300")
    apart = hours({"thu": ["13:00-18:00", "09:00-12:00"]})
    assert told(apart, "2026-11-26 12:30") == (False, "Thu 2026-11-26 13:00-0300")


def test_what_is_always_open_never_changes() -> None:
    always = hours({day: ["00:00-24:00"] for day in WEEKDAYS})
    assert told(always, "2026-11-26 12:30") == (True, None)


def test_an_exception_takes_the_place_of_the_week() -> None:
    special = hours(
        SHOP,
        exceptions={
            "2026-12-23/2027-01-04": [],
            "2026-12-24": ["09:00-12:00"],
            "2026-12-27": ["20:00-03:00"],
        },
    )
    assert told(special, "2026-12-22 19:00") == (False, "Thu 2026-12-24 09:00-0300")
    assert told(special, "2026-12-24 12:00") == (False, "Sun 2026-12-27 20:00-0300")
    assert told(special, "2026-12-28 01:00") == (True, "Mon 2026-12-28 03:00-0300")
    assert told(special, "2026-12-28 09:30") == (False, "Tue 2027-01-05 09:00-0300")


def test_an_exception_of_the_day_after_does_not_cut_the_night_before() -> None:
    bar = hours(BAR, exceptions={"2026-11-28": []})
    assert told(bar, "2026-11-28 01:00") == (True, "Sat 2026-11-28 02:00-0300")


def test_it_is_closed_on_public_holidays_unless_an_exception_says_otherwise() -> None:
    # The 20th of November 2026 is a Friday; the 9th of July is one of São Paulo alone.
    brazil = hours(SHOP, holidays="BR")
    assert told(brazil, "2026-11-20 10:00") == (False, "Mon 2026-11-23 09:00-0300")
    assert brazil.holiday_on(at("2026-11-20 10:00").date())
    assert told(hours(SHOP), "2026-11-20 10:00")[0]
    assert told(brazil, "2026-07-09 10:00")[0]
    assert not told(hours(SHOP, holidays="BR-SP"), "2026-07-09 10:00")[0]
    works = hours(SHOP, holidays="BR", exceptions={"2026-11-20": ["10:00-12:00"]})
    assert told(works, "2026-11-20 10:00") == (True, "Fri 2026-11-20 12:00-0300")
    # the holiday that ends a year is known from within the year before
    assert told(brazil, "2026-12-31 19:00") == (False, "Mon 2027-01-04 09:00-0300")


@pytest.mark.parametrize(
    ("weekly", "now", "expected"),
    [
        # 2026-03-08: at 02:00 it is 03:00; the offset is another one in the afternoon.
        ({"sun": ["09:00-17:00"]}, "2026-03-07 12:00", (False, "Sun 2026-03-08 09:00-0400")),
        ({"sat": ["22:00-04:00"]}, "2026-03-08 03:30", (True, "Sun 2026-03-08 04:00-0400")),
        ({"sun": ["02:30-05:00"]}, "2026-03-08 01:59", (False, "Sun 2026-03-08 03:30-0400")),
        ({"sun": ["02:30-03:00"]}, "2026-03-08 01:59", (False, "Sun 2026-03-15 02:30-0400")),
        # 2026-11-01: 01:30 comes twice; the first one counts.
        ({"sun": ["01:30-05:00"]}, "2026-11-01 00:00", (False, "Sun 2026-11-01 01:30-0400")),
        ({"sat": ["22:00-01:30"]}, "2026-11-01T01:29-04:00", (True, "Sun 2026-11-01 01:30-0400")),
        ({"sat": ["22:00-01:30"]}, "2026-11-01T01:15-05:00", (False, "Sat 2026-11-07 22:00-0500")),
        ({"sat": ["22:00-03:00"]}, "2026-11-01T01:30-05:00", (True, "Sun 2026-11-01 03:00-0500")),
    ],
)
def test_clocks_that_are_put_forward_and_back(
    weekly: dict[str, list[str]], now: str, expected: tuple[bool, str]
) -> None:
    assert told(hours(weekly), now, NEW_YORK) == expected


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-08 01:59", (False, "Sun 2026-03-08 03:00-0400")),
        ("2026-03-08 03:05", (True, "Sun 2026-03-08 03:20-0400")),
        ("2026-03-08 03:25", (False, "Sun 2026-03-08 03:30-0400")),
        ("2026-03-08 03:35", (True, "Sun 2026-03-08 03:45-0400")),
        ("2026-03-08 03:50", (False, "Sun 2026-03-15 02:30-0400")),
    ],
)
def test_a_window_that_clocks_leap_over_may_come_after_the_next(
    order: int, now: str, expected: tuple[bool, str]
) -> None:
    windows = ["02:30-02:45", "03:00-03:20"][::order]
    assert told(hours({"sun": windows}), now, NEW_YORK) == expected


def test_the_same_moment_is_open_here_and_closed_there() -> None:
    now = at("2026-11-26T12:30+00:00")
    assert opening_at(hours(SHOP), SAO_PAULO, now).is_open
    assert not opening_at(hours(SHOP), NEW_YORK, now).is_open


def test_where_no_opening_is_known_none_is_told() -> None:
    years = {f"{year}-01-01/{year}-12-31": [] for year in range(2026, 2030)}
    shut = hours({"mon": ["09:00-18:00"]}, exceptions=years)
    assert opening_at(shut, SAO_PAULO, at("2026-11-26 10:00")) == Opening(
        is_open=False, changes_at=None
    )


CLOCK = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
WEEKS = st.dictionaries(
    st.sampled_from(WEEKDAYS),
    st.lists(st.builds("{}-{}".format, CLOCK, CLOCK), min_size=1, max_size=3),
    min_size=1,
)


@rules(max_examples=60)
@given(
    weekly=WEEKS,
    now=st.integers(0, 300 * 86_400).map(lambda s: at("2026-02-01 00:00") + timedelta(seconds=s)),
    zone=st.sampled_from([SAO_PAULO, NEW_YORK, ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata")]),
)
def test_nothing_changes_before_the_change_that_is_told(
    weekly: dict[str, list[str]], now: datetime, zone: ZoneInfo
) -> None:
    rule = hours(weekly)
    opening = opening_at(rule, zone, now)
    assert was_open(rule, zone, now) is opening.is_open
    if opening.changes_at is None:
        return
    change = opening.changes_at.astimezone(UTC)
    assert change > now
    assert opening_at(rule, zone, change - timedelta(seconds=1)) == opening
    assert opening_at(rule, zone, now + (change - now) / 2) == opening
    assert opening_at(rule, zone, change).is_open is not opening.is_open


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"weekly": {}}, "window"),
        ({"weekly": {"mon": []}}, "window"),
        ({"weekly": {"monday": ["09:00-18:00"]}}, "mon"),
        ({"weekly": {"mon": ["9-18"]}}, "09:00-18:00"),
        ({"weekly": {"mon": ["09:00-24:01"]}}, "09:00-18:00"),
        ({"weekly": {"mon": ["09:00-18:00"] * 7}}, "6 windows"),
        ({"weekly": SHOP, "exceptions": {"24/12": []}}, "2026-12-24"),
        ({"weekly": SHOP, "exceptions": {"2026-02-30": []}}, "2026-12-24"),
        ({"weekly": SHOP, "exceptions": {"2026-12-24/2026-12-23": []}}, "after it begins"),
        ({"weekly": SHOP, "exceptions": {"2026-01-01/2028-01-01": []}}, "within a year"),
        ({"weekly": SHOP, "exceptions": {f"2026-01-{n}": [] for n in range(201)}}, "200"),
        ({"weekly": SHOP, "holidays": "Brazil"}, "BR-SP"),
        ({"weekly": SHOP, "holidays": "BR-XX"}, "BR-SP"),
        ({"weekly": SHOP, "holidays": ""}, "BR-SP"),
        ({"weekly": SHOP, "open": True}, "open"),
        ({}, "weekly"),
        ([], "OpeningHours"),
    ],
)
def test_hours_that_cannot_be_are_refused_and_those_stored_all_the_same_are_no_hours(
    wrong: Any, word: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        OpeningHours.model_validate(wrong)
    assert word in str(caught.value)
    assert read_hours(wrong) is None


@pytest.mark.parametrize("name", ["", "Brasil", "America", "../etc", "a\0b", "a" * 5000, "/UTC"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="America/Sao_Paulo"):
        zone_of(name)


def test_an_away_message_says_when_it_opens_in_its_own_words() -> None:
    opens = datetime(2026, 11, 30, 9, 5, tzinfo=SAO_PAULO)
    text = "Abrimos {weekday:pt}, {date}, às {time}. ({weekday}, {date:mdy}, {date:iso})"
    assert away_text(check_away_message(text), opens) == (
        "Abrimos segunda-feira, 30/11/2026, às 09:05. (Monday, 11/30/2026, 2026-11-30)"
    )


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "1 to 2000"),
        ("   ", "1 to 2000"),
        ("{time}" + "x" * 2000, "1 to 2000"),
        ("Estamos fechados.", "{time}"),
        ("{time} {name}", "{name}"),
        ("{time} {weekday:xx}", "{weekday:xx}"),
        ("{time.__class__} {time}", "{time.__class__}"),
    ],
)
def test_an_away_message_that_does_not_is_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its words are what is looked at
        check_away_message(text)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("since", "minutes", "expected"),
    [
        ("2026-11-26 10:00", 15, "2026-11-26 10:15"),
        ("2026-11-26 17:50", 15, "2026-11-27 09:05"),
        ("2026-11-26 22:00", 15, "2026-11-27 09:15"),
        ("2026-11-27 17:50", 15, "2026-11-30 09:05"),
        ("2026-11-26 10:00", 60 * 12, "2026-11-27 13:00"),
    ],
)
def test_when_it_will_have_been_open_for_so_long(since: str, minutes: int, expected: str):
    ends = open_for(hours(SHOP), SAO_PAULO, at(since), timedelta(minutes=minutes))
    assert ends == at(expected)
