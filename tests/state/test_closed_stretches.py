"""Whether a business is open, by the state's clock and its hours as they are stored.

Each visit is a message at a time of the business's own clock. The router says what it makes of the
turn that the state gives it; the fence says whether that is told.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from router.replies.closed import closed_stretch
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.database import Json
from tests.state.conversation import Conversation, held

AWAY = "Abrimos {weekday}, {date:iso}, às {time}."
OPEN, SILENT = "open", "silent"
SHOP = {day: ["09:00-18:00"] for day in ("mon", "tue", "wed", "thu", "fri")}
# The dates lie ahead, for the state's clock goes forward.
KINDS = {
    "a shop's night and its weekend": (
        "America/Sao_Paulo",
        {"weekly": SHOP},
        [
            ("2035-11-15 17:50", OPEN),  # a Thursday
            ("2035-11-15 18:10", "Friday, 2035-11-16, às 09:00"),
            ("2035-11-16 03:00", SILENT),
            ("2035-11-16 09:10", OPEN),
            ("2035-11-16 18:10", "Monday, 2035-11-19, às 09:00"),
            ("2035-11-18 12:00", SILENT),
            ("2035-11-19 17:00", OPEN),
            ("2035-11-19 19:00", "Tuesday, 2035-11-20, às 09:00"),
        ],
    ),
    "a bar's night past midnight": (
        "America/Sao_Paulo",
        {"weekly": {"fri": ["18:00-02:00"]}},
        [
            ("2035-11-16 01:00", "Friday, 2035-11-16, às 18:00"),
            ("2035-11-16 17:50", SILENT),
            ("2035-11-16 18:10", OPEN),
            ("2035-11-17 00:10", OPEN),
            ("2035-11-17 01:50", OPEN),
            ("2035-11-17 02:10", "Friday, 2035-11-23, às 18:00"),
            ("2035-11-22 12:00", SILENT),
        ],
    ),
    "exceptions, of which Saturday's does not end Friday's night": (
        "America/Sao_Paulo",
        {
            "weekly": {"fri": ["18:00-02:00"], "sat": ["10:00-12:00"]},
            "exceptions": {"2035-11-17": [], "2035-11-23/2035-11-24": ["20:00-21:00"]},
        },
        [
            ("2035-11-17 01:50", OPEN),
            ("2035-11-17 10:30", "Friday, 2035-11-23, às 20:00"),
            ("2035-11-23 18:30", SILENT),
            ("2035-11-23 20:30", OPEN),
            ("2035-11-23 23:00", "Saturday, 2035-11-24, às 20:00"),
            ("2035-11-24 11:00", SILENT),
        ],
    ),
    "a public holiday, and one that an exception opens": (
        "America/Sao_Paulo",
        {"weekly": SHOP, "holidays": "BR", "exceptions": {"2035-12-25": ["10:00-12:00"]}},
        [
            ("2035-11-20 10:00", "Wednesday, 2035-11-21, às 09:00"),
            ("2035-11-20 17:00", SILENT),
            ("2035-11-21 10:00", OPEN),
            ("2035-12-25 09:30", "Tuesday, 2035-12-25, às 10:00"),
            ("2035-12-25 10:30", OPEN),
            ("2035-12-31 19:00", "Wednesday, 2036-01-02, às 09:00"),
        ],
    ),
    "a night in which clocks are put forward": (
        "America/New_York",
        {"weekly": {"sat": ["22:00-04:00"], "sun": ["09:00-17:00"]}},
        [
            ("2035-03-11 01:50", OPEN),
            ("2035-03-11 03:10", OPEN),  # twenty minutes later
            ("2035-03-11 04:10", "Sunday, 2035-03-11, às 09:00"),
            ("2035-03-11 08:50", SILENT),
            ("2035-03-11 09:10", OPEN),
        ],
    ),
    "a night in which clocks are put back": (
        "America/New_York",
        {"weekly": {"sat": ["22:00-01:30"], "sun": ["09:00-17:00"]}},
        [
            ("2035-11-04T01:20-04:00", OPEN),
            ("2035-11-04T01:40-04:00", "Sunday, 2035-11-04, às 09:00"),
            ("2035-11-04T01:20-05:00", SILENT),
            ("2035-11-04T08:50-05:00", SILENT),
            ("2035-11-04T09:10-05:00", OPEN),
        ],
    ),
}


async def visit(talk: Conversation, at: datetime) -> str:
    """Return what comes of a message at that time: open, or what is told, or silent."""
    await talk.travel(seconds=(at - talk.now()).total_seconds())
    await talk.maria_writes("oi")
    turn = await talk.claim_one(lease=600)
    stretch = closed_stretch(ClaimedTurn.model_validate(turn), "UTC")
    told = OPEN
    if stretch is not None:
        assert stretch.opens_at is not None
        told = await say(talk, turn, stretch.message or AWAY, stretch.opens_at)
        assert (told == SILENT) is (stretch.message is None)
    done = {**held(turn), "reason": "closed", "unanswered": True}
    await talk.database.call("finish_turn", done)
    return told


async def say(talk: Conversation, turn: Json, body: str, opens_at: datetime) -> str:
    asked = {**held(turn), "opens_at": opens_at.isoformat(), "body": body, "lease_seconds": 45}
    begun = await talk.database.call("begin_away_send", asked)
    if begun == {"refused": "told"}:
        return SILENT
    await talk.finish(turn, begun, f"3EB0{begun['message_id']:08X}")
    return body


@pytest.mark.parametrize("kind", KINDS)
async def test_each_closed_stretch_is_told_once_and_with_its_own_end(talk: Conversation, kind: str):
    zone, hours, visits = KINDS[kind]
    values = {"timezone": zone, "opening_hours": hours, "away_message": AWAY}
    await talk.database.call("change_tenant", {"tenant_id": 1, "values": values})
    for time, expected in visits:
        moment = datetime.fromisoformat(time)
        at = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
        told = await visit(talk, at.astimezone(UTC))
        wanted = expected if expected in (OPEN, SILENT) else f"Abrimos {expected}."
        assert told == wanted, time
