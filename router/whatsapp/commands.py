"""Reads the commands of a business's people in replies to a notice: `ok`, `resume`, or a time.

Any other reply to a notice is for the customer, so a text that only begins like a command is not a
command. Times are read in Portuguese, Spanish and English, in the time zone of the business: a
duration from now (`2h`, `30 min`, `1h30`, `2 dias`), or a moment (`15:00`, `às 15h`, `amanhã 9h`,
`mañana a las 9`, `tomorrow 9am`, `segunda 9h`, `friday 3pm`). A bare `2h` is a duration. A time of
day has a colon, am or pm, a word before it, `00` after it, or is from 13h to 23h: people write the
afternoon like this, and nobody pauses for fifteen hours.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Literal

_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_LONGEST = 40  # characters of a command
_TAKE, _RESUME = "ok", "resume"
_AROUND = re.compile(r"^[\s.!]+|[\s.!]+$")
_UNSEEN = frozenset({"Mn", "Me", "Cf"})
"""Accents, and invisible characters of keyboards: direction marks, joiners, emoji variations."""
_HOURS, _MINUTES = r"(?:h|hs|hr|hrs|horas?|hours?)", r"(?:m|min|mins|minutos?|minutes?)"
_DAYS = r"(?:d|dias?|days?)"
_SPAN = re.compile(
    rf"(?:(?:em|in|en|por|for)\s+)?(?:"
    rf"(?P<days>\d{{1,4}})\s*{_DAYS}"
    rf"|(?P<hours>\d{{1,4}})\s*{_HOURS}(?:\s*(?:e|y|and)?\s*(?P<more>[0-5]?\d)\s*{_MINUTES}?)?"
    rf"|(?P<minutes>\d{{1,5}})\s*{_MINUTES})"
)
_BY_THE_CLOCK = re.compile(
    rf"(?:1[3-9]|2[0-3])\s*h(?:s|\s*[0-5]\d\s*{_MINUTES}?)?|(?:[01]?\d|2[0-3])\s*h\s*00"
)
_AT = r"(?:as|a\s+las|a\s+la|at)"
_CLOCK = re.compile(
    rf"(?P<at>{_AT}\s+)?(?P<hour>[01]?\d|2[0-3])"
    rf"(?:\s*(?P<mark>:|h)\s*(?P<minute>[0-5]\d)(?:\s*{_MINUTES})?)?\s*"
    rf"(?P<unit>{_HOURS})?\s*(?P<half>am|pm|a\.m\.?|p\.m\.?)?"
)
_DAY = re.compile(r"(?P<day>[a-z]+)(?:[\s-]+feira|\.)?(?:\s*,)?\s+(?P<rest>.+)")
_TODAY = {"hoje": 0, "hoy": 0, "today": 0, "amanha": 1, "manana": 1, "tomorrow": 1}
_WEEKDAYS = {
    name: number
    for number, names in enumerate(
        (
            "segunda seg lunes lun monday mon",
            "terca ter martes mar tuesday tue",
            "quarta qua miercoles mie wednesday wed",
            "quinta qui jueves jue thursday thu",
            "sexta sex viernes vie friday fri",
            "sabado sab saturday sat",
            "domingo dom sunday sun",
        )
    )
    for name in names.split()
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command; `until` is when the conversation is given back, if a time was named."""

    verb: Literal["take", "resume", "until"]
    until: datetime | None = None


def read_command(text: str, now: datetime, zone: tzinfo) -> Command | None:
    """Return the command in a text that was written at `now`, or None if it is not a command."""
    if len(text) > _LONGEST:
        return None
    said = _plain(text)
    if said == _TAKE:
        return Command("take")
    if said == _RESUME:
        return Command("resume")
    until = _span(said, now.astimezone(UTC)) or _moment(said, now.astimezone(zone))
    return None if until is None else Command("until", until)


def is_command(text: str) -> bool:
    """Whether the text is a command, whatever the time and the time zone."""
    return read_command(text, _ANY_TIME, UTC) is not None


def _plain(text: str) -> str:
    """Return the text in lower case, without accents, invisible and surrounding characters."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(each for each in letters if unicodedata.category(each) not in _UNSEEN)
    return _AROUND.sub("", " ".join(bare.split()))


def _span(said: str, now: datetime) -> datetime | None:
    found = _SPAN.fullmatch(said)
    if found is None or _BY_THE_CLOCK.fullmatch(said):
        return None
    days, hours, more, minutes = (
        int(found[name] or 0) for name in ("days", "hours", "more", "minutes")
    )
    return now + timedelta(days=days, hours=hours, minutes=more + minutes)


def _moment(said: str, now: datetime) -> datetime | None:
    """Return the moment that the text names, if any; `now` is in the business's time zone."""
    named = _DAY.fullmatch(said)
    if named is not None and (days := _days_until(named["day"], now)) is not None:
        # "Lunes 9" and "dom 12" may as well be a date or an amount, for the customer.
        is_weekday = named["day"] in _WEEKDAYS
        clock = _clock(named["rest"], is_named=not (is_weekday and named["rest"].isdecimal()))
        if clock is None:
            return None
        at = _at(now, days, clock)
        return _at(now, days + 7, clock) if is_weekday and at <= now else at
    clock = _clock(said, is_named=False)
    if clock is None:
        return None
    today = _at(now, 0, clock)
    return today if today > now else _at(now, 1, clock)


def _days_until(name: str, now: datetime) -> int | None:
    if name in _TODAY:
        return _TODAY[name]
    weekday = _WEEKDAYS.get(name)
    return None if weekday is None else (weekday - now.weekday()) % 7


def _clock(said: str, *, is_named: bool) -> time | None:
    """Return the time of day, or None. A number alone is only a time if a day `is_named`."""
    found = _CLOCK.fullmatch(said)
    if found is None:
        return None
    half = (found["half"] or "").replace(".", "")
    is_clock = found["mark"] == ":" or half or _BY_THE_CLOCK.fullmatch(said)
    if not (is_named or found["at"] or is_clock):
        return None
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    return time(hour, minute)


def _at(now: datetime, days: int, clock: time) -> datetime:
    day = (now + timedelta(days=days)).date()
    return datetime.combine(day, clock, now.tzinfo)
