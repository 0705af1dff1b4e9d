"""The facts at the time of a reply: local time, opening hours, who wrote and when.

They are all derived from the claimed turn and the state's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from router.configuration.zones import zone_of
from router.replies.forgeries import disarm
from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage
from router.tenants.away import weekday
from router.tenants.hours import Opening, opening_at, read_hours

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_PEOPLE = ("owner", "operator", "client")
_A_VISIT = timedelta(hours=12)  # messages of a contact within this time belong together


@dataclass(frozen=True, slots=True)
class People:
    """The humans of the business who spoke with the contact, and from when to when."""

    names: tuple[str, ...]
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Context:
    """The facts, with times in the business's time zone. `opening` is None if it has no hours.

    `last_wrote_at` is when the contact last wrote before the current messages, if known.
    """

    now: datetime
    zone: ZoneInfo
    opening: Opening | None
    holiday: str | None
    contact_name: str | None
    last_wrote_at: datetime | None
    is_vip: bool = False
    people: People | None = None


def context_of(turn: ClaimedTurn, default_zone: str) -> Context:
    """Return the context of a turn; `default_zone` is for tenants without a valid time zone."""
    zone = _zone(turn.tenant.timezone, default_zone)
    now = turn.now.astimezone(zone)
    hours = read_hours(turn.tenant.opening_hours)
    in_group = turn.session.chat == "group"
    last = None if in_group else _last_wrote_at(turn.history)
    return Context(
        now=now,
        zone=zone,
        opening=None if hours is None else opening_at(hours, zone, now),
        holiday=None if hours is None else hours.holiday_on(now.date()),
        contact_name=None if in_group else turn.session.contact_name,
        last_wrote_at=None if last is None else last.astimezone(zone),
        is_vip="vip" in turn.session.labels,
        people=_people(turn.history, zone),
    )


def _zone(own: str | None, default: str) -> ZoneInfo:
    try:
        return zone_of(own or default)
    except ValueError:
        return zone_of(default)


def _last_wrote_at(history: Sequence[TurnMessage]) -> datetime | None:
    times = sorted((m.sent_at for m in history if not m.from_me), reverse=True)
    return next((old for new, old in pairwise(times) if new - old >= _A_VISIT), None)


def _people(history: Sequence[TurnMessage], zone: ZoneInfo) -> People | None:
    """Return the humans of the business who wrote since the last message of the AI before them."""
    spoke: list[TurnMessage] = []
    for message in reversed(history):
        if message.sender in _PEOPLE:
            spoke.append(message)
        elif message.sender == "ai" and spoke:
            break
    if not spoke:
        return None
    names = dict.fromkeys(each.author_name for each in reversed(spoke) if each.author_name)
    return People(
        names=tuple(" ".join(disarm(name).split())[:60] for name in names),
        since=spoke[-1].sent_at.astimezone(zone),
        until=spoke[0].sent_at.astimezone(zone),
    )


def people_line(people: People) -> str:
    """Return the line which says that a human spoke, and that what they agreed still holds."""
    who = " and ".join(people.names) or "Somebody of the business"
    at = spoken(people.since)
    if people.until.date() != people.since.date():
        at = f"from {at} to {spoken(people.until)}"
    elif f"{people.since:%H:%M}" == f"{people.until:%H:%M}":
        at = f"on {at}"
    else:
        at = f"on {spoken_day(people.since)}, from {people.since:%H:%M} to {people.until:%H:%M}"
    return f"{who} spoke with the customer {at}; what they agreed stands."


def sentences(context: Context) -> str:
    """Return the text about the context for the LLM; it contains nothing from a customer."""
    told = [f"It is {spoken(context.now)} now, by the clock of the business ({context.zone.key})."]
    if context.opening is not None:
        told.append(_opening(context.opening, context.now))
    if context.holiday is not None:
        told.append(f"Today is a public holiday: {context.holiday}.")
    if context.last_wrote_at is not None:
        ago = _ago((context.now.date() - context.last_wrote_at.date()).days)
        told.append(
            f"Before now the customer last wrote {ago}, on {spoken(context.last_wrote_at)}."
        )
    if context.people is not None:
        told.append(people_line(context.people))
    if context.is_vip:
        told.append("The business counts this customer among its most important ones.")
    return " ".join(told)


def _opening(opening: Opening, now: datetime) -> str:
    word, change = ("open", "closes") if opening.is_open else ("closed", "opens")
    if opening.changes_at is None:
        return f"The business is {word}."
    at = opening.changes_at
    when = f"at {at:%H:%M} today" if at.date() == now.date() else f"on {spoken(at)}"
    return f"The business is {word}, and {change} {when}."


def spoken(moment: datetime) -> str:
    """Return a time in words: Thursday, 26 November 2026, 08:25."""
    return f"{spoken_day(moment)}, {moment:%H:%M}"


def spoken_day(day: date) -> str:
    """Return a day in words: Thursday, 26 November 2026."""
    return f"{weekday(day)}, {day.day} {_MONTHS[day.month - 1]} {day.year}"


def _ago(days: int) -> str:
    return {0: "earlier today", 1: "yesterday"}.get(days, f"{days} days ago")
