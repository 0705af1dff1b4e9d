"""When a business is open, in its time zone. Pure. The stored value may come from anywhere.

If a time occurs twice when clocks change, the first one counts. If a time is skipped, it is read
with the offset from before the change (as in RFC 5545).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from router.configuration.opening_hours import Hours, OpeningHours, compiled

_LOOKED_AHEAD = 800  # days
_LONG_OPEN = timedelta(days=8)  # the end of an opening this long does not matter
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether it is open, and when that changes; None: not in the days that are looked at."""

    is_open: bool
    changes_at: datetime | None


def read_hours(stored: Mapping[str, Any] | None) -> Hours | None:
    """Return the stored hours; None if there are none, or if they are invalid."""
    if stored is None:
        return None
    try:
        return compiled(OpeningHours.model_validate(stored))
    except ValidationError:
        return None


def opening_at(hours: Hours, zone: ZoneInfo, now: datetime) -> Opening:
    """Return whether the business is open now, and when that changes."""
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
    """Return whether the business is, or was, open at this time."""
    # A window ends at the latest on the day after it begins.
    return any(begins <= at < ends for begins, ends in _open_times(hours, zone, at, days=2))


def open_for(hours: Hours, zone: ZoneInfo, since: datetime, lasts: timedelta) -> datetime | None:
    """Return when the opening time since then will add up to so long; None: not foreseeable."""
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
    """Yield the times when it is open, as (from, to) in their order, from yesterday on."""
    yesterday = now.astimezone(zone).date() - _DAY
    for number in range(days):
        day = yesterday + number * _DAY
        times = (
            (_moment(day, opens, zone), _moment(day + later * _DAY, closes, zone))
            for opens, closes, later in hours.windows_on(day)
        )
        # A clock change can change the order of windows, and can remove one that it skips.
        yield from sorted((begins, ends) for begins, ends in times if begins < ends)


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return it in UTC: Python would compare times of one zone by what their clocks show."""
    return datetime.combine(day, at, zone).astimezone(UTC)
