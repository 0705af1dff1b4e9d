"""Words notices about outages: why customers get no answer, and that it is over. Pure."""

from datetime import datetime

from router.notices.naming import who_is
from router.notices.outage_words import FRAME, OF_OWN_KEY, WHY
from router.notices.words import NOTICE_WORDS, Words
from router.state.calls.notices import OutageTold
from router.whatsapp.languages import Language

MOST = 1000
"""Turns are counted up to this number, which is then worded as "or more"."""

_PROVIDERS = {"anthropic": "Anthropic", "openai": "OpenAI"}

ONE_BY_ONE = frozenset({"contact_budget", "send_failed", "in_doubt", "half_said"})
"""These concern single conversations, not all of them."""


def say_unanswered(name: str, outages: tuple[OutageTold, ...], language: Language = "en") -> str:
    """Return the text which says that customers of `name` get no answer, and why."""
    words, nameless = FRAME[language], NOTICE_WORDS[language]["a_customer"]
    alone = outages and all(each.cause in ONE_BY_ONE for each in outages)
    head = words["one" if alone else "nobody"].format(name=name)
    return "\n\n".join(
        [head, *(f"{why(each, language)} {_count(each, words, nameless)}" for each in outages)]
    )


def say_answered_again(
    name: str, outages: tuple[OutageTold, ...], language: Language = "en"
) -> str:
    """Return the text which says that the outage is over, its length, and the missed answers."""
    words = FRAME[language]
    said = [words["again"].format(name=name)]
    said += [
        f"{_what(each, language)} {_took(each, words)} {_lost(each, words)}" for each in outages
    ]
    return "\n\n".join(said)


def why(outage: OutageTold, language: Language = "en") -> str:
    """Return why there is no answer, and who can fix it."""
    own = OF_OWN_KEY[language].get(outage.cause) if outage.has_own_key else None
    words = own or WHY[language].get(outage.cause) or FRAME[language]["unknown"]
    named = outage.provider or FRAME[language]["provider"]
    return words.format(provider=_PROVIDERS.get(named, named))


def reason_of_outages(outages: tuple[OutageTold, ...]) -> str:
    """Return the causes, by their names."""
    return ", ".join(each.cause for each in outages)


def _what(outage: OutageTold, language: Language) -> str:
    """Return the first sentence about the cause."""
    return why(outage, language).partition(". ")[0].rstrip(".") + "."


def _count(outage: OutageTold, words: Words, nameless: str) -> str:
    said = words["one_conversation" if outage.turns <= 1 else "answers"]
    said = said.format(count=_number(outage.turns, words))
    if not outage.who:
        return said
    names = ", ".join(who_is(each.name, each.jid, nameless) for each in outage.who)
    return f"{said.rstrip('.')}: {names}{', …' if outage.others else '.'}"


def _took(outage: OutageTold, words: Words) -> str:
    if outage.ended_at is None:
        return ""
    return words["lasted"].format(long=_length(outage.began_at, outage.ended_at, words))


def _lost(outage: OutageTold, words: Words) -> str:
    count = _number(outage.turns, words)
    if outage.unanswered == 0:
        return words["none_lost"].format(count=count)
    return words["some_lost"].format(count=count, lost=_number(outage.unanswered, words))


def _number(count: int, words: Words) -> str:
    return words["or_more"].format(count=MOST) if count >= MOST else str(count)


def _length(began: datetime, ended: datetime, words: Words) -> str:
    minutes = max(1, round((ended - began).total_seconds() / 60))
    if minutes < 120:
        return words["minute" if minutes == 1 else "minutes"].format(count=minutes)
    return words["hours"].format(count=round(minutes / 60))
