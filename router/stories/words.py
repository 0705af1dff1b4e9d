"""Puts each event of a turn's story into plain English. Pure.

It uses the facts that `tell_turn` returns. `router.stories.answer` sums them up.
"""

from collections.abc import Callable, Mapping
from typing import Any

Facts = Mapping[str, Any]

DECISIONS = {
    "turn_pending": "it is to be answered",
    "paused": "the conversation was paused (a human had it, or was called): recorded, not answered",
    "tenant_inactive": "the tenant was switched off (is_active): recorded, not answered",
    "staff": "it came from the tenant's notify_number: recorded, never answered by the AI; if it"
    " quotes a notice, it is for that customer",
    "note_to_self": "the owner wrote to the business's own number, and quoted no notice: not"
    " recorded",
    "no_ai": "the conversation has the label no-ai: recorded, not answered",
    "no_reply_needed": "recorded; the AI answers nothing of this kind",
    "too_old": "it was too old when it arrived (ANSWER_WITHIN_MINUTES): recorded, not answered",
    "flood": "the contact wrote too much at once: recorded, not answered",
    "loop": "two bots seemed to talk to each other: recorded, and the conversation was paused",
    "group": "it was written in a group, and the tenant answers no groups: not recorded",
    "known_message": "it had been recorded before",
    "own_message": "it is a send of our own",
    "takeover": "a human of the business wrote: the conversation was paused",
    "takeover_over": "a human of the business wrote, but that pause was over already",
    "recorded": "recorded; it pauses nothing",
    "automatic_reply": "an automatic greeting or answer to a call: recorded; it pauses nothing",
    "waiting_for_message": "it is kept until the message that it is about arrives",
}
"""The state's decisions about webhooks, in words."""

REASONS = {
    "takeover": "a human took over the conversation",
    "paused": "the conversation was paused",
    "merged": "its messages went to another turn of the same contact",
    "deleted": "the contact deleted what was to be answered",
    "delivered": "the reply before turned out to have arrived",
    "late": "a reply that was thought lost turned out to have been sent",
    "budget": "the budget was used up",
    "reply_refused": "the guard refused the reply, and a human was called",
    "handoff": "the AI asked for a human",
    "no_ai": "the conversation was given the label no-ai",
    "tenant_inactive": "the tenant was switched off (is_active)",
    "new_message": "the contact wrote again, and the tenant stops what is left then"
    " (new_message_stops)",
    "closed": "the business was closed, and the AI answers nothing then (answer_when_closed)",
    "too_old": "nobody could answer it before it was too old (ANSWER_WITHIN_MINUTES)",
    "in_doubt": "a send's outcome could not be found out; it is not sent again by itself",
    "flow_failed": "the flow failed after it had said something",
    "flow_died": "the flow had said something and then never reported again",
    "flow_settled": "the flow is gone, and what it had begun is settled",
}
"""Why a turn ended, by its `reason`. Other reasons are a flow's own words."""

_HANDOFFS = {
    "asked_for_person": "the contact asked for a person",
    "not_known": "the AI did not know the answer",
    "not_allowed": "the AI may not decide that",
    "upset": "the contact was upset",
    "tool_failed": "something that the AI uses failed",
    "other": "a human was needed",
}
"""Why the AI called a human, by the tool's words for it."""

_PEOPLE = {
    "owner": "the owner",
    "operator": "an operator",
    "client": "another client of Evolution",
    "contact": "the contact",
    "ai": "the AI",
    "cron": "the end of its time",
    "auto": "an automatic greeting",
}
_STATUS = {
    "pending": "is on its way to WhatsApp",
    "server_ack": "was taken by WhatsApp",
    "delivery_ack": "is on the contact's phone",
    "read": "was read",
    "played": "was played",
    "error": "was refused by WhatsApp",
}


def says(happening: Facts) -> str:
    """Return the event as one sentence without a full stop."""
    tell = _SAYINGS.get(happening["kind"])
    return tell(happening) if tell is not None else str(happening["kind"])


def reason_of(word: str | None) -> str | None:
    """Return a turn's `reason` in words."""
    return None if word is None else REASONS.get(word, word)


def waits_for(turn: Facts) -> str | None:
    """Return in words what a turn waits for, or None if that is unknown."""
    error = str(turn["error"]) if turn["error_kind"] == "away" else ""
    if error.startswith("N8nAway"):
        return "n8n to be back"  # for the state n8n is an LLM, because both make replies
    word = turn["waits_for"]
    if word is None:
        return None
    if not word.startswith("llm "):
        return "Evolution, or its line to WhatsApp, to be back"
    if error.startswith("LlmAccountRefused"):
        return "the LLM's account to be put right: its key is refused, or its credit is used up"
    return "the LLM to be back"


def error_of(facts: Facts) -> str | None:
    """Return the error with its kind."""
    error, kind = facts.get("error"), facts.get("error_kind")
    if error is None:
        return kind
    return str(error) if kind in (None, "budget", "reply_refused") else f"{error} ({kind})"


def send_state(facts: Facts) -> str:
    """Return the state of a send in words."""
    match facts.get("send_state"):
        case "sent":
            status = _STATUS.get(facts.get("status") or "", "was taken by Evolution")
            return f"it {status}"
        case "failed" if facts.get("given_up"):
            return f"it is given up: {facts['given_up']}"
        case "failed" if facts.get("was_doubted"):
            return "it was looked up, and had not left"
        case "failed":
            return "it certainly did not leave"
        case _:
            return "nobody knows yet whether it left"


def part_of(facts: Facts) -> str:
    """Return the number of the part, counted from one, in words."""
    part = facts.get("part")
    return "a part of an earlier try" if part is None else f"part {part + 1}"


def person(word: str | None) -> str:
    """Return the sender in words."""
    return _PEOPLE.get(word or "", word or "somebody")


def _message(facts: Facts) -> str:
    who = person(facts.get("sender"))
    gone = ", and deleted it later" if facts.get("deleted_at") else ""
    return f"{who} wrote {_called(facts)}{gone}"


def _called(facts: Facts) -> str:
    kind = facts.get("message_kind", "text")
    return f"message {facts.get('wa_id') or facts.get('id')} ({kind})"


def _judged(facts: Facts) -> str:
    word = facts.get("decision") or facts.get("outcome") or "nothing"
    decided = DECISIONS.get(word, word)
    if word == "too_old" and facts.get("outcome") == "ignored":
        decided = "it is older than what is kept: not recorded"
    due = facts.get("due_in")
    if due is not None and due > 0:
        decided += f", in {float(due):.1f} s, so that more can be written first"
    by = "gap repair" if facts.get("event") == "gap_repair" else f"webhook {facts.get('event')}"
    return f"{by} brought {facts.get('wa_id')}: {decided}"


def _claimed(facts: Facts) -> str:
    again = " again" if facts.get("begins_again") else ""
    return f"attempt {facts['attempt']} began{again}, by {facts['worker']}"


def _handled(facts: Facts) -> str:
    if facts.get("handler") == "n8n":
        return f"it was given to n8n{_execution(facts)}"
    cost = _cost(facts)
    return f"the reply was made, passed the guard and was written down{cost}"


def _execution(facts: Facts) -> str:
    if facts.get("execution_id") is None:
        return ""
    url = facts.get("execution_url")
    return f", execution {facts['execution_id']}" + (f": {url}" if url else "")


def _cost(facts: Facts) -> str:
    llm = " ".join(str(facts[name]) for name in ("provider", "model") if facts.get(name))
    tokens = [facts.get("tokens_in"), facts.get("tokens_out")]
    if any(count is not None for count in tokens):
        used = f"{tokens[0] or 0} tokens in, {tokens[1] or 0} out"
        llm = f"{llm}, {used}" if llm else used
    return f" ({llm})" if llm else ""


_ENDINGS = {
    "sent": "{number} ended with the turn: {why}",
    "cancelled": "{number} was stopped: {why}",
    "dead": "{number} failed for good: {error}",
    "failed": "{number} failed and is made again: {error}",
    "away": "{number} could not go on, and does not count: {error}",
    "in_doubt": "{number} ended in doubt: a send had begun, and nobody knew how it ended{cause}",
    "refused": "the guard refused the reply, and other words go instead: {error}",
    "budget": "{error}; the fallback message goes instead",
    "unreadable": "{number} could not begin: {error}",
    "released": "{number} was given back because the router stopped; it does not count",
    "begun_anew": "nothing of the reply had left: it is made again, and {number} does not count",
    "restarted": "the contact wrote again, or changed what they wrote: the reply is made again",
    "merged": "the contact became known under two identities: the reply is made again",
    "cut_off": "{number} had no more to say: the rest of a text is still sent; it does not count",
    "lapsed": "{number} fell silent: its time was over, and it did not report how it ended",
}


def _attempt_ended(facts: Facts) -> str:
    outcome = str(facts["outcome"])
    error = error_of(facts)
    why = reason_of(facts.get("reason"))
    said = _ENDINGS.get(outcome, "{number} ended: " + outcome).format(
        number=f"attempt {facts['attempt']}",
        why=why or ("all was said" if outcome == "sent" else "the turn was cancelled"),
        error=error or why or "nobody said why",
        cause=f": {error}" if error else "",
    )
    by_flow = outcome in ("sent", "cancelled", "dead") and facts.get("handler") == "n8n"
    return said + _cost(facts) if by_flow else said


def _send(facts: Facts) -> str:
    times = facts.get("sends")
    if times == 0 and facts.get("given_up"):
        kind = facts.get("message_kind", "text")
        return f"{part_of(facts)} ({kind}) never left: {send_state(facts)}"
    if times == 0:
        return f"{part_of(facts)} was not begun: what came before it was in doubt"
    times = times or 1
    again = f" (begun {times} times)" if times > 1 else ""
    doubt = " (in doubt until it was found)" if facts.get("was_found") else ""
    let = f"the fence let {part_of(facts)} through to Evolution{again}{doubt}"
    return f"{let}; now {send_state(facts)}"


def _echo(facts: Facts) -> str:
    return f"the echo of our own message {facts['wa_id']} came back: it has left"


def _tick(facts: Facts) -> str:
    status = facts.get("status") or ""
    kept = ", kept until the message is known" if facts.get("waits") else ""
    return f"tick: {facts['wa_id']} {_STATUS.get(status, status)}{kept}"


def _undelivered(facts: Facts) -> str:
    code = f" (error {facts['error_code']})" if facts.get("error_code") else ""
    return f"WhatsApp did not deliver {part_of(facts)}{code}"


_BESIDES = {
    "fallback_message": "the fallback message (fallback_message)",
    "away_message": "the message that the business is closed (away_message)",
}


def _told_besides(facts: Facts) -> str:
    what = _BESIDES.get(facts.get("says") or "", "a message that is no part of a reply")
    return f"the contact was sent {what}, which answers nothing; now {send_state(facts)}"


def pause_reason(word: str) -> str:
    """Return why a conversation was paused, in our words or those of the person who paused it."""
    return _HANDOFFS.get(word, word)


def _paused(facts: Facts) -> str:
    reason = f": {pause_reason(facts['reason'])}" if facts.get("reason") else ""
    return f"the conversation was paused by {person(facts.get('source'))}{reason}"


def _closed(facts: Facts) -> str:
    why = reason_of(facts.get("reason"))
    unsaid = facts.get("unsaid")
    left = f" ({unsaid} left unsaid)" if unsaid else ""
    half = f", but not every part of the reply left{left}" if facts.get("incomplete") else ""
    return f"the turn was closed as {facts['state']}{half}" + (f": {why}" if why else "")


_SAYINGS: dict[str, Callable[[Facts], str]] = {
    "message": _message,
    "judged": _judged,
    "turn_made": lambda facts: f"turn {facts['turn_id']} was made",
    "claimed": _claimed,
    "handled": _handled,
    "attempt_ended": _attempt_ended,
    "send": _send,
    "echo": _echo,
    "tick": _tick,
    "undelivered": _undelivered,
    "edited": lambda facts: f"{facts['wa_id']} was edited",
    "deleted": lambda facts: f"{facts['wa_id']} was deleted",
    "human_wrote": lambda facts: f"{person(facts.get('sender'))} wrote {_called(facts)}",
    "told_besides": _told_besides,
    "paused": _paused,
    "resumed": lambda facts: f"the conversation was resumed by {person(facts.get('source'))}",
    "retried": lambda _: "somebody had the dead turn tried again, with fresh attempts",
    "answered_again": lambda facts: f"turn {facts['turn_id']} answers instead",
    "closed": _closed,
}
