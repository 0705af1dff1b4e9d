"""The one word back to who quoted a notice in WhatsApp: what became of what they wrote. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from router.notices.wording import who_is
from router.state.calls.relays import RelayFacts, RelayOutcome

_LONGEST_ERROR = 200


@dataclass(frozen=True, slots=True)
class Told:
    """Of whom the word is, and what it says of them. `error` is why it was not sent."""

    who: str
    facts: RelayFacts
    zone: tzinfo
    error: str | None

    @property
    def until(self) -> str:
        """Return when the AI answers again, as the people of the business write it."""
        return _moment(self.facts.until, self.zone)


_NOTHING = "Nothing was sent."
_WHEN = "such as 2h, 15:00 or tomorrow 9am"


def word_back(
    outcome: RelayOutcome, facts: RelayFacts, zone: tzinfo, error: str | None = None
) -> str:
    """Return the word."""
    who = who_is(facts.name, facts.jid)
    word = _WORDS[outcome](Told(who, facts, zone, error))
    return word[:1].upper() + word[1:]


def _sent(told: Told) -> str:
    again = " The AI had the conversation back; now it is quiet there." if told.facts.was_ai else ""
    return f"Sent to {told.who}.{again}"


def _failed(told: Told) -> str:
    why = " ".join((told.error or "Evolution API could not be reached").split())[:_LONGEST_ERROR]
    return f"Not sent to {told.who}: {why.rstrip('.')}. Write to them by hand, or try again later."


def _taken(told: Told) -> str:
    had = "the AI had the conversation back; now it is" if told.facts.was_ai else "the AI is"
    return (
        f"{told.who} is yours: {had} quiet there. To give the conversation back, reply to the"
        f" notice with resume, or with a time, {_WHEN}."
    )


def _resumed(told: Told) -> str:
    if told.facts.was_ai:
        return f"The AI answers {told.who} already."
    return f"The AI answers {told.who} again."


_WORDS: Mapping[RelayOutcome, Callable[[Told], str]] = {
    "sent": _sent,
    "failed": _failed,
    "in_doubt": lambda told: (
        f"WhatsApp did not say whether that reached {told.who}. Look at the chat before you send it"
        " again."
    ),
    "taken": _taken,
    "resumed": _resumed,
    "until": lambda told: f"The AI is quiet, and answers {told.who} again from {told.until} on.",
    "past": lambda told: (
        f"{told.until} is over, so nothing was changed. Say when the AI is to answer {told.who}"
        f" again, {_WHEN}, or resume."
    ),
    "too_far": lambda told: (
        f"Nothing was changed: a time has to be within 30 days. Say when the AI is to answer"
        f" {told.who} again, {_WHEN}."
    ),
    "no_notice": lambda _: (
        f"{_NOTHING} What you quoted is no notice about a customer, or is not kept any more. Reply"
        " to the notice about the customer whom you mean."
    ),
    "no_session": lambda _: f"{_NOTHING} That notice is not about a customer.",
    "erased": lambda _: f"{_NOTHING} That conversation was erased.",
    "unsupported": lambda told: (
        f"{_NOTHING} Only texts, pictures, videos, audio, documents and stickers can be passed on"
        f" to {told.who}."
    ),
    "no_media": lambda told: (
        f"{_NOTHING} WhatsApp does not hand out that file. Send it to {told.who} by hand."
    ),
    "unquoted": lambda _: (
        "To answer a customer, or to give one back to the AI, reply to the notice about them: hold"
        " it, choose Reply, and write."
    ),
    "too_old": lambda told: (
        f"{_NOTHING} What you wrote came too late to be of use. If it still holds, reply to the"
        f" notice about {told.who} once more."
    ),
    "too_many": lambda _: (
        f"{_NOTHING} Too many messages of yours wait to be sent already: WhatsApp is slow, or"
        " cannot be reached. Write again when they are gone, or write to the customer by hand."
    ),
}


def _moment(at: datetime | None, zone: tzinfo) -> str:
    if at is None:
        return "then"
    local = at.astimezone(zone)
    return f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}, {local:%H:%M}"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
