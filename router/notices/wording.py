"""Words notices as texts that are ready to be sent."""

from typing import assert_never

from router.notices.naming import who_is
from router.notices.outages import reason_of_outages, say_answered_again, say_unanswered
from router.notices.words import NOTICE_WORDS, Words
from router.state.calls.notices import ClaimedNotice, NoticeFacts
from router.tenants.delivery import UNCOUNTED
from router.whatsapp.languages import language_or_english

_REASONS = frozenset(
    {"asked_for_person", "not_known", "not_allowed", "upset", "tool_failed", "other"}
)
_CALLED = (
    ("the AI said that a person will come", "promised"),
    ("the AI said that it will find out and answer later", "promised_answer"),
    ("two bots seem to talk to each other: the same again and again", "looped"),
    ("the AI could not answer", "not_answered"),
    ("the AI's reply was not sent", "not_sent"),
    ("the AI declines to answer", "declined"),
)
"""How the state's reason of a handoff begins, and its key in the words; the rest is technical."""


def reason_of(notice: ClaimedNotice) -> str | None:
    """Return the reason: the AI's words, the connection's state with Baileys' code, or a count."""
    facts = notice.facts
    if notice.kind == "undelivered" and facts.replies is not None:
        return f"{facts.replies} replies in a row were not delivered"
    if notice.kind == "flow_failing":
        return f"the flow {facts.flow} has failed {facts.failures} times in a row"
    if notice.kind in ("unanswered", "answered_again"):
        return reason_of_outages(facts.outages)
    if notice.kind == "handoff" or facts.state is None:
        return facts.reason
    return facts.state if facts.code is None else f"{facts.state} ({facts.code})"


def say(notice: ClaimedNotice) -> str:
    """Return the whole message, in the language of the business."""
    language = language_or_english(notice.language)
    words, name = NOTICE_WORDS[language], notice.instance_name
    match notice.kind:
        case "handoff":
            return _handoff(notice.facts, words)
        case "qr_waiting":
            return words["qr"].format(name=name)
        case "connection_lost":
            text = words.get(f"lost_{notice.facts.state}", words["lost_close"])
            return text.format(name=name)
        case "undelivered":
            return _undelivered(notice, words)
        case "flow_failing":
            return _failing(notice, words)
        case "unanswered":
            return say_unanswered(name, notice.facts.outages, language)
        case "answered_again":
            return say_answered_again(name, notice.facts.outages, language)
    assert_never(notice.kind)  # the type checker finds a new kind without a text


def _undelivered(notice: ClaimedNotice, words: Words) -> str:
    facts = notice.facts
    if facts.replies is None:
        return words["given_up"].format(
            name=notice.instance_name,
            who=_who(facts, words),
            reason=(facts.reason or words["lost"]).rstrip("."),
        )
    failed = _failures(facts.replies or 1, facts.contacts or 1, words)
    return words["undelivered"].format(failed=failed, name=notice.instance_name, cure=words["cure"])


def _failures(replies: int, contacts: int, words: Words) -> str:
    what = words["last_reply" if replies == 1 else "last_replies"]
    said = words["to_contacts" if contacts > 1 else "to_contact"]
    what = what.format(count=_counted(replies, words))
    return said.format(what=what, count=_counted(contacts, words))


def _counted(number: int, words: Words) -> str:
    return words["or_more"].format(count=number) if number >= UNCOUNTED else str(number)


def _failing(notice: ClaimedNotice, words: Words) -> str:
    facts = notice.facts
    return words["failing"].format(
        flow=facts.flow,
        name=notice.instance_name,
        failures=facts.failures,
        meanwhile=words.get(f"meanwhile_{facts.state}", words["meanwhile_fallback"]),
    )


def _handoff(facts: NoticeFacts, words: Words) -> str:
    who, why = _who(facts, words), _called(facts.reason, words)
    if facts.waited_minutes is None:
        said = words["needs"].format(who=who, why=why)
    else:
        long = _lasting(facts.waited_minutes, words)
        said = words["has_waited"].format(who=who, why=why, long=long)
    said = said[:1].upper() + said[1:] if facts.contact_name is None else said
    told = [said, facts.summary, words["not_told"] if facts.words == "not_said" else None]
    return "\n\n".join(each for each in told if each)


def _called(reason: str | None, words: Words) -> str:
    """Return why a human is wanted; our own reasons in the given language, others unchanged."""
    if not reason or reason in _REASONS:
        return words[reason or "other"]
    for begins, word in _CALLED:
        if reason.startswith(begins):
            return words[word] + reason.removeprefix(begins)
    return reason


def _lasting(minutes: float, words: Words) -> str:
    if minutes < 60:
        return words["minutes"].format(minutes=max(round(minutes), 1))
    return words["hours"].format(hours=int(minutes // 60), minutes=round(minutes % 60))


def _who(facts: NoticeFacts, words: Words) -> str:
    return who_is(facts.contact_name, facts.jid, words["a_customer"])
