"""Sums up a turn's story in plain English: why there was an answer or not. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from router.stories.words import (
    DECISIONS,
    error_of,
    pause_reason,
    person,
    reason_of,
    says,
    waits_for,
)

_KEPT = "What came by webhooks is kept for 7 days, so why it got none is not known any more."
_UNRECORDED = (
    "Nothing is kept of status posts, newsletters, broadcast lists, protocol messages and notes to"
    " oneself: the router's log has them as webhook_ignored, with the reason."
)


def answer(story: Mapping[str, Any]) -> list[str]:
    """Return the fate of the turn or message in sentences; the first is the short answer."""
    if not story["is_known"]:
        return _never_arrived(story)
    if story["turn"] is not None:
        return _of_turn(story)
    return _without_turn(story)


def _never_arrived(story: Mapping[str, Any]) -> list[str]:
    if story["was_erased"]:
        return ["The contact's data was erased: of this message nothing is kept."]
    tenant = story["tenant"]
    name = tenant["instance_name"]
    said = ["This message never arrived here, or is not kept any more. What to look at:"]
    if tenant["connection_lost_at"] is not None:
        lost = _minute(tenant["connection_lost_at"])
        said.append(
            f"- {name} lost its connection to WhatsApp at {lost} ({tenant['connection_state']}):"
            f" python -m scripts.tenant connect {name}"
        )
    if tenant["last_event_at"] is None:
        said.append(
            f"- No webhook of {name} has come in the last 7 days: is it set?"
            f" python -m scripts.tenant connect {name}"
        )
    else:
        said.append(f"- The last webhook of {name} came at {_minute(tenant['last_event_at'])}.")
    said.append(f"- Does the way work? GET /api/instances/{name}/test-webhook tells, step by step.")
    said.append(
        f"- What Evolution stored is fetched by: python -m scripts.catch_up --instance {name}"
    )
    if tenant["pruned_before"] is not None:
        before = _minute(tenant["pruned_before"])
        said.append(f"- What was sent before {before} is archived or deleted (retention).")
    said.append(f"- {_UNRECORDED}")
    return said


def _without_turn(story: Mapping[str, Any]) -> list[str]:
    message = story["message"]
    judged = [each for each in story["happenings"] if each["kind"] in ("judged", "echo")]
    decision = judged[0].get("decision") if judged else None
    if message is not None and message["sender"] == "ai":
        what = "for example, it is a notice, or says that the business is closed"
        return [f"HybridFlow sent it, and it belongs to no turn: {what}."]
    if message is not None and message["from_me"]:
        return [f"It was written by {person(message['sender'])}: the AI answers only contacts."]
    if message is not None and message["deleted_at"] is not None and decision == "turn_pending":
        return ["It was to be answered, and the contact deleted it."]
    if decision == "turn_pending":
        turn_id = judged[0].get("turn_id")
        return [f"Turn {turn_id} had it, and is past its retention: its life is not kept."]
    if decision in ("own_message", "known_message") and message is None:
        return [f"No answer is due: {DECISIONS[decision]}."]
    if decision is not None:
        return [f"It got no answer: {DECISIONS.get(decision, decision)}.", *_pause_now(story)]
    if message is None:
        return ["The message itself is not kept; what is known about it is listed below."]
    if not message["expects_reply"]:
        return [f"It got no answer: {DECISIONS['no_reply_needed']}."]
    return [f"It got no answer of its own. {_KEPT}", *_pause_now(story)]


def _pause_now(story: Mapping[str, Any]) -> list[str]:
    session = story["session"]
    if session is None or not session["is_paused"]:
        return []
    since = f" since {_minute(session['paused_at'])}" if session["paused_at"] else ""
    why = f" ({pause_reason(session['pause_reason'])})" if session["pause_reason"] else ""
    by = person(session["pause_source"])
    cure = f"POST /api/sessions/{session['id']}/resume?tenant_id={session['tenant_id']} ends that"
    return [f"The conversation is still paused, by {by}{since}{why}: {cure}."]


def _of_turn(story: Mapping[str, Any]) -> list[str]:
    turn = story["turn"]
    why = reason_of(turn["reason"])
    match turn["state"]:
        case "pending":
            return _waiting(story)
        case "running" | "sending":
            return _under_way(turn)
        case "sent":
            return _sent(story)
        case "cancelled":
            which = turn["error"] if turn["error_kind"] == "budget" else None
            return [
                f"It got no answer: {which or why or 'the turn was cancelled'}.",
                *_besides(story),
                *_pause_now(story),
            ]
        case _:
            error = None if turn["error_kind"] == turn["reason"] else error_of(turn)
            cause = "; ".join(each for each in (why, error) if each) or "every attempt failed"
            return [
                f"It got no answer: the turn is dead. {_sentence(cause)}",
                *_besides(story),
                *_pause_now(story),
                _retry(story),
            ]


def _retry(story: Mapping[str, Any]) -> str:
    """Return how to retry a dead turn; while its session is paused, the API refuses a retry."""
    turn, session = story["turn"], story["session"]
    call = f"POST /api/turns/{turn['id']}/retry?tenant_id={turn['tenant_id']}"
    if session is not None and session["is_paused"]:
        return f"That answers what is recent; after that, {call} tries an older one again."
    return f"{call} tries it again."


def _besides(story: Mapping[str, Any]) -> list[str]:
    """Return what was sent to the contact in addition to an answer."""
    told = [each for each in story["happenings"] if each["kind"] == "told_besides"]
    return [_sentence(says(each)) for each in told]


def _sent(story: Mapping[str, Any]) -> list[str]:
    turn = story["turn"]
    sends = [each for each in story["happenings"] if each["kind"] == "send"]
    left = [each for each in sends if each.get("send_state") == "sent"]
    again = [each["turn_id"] for each in story["happenings"] if each["kind"] == "answered_again"]
    why = reason_of(turn["reason"])
    if not left:
        return [f"Nothing was said: {why or 'its flow ended without a reply'}.", *_pause_now(story)]
    if turn["undelivered"] and all(each.get("status") == "error" for each in left):
        said = ["A reply was sent, and WhatsApp did not deliver it."]
        return said + [f"Turn {number} answers again." for number in again]
    instead = _instead(story) if len(left) == 1 else None
    said = [instead or f"It was answered, in {_parts(len(left))}."]
    if turn["undelivered"]:
        said.append(f"WhatsApp did not deliver {turn['undelivered']} of them.")
    if turn["incomplete"]:
        lost = turn["error"] if turn["error_kind"] == "given_up" else None
        said.append(f"Not all of the reply was said: {why or lost or 'a part did not leave'}.")
    elif why is not None:
        said.append(_sentence(why))
    if _edited_after(story):
        said.append(
            "The contact changed the message after that: the AI answers a change only where the"
            " tenant has answer_edits."
        )
    return said + (_pause_now(story) if turn["reason"] == "handoff" else [])


def _edited_after(story: Mapping[str, Any]) -> bool:
    """Whether the contact edited a message after the turn had answered it."""
    asked = {each.get("wa_id") for each in story["happenings"] if each["kind"] == "message"}
    is_over = False
    for each in story["happenings"]:
        is_over = is_over or each["kind"] == "closed"
        if is_over and each["kind"] == "edited" and each.get("wa_id") in asked:
            return True
    return False


def _instead(story: Mapping[str, Any]) -> str | None:
    """Return what was sent to the contact in place of a reply, or None if it was a reply."""
    made = [
        each
        for each in story["happenings"]
        if each["kind"] == "handled"
        or (each["kind"] == "attempt_ended" and each.get("outcome") in ("refused", "budget"))
    ]
    if not made or made[-1]["kind"] == "handled":
        return None
    what = "the fallback message"
    if story["turn"]["reason"] == "handoff":
        what = "the message that a human is called"
    return f"The contact got no answer, and {what} instead: {error_of(made[-1])}."


def _waiting(story: Mapping[str, Any]) -> list[str]:
    turn = story["turn"]
    due = _minute(turn["run_after"], seconds=True)
    away = waits_for(turn)
    error = error_of(turn)
    session = story["session"]
    before = session.get("turn_under_way") if session is not None else None
    if before is not None:
        said = f"It waits until turn {before} of the same conversation has ended"
    elif away is not None:
        said = f"It waits for {away}; it is tried again at {due}"
    elif turn["due_when_heard"] is not None and _later(turn["run_after"], story["now"]):
        said = f"It waits for what was sent to be put into words, until {due} at the latest"
    elif _later(turn["run_after"], story["now"]):
        said = f"It is to be answered; the next attempt is due at {due}"
        if session is not None and session.get("stranger_wrote_at") is not None:
            said += (
                ". A human of the business wrote to a chat of which only the LID is known: it may"
                " be this one, so the answer waits (unknown_lid_minutes)"
            )
    else:
        said = (
            f"It has been due since {due}, and no router has taken it yet: is one running, and does"
            " /health say that it is ready?"
        )
    return [said + ("" if said.endswith("?") else "."), *_besides(story), *_last_error(error)]


def _under_way(turn: Mapping[str, Any]) -> list[str]:
    error = error_of(turn)
    until = _minute(turn["lease_until"], seconds=True)
    if turn["worker"] is None:
        if turn["error_kind"] == "in_doubt":
            looks = f"the router looks again at {until}."
            said = f"Nobody knows yet whether a part of the reply left; {looks}"
            return [said, *_last_error(error)]
        away = waits_for(turn)
        wait = f" It waits for {away}." if away else ""
        return [f"It is put aside until {until}; then it goes on.{wait}", *_last_error(error)]
    stop = reason_of(turn["stop_reason"])
    told = [f"It is being answered now, by {turn['worker']} (attempt {turn['attempt']})."]
    if stop is not None:
        told.append(f"It stops when the part that is leaving is settled: {stop}.")
    return told


def _last_error(error: str | None) -> list[str]:
    return [] if error is None else [f"The last error was: {error}"]


def _parts(count: int) -> str:
    return "one part" if count == 1 else f"{count} parts"


def _sentence(text: str) -> str:
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith(".") else f"{whole}."


def _later(one: str, other: str) -> bool:
    return datetime.fromisoformat(one) > datetime.fromisoformat(other)


def _minute(moment: str, *, seconds: bool = False) -> str:
    """Return a time for people: to the minute, in UTC as the state has it."""
    return moment[: 19 if seconds else 16].replace("T", " ")
