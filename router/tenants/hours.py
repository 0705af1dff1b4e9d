"""When a business is open, by its own clock: pure. The stored value may come from anywhere.

A time that occurs twice when clocks change is the first of both, and one that is skipped is as late
as if it had not been skipped (as in RFC 5545).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from router.configuration.opening_hours import Hours, OpeningHours, compiled

_LOOKED_AHEAD = 800  # days
_LONG_OPEN = timedelta(days=8)  # nobody needs to know the end of a time this long
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether it is open, and when that changes; None: not in the foreseeable time."""

    is_open: bool
    changes_at: datetime | None


def read_hours(stored: Mapping[str, Any] | None) -> Hours | None:
    """Return the stored hours; None if there are none, or they cannot be read."""
    if stored is None:
        return None
    try:
        return compiled(OpeningHours.model_validate(stored))
    except ValidationError:
        return None


def opening_at(hours: Hours, zone: ZoneInfo, now: datetime) -> Opening:
    """Return whether it is open now, and when that changes."""
    until: datetime | None = None
    for begins, ends in _open_times(hours, zone, now):
        if ends <= now:
            continue
        if until is None:
            if begins > now:
                return Opening(is_open=False, changes_at=begins.astimezone(zone))
            until = ends
        elif begins <= until:
            until = max(until, ends)
        else:
            break
        if until - now > _LONG_OPEN:
            return Opening(is_open=True, changes_at=None)
    if until is None:
        return Opening(is_open=False, changes_at=None)
    return Opening(is_open=True, changes_at=until.astimezone(zone))


def was_open(hours: Hours, zone: ZoneInfo, at: datetime) -> bool:
    """Return whether it is, or was, open at that time."""
    # A window ends on the day after that of its beginning at the latest.
    return any(begins <= at < ends for begins, ends in _open_times(hours, zone, at, days=2))


def open_for(hours: Hours, zone: ZoneInfo, since: datetime, lasts: timedelta) -> datetime | None:
    """Return when it will have been open for so long since then; None: never, as far as we see."""
    until = since
    for opens, ends in _open_times(hours, zone, since):
        begins = max(opens, until)
        if ends <= begins:
            continue
        if ends - begins >= lasts:
            return begins + lasts
        lasts -= ends - begins
        until = ends
    return None


def _open_times(
    hours: Hours, zone: ZoneInfo, now: datetime, days: int = _LOOKED_AHEAD
) -> Iterator[tuple[datetime, datetime]]:
    """Yield from when to when it is open, ordered by their beginnings, from yesterday on."""
    yesterday = now.astimezone(zone).date() - _DAY
    for number in range(days):
        day = yesterday + number * _DAY
        times = (
            (_moment(day, opens, zone), _moment(day + later * _DAY, closes, zone))
            for opens, closes, later in hours.windows_on(day)
        )
        # A clock change can change their order, and removes what it skips.
        yield from sorted((begins, ends) for begins, ends in times if begins < ends)


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """In UTC: times of one zone would be compared by what their clocks show."""
    return datetime.combine(day, at, zone).astimezone(UTC)
