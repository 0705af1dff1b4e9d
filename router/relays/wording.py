"""Words the word back to a person who quoted a notice. Pure."""

from datetime import datetime, tzinfo

from router.notices.naming import who_is
from router.relays.words import WORDS_BACK, Words
from router.state.calls.relays import RelayFacts, RelayOutcome
from router.whatsapp.languages import Language

_LONGEST_ERROR = 200
_WITH_AI: dict[RelayOutcome, str] = {
    "sent": "sent_again",
    "taken": "taken_again",
    "resumed": "resumed_already",
}
"""The word back in place of another, if the AI had started to answer again."""


def word_back(
    outcome: RelayOutcome,
    facts: RelayFacts,
    zone: tzinfo,
    error: str | None = None,
    *,
    language: Language = "en",
) -> str:
    """Return the word back, in the staff's language. `error` is why the message was not sent."""
    words = WORDS_BACK[language]
    said = words[_WITH_AI.get(outcome, outcome) if facts.was_ai else outcome]
    why = " ".join((error or words["no_evolution"]).split())[:_LONGEST_ERROR]
    word = said.format(
        who=who_is(facts.name, facts.jid, words["a_customer"]),
        why=why.rstrip("."),
        until=_moment(facts.until, zone, words),
        by=facts.answered_by or words["a_colleague"],
        answer=facts.answer or "…",
    )
    return word[:1].upper() + word[1:]


def _moment(at: datetime | None, zone: tzinfo, words: Words) -> str:
    """Return a time as the people of the business write it."""
    if at is None:
        return words["then"]
    local = at.astimezone(zone)
    day, month = words["days"].split()[local.weekday()], words["months"].split()[local.month - 1]
    return f"{day} {local.day} {month}, {local:%H:%M}"
