"""Whether it is open by Python's clock and by PostgreSQL's, which knows time zones by itself.

Of a time that a clock shows twice each takes another one, so no window begins or ends then.
"""

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from router.configuration.opening_hours import WEEKDAYS, OpeningHours, compiled
from router.tenants.hours import opening_at, was_open
from tests.state.conversation import Conversation

CLOCK = ["00:00", "02:30", "03:00", "04:15", "09:00", "12:00", "18:00", "22:00", "24:00"]
# From when the clocks of each change, or nothing does.
AROUND = {
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Europe/Berlin": ["2026-03-29", "2026-12-31"],
    "Australia/Sydney": ["2026-10-04", "2027-01-26"],
    "Australia/Lord_Howe": ["2026-10-04", "2027-01-01"],
    "America/Sao_Paulo": ["2026-11-20", "2028-02-29"],
    "Asia/Kolkata": ["2026-11-20", "2027-01-01"],
}
# A window is of the day on which it begins; a day's exception takes the place of its week's.
OPEN_IN_SQL = """
    with days as (
        select d::date as day
        from generate_series($4::date - 3, $4::date + 4, interval '1 day') as d
    ),

    windows as (
        select d.day, w.hours
        from days as d
        cross join lateral jsonb_array_elements_text(coalesce(
            $2::jsonb -> 'exceptions' -> to_char(d.day, 'YYYY-MM-DD'),
            $2::jsonb -> 'weekly' -> to_char(d.day, 'dy'),
            '[]'
        )) as w (hours)
    ),

    times as (
        select
            (w.day + split_part(w.hours, '-', 1)::time) at time zone $1::text as opens,
            (
                w.day + (split_part(w.hours, '-', 2) <= split_part(w.hours, '-', 1))::integer
                + split_part(w.hours, '-', 2)::interval
            ) at time zone $1::text as closes
        from windows as w
    )

    select
        m.at,
        exists (select from times as t where t.opens <= m.at and m.at < t.closes) as is_open
    from unnest($3::timestamptz[]) as m (at)
"""


def hours_of(chance: random.Random, around: date) -> dict[str, object]:
    def windows() -> list[str]:
        opens = chance.sample(CLOCK[:-1], chance.randint(1, 2))
        return [f"{each}-{chance.choice([c for c in CLOCK if c != each])}" for each in opens]

    days = [around + timedelta(days=chance.randint(-2, 2)) for _ in range(2)]
    return {
        "weekly": {day: windows() for day in chance.sample(WEEKDAYS, 5)},
        "exceptions": {day.isoformat(): chance.choice([[], windows()]) for day in days},
    }


@pytest.mark.parametrize("zone", AROUND)
async def test_python_and_postgresql_agree(talk: Conversation, zone: str):
    chance = random.Random(zone)
    for around in map(date.fromisoformat, AROUND[zone]):
        midnight = datetime(around.year, around.month, around.day, tzinfo=UTC)
        for _ in range(12):
            stored = hours_of(chance, around)
            rule = compiled(OpeningHours.model_validate(stored))
            moments = [
                midnight + timedelta(minutes=chance.randint(-1440, 2 * 1440)) for _ in range(60)
            ]
            rows = await talk.sql(OPEN_IN_SQL, zone, stored, moments, around)
            for row in rows:
                place = ZoneInfo(zone)
                assert was_open(rule, place, row["at"]) is row["is_open"], (stored, row["at"])
                assert opening_at(rule, place, row["at"]).is_open is row["is_open"]
