"""What a notice says, in words that can be sent as they are."""

from router.notices.outages import reason_of_outages, say_answered_again, say_unanswered
from router.state.calls.notices import ClaimedNotice, NoticeFacts
from router.tenants.delivery import CURE, describe_failures
from router.whatsapp.jids import JidKind, kind_of

_LOST = {
    "close": "WhatsApp of {name} is not connected any more. Evolution API tries to connect again;"
    " until then nobody is answered.",
    "refused": "WhatsApp refuses the connection of {name}. Until it is linked again nobody is"
    " answered.",
    "logged_out": "{name} was logged out of WhatsApp. Until the phone is linked again nobody is"
    " answered.",
    "removed": "The instance {name} was removed from Evolution API. Nobody is answered any more.",
}
_QR = "{name} waits for its QR code to be scanned. Until the phone is linked nobody is answered."

_GIVEN_UP = (
    "{name} could not send a part of a reply to {who}: {reason}. What else the reply says is sent"
    " all the same. If it matters, send it by hand."
)
_FAILING = (
    "The flow {flow} of {name} in n8n has failed {failures} times in a row. {meanwhile} Its last"
    " executions in n8n say why."
)
_MEANWHILE = {
    "fallback": "Until it works again, HybridFlow's own AI answers.",
    "queue": "Until it works again, nobody is answered.",
}
_REASONS = {
    "asked_for_person": "the customer asked for one",
    "not_known": "the AI does not know the answer",
    "not_allowed": "the AI may not decide this",
    "upset": "the customer is upset",
    "tool_failed": "something that the AI needs does not work",
    "other": "the AI asked for one",
}
_NOT_TOLD = "The customer could not be told that somebody comes."
_UNDELIVERED = "WhatsApp did not deliver {failed} of {name}. {cure}"


def number_shown(jid: str | None) -> str | None:
    """Return the phone number of a JID; what hides the number (a LID) or is a group, as it is."""
    if jid is None or kind_of(jid) is not JidKind.PHONE:
        return jid
    return jid.partition("@")[0]


def reason_of(notice: ClaimedNotice) -> str | None:
    """Return why: as the AI said it, the connection's state with Baileys' code, or how many."""
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
    """Return the whole message."""
    if notice.kind == "qr_waiting":
        return _QR.format(name=notice.instance_name)
    if notice.kind == "connection_lost":
        text = _LOST.get(notice.facts.state or "", _LOST["close"])
        return text.format(name=notice.instance_name)
    if notice.kind == "undelivered":
        return _undelivered(notice)
    if notice.kind == "flow_failing":
        return _failing(notice)
    if notice.kind == "unanswered":
        return say_unanswered(notice.instance_name, notice.facts.outages)
    if notice.kind == "answered_again":
        return say_answered_again(notice.instance_name, notice.facts.outages)
    return _handoff(notice.facts)


def _undelivered(notice: ClaimedNotice) -> str:
    facts = notice.facts
    if facts.replies is None:
        who = _who(facts)
        return _GIVEN_UP.format(
            name=notice.instance_name, who=who, reason=(facts.reason or "it is lost").rstrip(".")
        )
    failed = describe_failures(facts.replies or 1, facts.contacts or 1)
    return _UNDELIVERED.format(failed=failed, name=notice.instance_name, cure=CURE)


def _failing(notice: ClaimedNotice) -> str:
    facts = notice.facts
    return _FAILING.format(
        flow=facts.flow,
        name=notice.instance_name,
        failures=facts.failures,
        meanwhile=_MEANWHILE.get(facts.state or "", _MEANWHILE["fallback"]),
    )


def _handoff(facts: NoticeFacts) -> str:
    why = _REASONS.get(facts.reason or "", facts.reason)
    if facts.waited_minutes is None:
        said = f"{_who(facts)} needs a person: {why or 'the AI asked for one'}"
    else:
        said = (
            f"{_who(facts)} has waited for a person for {_lasting(facts.waited_minutes)}, and"
            f" nobody has answered: {why or 'the AI asked for one'}"
        )
    said = said[:1].upper() + said[1:] if facts.contact_name is None else said
    told = [said, facts.summary, _NOT_TOLD if facts.words == "not_said" else None]
    return "\n\n".join(each for each in told if each)


def _lasting(minutes: float) -> str:
    if minutes < 60:
        return f"{max(round(minutes), 1)} min"
    return f"{int(minutes // 60)} h {round(minutes % 60)} min"


def _who(facts: NoticeFacts) -> str:
    return who_is(facts.contact_name, facts.jid)


def who_is(name: str | None, jid: str | None) -> str:
    """Return how a customer is called to the people of the business."""
    phone = jid if jid and kind_of(jid) is JidKind.PHONE else None
    number = f" ({number_shown(phone)})" if phone else ""
    return f"{name or 'a customer'}{number}"
