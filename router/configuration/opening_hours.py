"""A tenant's opening hours: checked when they are set, and read as the windows of a day.

A window belongs to the day on which it begins, and may end on the next day: Saturday's hours do not
change `18:00-02:00` on Friday.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import lru_cache
from typing import Literal

import holidays.countries
from pydantic import BaseModel, Field, model_validator

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]|24):([0-5][0-9])")
_DAYS = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:/([0-9]{4}-[0-9]{2}-[0-9]{2}))?")
_MOST_WINDOWS = 6  # per day
_MOST_EXCEPTIONS = 200
_DAY = timedelta(days=1)
_Window = tuple[time, time, int]
"""Its beginning, its end, and how many days after its beginning it ends."""


class OpeningHours(BaseModel, extra="forbid", frozen=True, hide_input_in_errors=True):
    """When a business is open: each day's hours as `09:00-18:00`. Days without hours are closed."""

    weekly: dict[Weekday, list[str]] = Field(
        examples=[{"mon": ["09:00-12:00", "13:00-18:00"], "fri": ["18:00-02:00"]}]
    )
    exceptions: dict[str, list[str]] = Field(
        default_factory=dict,
        max_length=_MOST_EXCEPTIONS,
        description="Hours of one day, or of several (`first/last`), that replace the weekly hours"
        " and holidays; the entry with the fewest days wins. No hours: closed",
        examples=[{"2026-12-24": ["09:00-12:00"], "2026-12-28/2027-01-03": []}],
    )
    holidays: str | None = Field(
        default=None,
        description="A country (ISO 3166), or a part of it, on whose public holidays it is closed",
        examples=["BR-SP"],
    )

    @model_validator(mode="after")
    def _check(self) -> "OpeningHours":
        compiled(self)
        return self


@dataclass(frozen=True, slots=True)
class _Exception:
    first: date
    last: date
    windows: tuple[_Window, ...]


@dataclass(frozen=True, slots=True)
class Hours:
    """Opening hours in a form for questions; weekly windows are in the order of `date.weekday`."""

    weekly: tuple[tuple[_Window, ...], ...]
    exceptions: tuple[_Exception, ...]
    holidays: str | None

    def windows_on(self, day: date) -> tuple[_Window, ...]:
        """Return the windows that begin on a day, in their order."""
        for exception in self.exceptions:
            if exception.first <= day <= exception.last:
                return exception.windows
        return () if self.holiday_on(day) else self.weekly[day.weekday()]

    def holiday_on(self, day: date) -> str | None:
        """Return the name of the public holiday on this day, if the business observes it."""
        return None if self.holidays is None else _holidays_of(self.holidays, day.year).get(day)


def compiled(hours: OpeningHours) -> Hours:
    """Return the checked hours. Raises ValueError, which says what is wrong."""
    weekly = tuple(_windows(day, hours.weekly.get(day, [])) for day in WEEKDAYS)
    if not any(weekly):
        raise ValueError("weekly must have a window on one day at least, such as 09:00-18:00")
    exceptions = [_exception(days, windows) for days, windows in hours.exceptions.items()]
    if hours.holidays is not None:
        _check_holidays(hours.holidays)
    return Hours(weekly, tuple(sorted(exceptions, key=lambda e: e.last - e.first)), hours.holidays)


def _windows(name: str, texts: list[str]) -> tuple[_Window, ...]:
    if len(texts) > _MOST_WINDOWS:
        raise ValueError(f"{name} may have {_MOST_WINDOWS} windows, not {len(texts)}")
    return tuple(sorted(_window(name, text) for text in texts))


def _window(name: str, text: str) -> _Window:
    found = _WINDOW.fullmatch(text)
    if found is None or (found[3] == "24" and found[4] != "00"):
        raise ValueError(f"{name} has a window that cannot be read: write it as 09:00-18:00")
    opens = time(int(found[1]), int(found[2]))
    closes = time(int(found[3]) % 24, int(found[4]))
    return opens, closes, int(closes <= opens)


def _exception(days: str, windows: list[str]) -> _Exception:
    found = _DAYS.fullmatch(days)
    try:
        first = date.fromisoformat(found[1] if found else "")
        last = date.fromisoformat(found[2]) if found and found[2] else first
    except ValueError as error:
        raise ValueError(
            "exceptions are named by a day, 2026-12-24, or by the first and last of several:"
            " 2026-12-24/2027-01-03"
        ) from error
    if not timedelta() <= last - first <= 366 * _DAY:
        raise ValueError(f"the exception {first}/{last} must end after it begins, within a year")
    return _Exception(first, last, _windows(f"the exception {first}", windows))


def _check_holidays(code: str) -> None:
    try:
        _holidays_of(code, 2026)
    except (NotImplementedError, AttributeError, TypeError) as error:
        raise ValueError(
            "holidays must be a country by its two letters, such as BR, or a part of it: BR-SP"
        ) from error


@lru_cache(maxsize=1000)
def _holidays_of(code: str, year: int) -> Mapping[date, str]:
    country, _, part = code.partition("-")
    if len(country) != 2:
        raise NotImplementedError
    found = holidays.country_holidays(
        country, subdiv=part or None, years=year, expand=False, language="en_US"
    )
    return dict(found)
