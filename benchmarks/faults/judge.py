"""The judge finds broken promises in the history of one conversation. Pure."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.faults.history import Change, History, HumanMessage, PhoneReply, Row, SaidMessage

Kind = Literal["lost", "unanswered", "doubled", "over a human", "stuck", "mixed", "remembered"]
KINDS: tuple[Kind, ...] = (
    *("lost", "unanswered", "doubled", "over a human", "stuck", "mixed", "remembered"),
)

_REPLY = re.compile(r"^(R\d{6})\.(\d+)/(\d+) S(\d+|\?) para (.*?) fim\.", re.DOTALL)
_OPEN = frozenset({"pending", "running", "sending"})
_HUMANS = frozenset({"owner", "client", "operator"})
_OF_AN_ERASURE = (
    11.0  # seconds; messages up to 10 s later count as before it, because clocks differ
)
_SAME_SECOND = 1.0  # WhatsApp's times are whole seconds: within one second the order is unknown


_Apart = Literal["beyond"]


@dataclass(frozen=True, slots=True)
class Offence:
    """A broken promise. `apart` says why it does not count.

    `beyond`: a send reached the phone after the bound.
    """

    kind: Kind
    number: int
    what: str
    apart: _Apart | None = None


@dataclass(frozen=True, slots=True)
class _Reply:
    token: str
    part: int
    tenant: str
    markers: tuple[str, ...]
    phone: PhoneReply


def judge(history: History) -> list[Offence]:
    """Return all broken promises of one conversation."""
    found: list[Offence] = []
    rules: dict[Kind, Callable[[History], Iterator[str]]] = {
        "lost": _lost,
        "unanswered": _unanswered,
        "doubled": _doubled,
        "over a human": _over_a_human,
        "stuck": _stuck,
        "mixed": _mixed,
        "remembered": _remembered,
    }
    apart: _Apart | None = "beyond" if history.is_beyond else None
    for kind, rule in rules.items():
        found += [Offence(kind, history.number, what, apart) for what in rule(history)]
    return found


def _lost(history: History) -> Iterator[str]:
    rows = {row.wa_id: row for row in history.rows if row.wa_id}
    yield from _lost_of_operators(history)
    for said in history.said:
        if not _may_be_erased(history, said.at):
            yield from _lost_of_customer(said, rows.get(said.wa_id))
    for human in history.humans:
        row = rows.get(human.wa_id)
        if _may_be_erased(history, human.at):
            continue
        if row is None and human.acked_at is not None:
            yield f"the {human.by}'s {human.wa_id} was acknowledged and is not in the database"
        elif row is not None and row.sender not in _HUMANS:
            yield f"the {human.by}'s {human.wa_id} is in the database as written by {row.sender}"
    for reply in history.phone:
        if reply.wa_id not in rows and not _may_be_erased(history, reply.arrived):
            yield f"{reply.wa_id} is on the phone and the database does not know it"


def _lost_of_operators(history: History) -> Iterator[str]:
    """An accepted message is on the phone, or its row says why not; its row says who wrote it."""
    for written in history.written:
        if _may_be_erased(history, written.began):
            continue
        rows = [row for row in history.rows if row.body == written.body]
        sent = any(row.send_state == "sent" for row in rows)
        there = any(reply.body == written.body for reply in history.phone)
        if written.ended is not None and not any(row.sender == "operator" for row in rows):
            yield f"the operator's «{written.body}» was taken and is not in the database"
        if there != sent:
            where = "is" if there else "is not"
            yield f"the operator's «{written.body}» {where} on the phone, and {rows} say otherwise"


def _may_be_erased(history: History, at: float) -> bool:
    """Whether a message of that time may have been erased, or came when an erasure began."""
    erased = history.erased
    if erased is None:
        return False
    return erased.ended is None or at < erased.ended + _OF_AN_ERASURE


def _lost_of_customer(said: SaidMessage, row: Row | None) -> Iterator[str]:
    if row is None:
        if said.acked_at is not None:
            yield f"the customer's {said.wa_id} was acknowledged and is not in the database"
        return
    if said.delete_acked and not row.deleted:
        yield f"the deletion of {said.wa_id} was acknowledged and is not in the database"
    if said.edit_acked and not row.edited:
        yield f"the edit of {said.wa_id} was acknowledged and is not in the database"


def _unanswered(history: History) -> Iterator[str]:
    answered = {marker for reply in _replies(history) for marker in reply.markers}
    paused = {session.id for session in history.sessions if session.is_paused}
    rows = {row.wa_id: row for row in history.rows if row.wa_id}
    for said in history.said:
        row = rows.get(said.wa_id)
        if said.marker is None or said.deleted or row is None or said.marker in answered:
            continue
        if _may_be_erased(history, said.at):
            continue
        if row.session_id in paused or _human_wrote_after(history, said):
            continue
        if history.refused_for_good and any(turn.state == "dead" for turn in history.turns):
            continue
        yield f"{said.marker} ({said.wa_id}) has no reply, and nothing says why"
    for reply in history.phone:
        row = rows.get(reply.wa_id)
        theirs = {written.body for written in history.written}
        if row is not None and row.sender in _HUMANS and reply.body not in theirs:
            yield f"our own {reply.wa_id} is taken for a message of the {row.sender}"
    yield from _paused_by_nobody(history)


def _human_wrote_after(history: History, said: SaidMessage) -> bool:
    taken = {row.body for row in history.rows if row.sender == "operator"}
    wrote = [w.ended or w.began for w in history.written if w.body in taken]
    # If faults made it late, it comes after the customer's newer messages, and answers those.
    came = [reply.arrived for reply in history.phone if reply.body in taken]
    times = [*(h.at for h in history.humans), *wrote, *came]
    return any(at > said.at - _SAME_SECOND for at in times)


def _paused_by_nobody(history: History) -> Iterator[str]:
    humans = {human.wa_id for human in history.humans}
    pauses = any(call.what == "pause" for call in history.calls) or bool(history.written)
    for session in history.sessions:
        if not session.is_paused:
            continue
        begun = [c for c in history.changes if c.what == "pause" and c.detail.get("begins")]
        last = begun[-1].detail if begun else {"source": session.pause_source}
        cause = last.get("cause")
        if cause is not None and cause not in humans:
            yield f"session {session.id} was paused by {cause}, which no human wrote"
        elif session.pause_source == "operator" and not pauses:
            yield f"session {session.id} is paused, and nobody paused it"
        elif session.pause_source == "owner" and not humans:
            yield f"session {session.id} is paused by the owner, who never wrote"
        elif session.pause_source not in ("operator", "owner"):
            yield f"session {session.id} is paused by {session.pause_source}"


def _doubled(history: History) -> Iterator[str]:
    for written in history.written:
        count = sum(reply.body == written.body for reply in history.phone)
        if count > 1:
            yield f"the operator's «{written.body}» is {count} times on the phone"
    parts: dict[tuple[str, int], str] = {}
    tokens: dict[str, str] = {}
    for reply in _replies(history):
        key = (reply.token, reply.part)
        if key in parts:
            both = f"{parts[key]} and {reply.phone.wa_id}"
            yield f"{reply.token} part {reply.part} is on the phone twice: {both}"
        parts.setdefault(key, reply.phone.wa_id)
        for marker in reply.markers:
            first = tokens.setdefault(marker, reply.token)
            if first != reply.token and reply.part == 1:
                yield f"{marker} was answered by {first} and by {reply.token}"


def _over_a_human(history: History) -> Iterator[str]:
    """A send passed the fence after a human's message, or an operator's pause, was committed."""
    resumes = [c for c in history.changes if c.what == "pause" and c.detail.get("resumed")]
    resumes = [c for c in resumes if c.detail.get("resume_source") == "operator"]
    for begun in _begun_and_delivered(history):
        for human in history.humans:
            committed = _committed(history, human, begun)
            if committed is None or _may_be_erased(history, human.at):
                continue
            if not any(r.seq < begun.seq and r.at > human.at for r in resumes):
                yield (
                    f"message {begun.detail['message_id']} passed the fence"
                    f" {begun.at - committed:.3f} s after the {human.by}'s {human.wa_id}"
                )
        for pause in history.changes:
            if pause.what != "pause" or not _is_rest_pause(pause) or pause.seq > begun.seq:
                continue
            if _session_at(history, pause.session_id, begun.seq) != begun.session_id:
                continue
            if not any(pause.seq < r.seq < begun.seq for r in resumes):
                yield (
                    f"message {begun.detail['message_id']} passed the fence"
                    f" {begun.at - pause.at:.3f} s after a pause by REST"
                )


def _is_rest_pause(change: Change) -> bool:
    return bool(change.detail.get("begins")) and change.detail.get("source") == "operator"


def _committed(history: History, human: HumanMessage, begun: Change) -> float | None:
    """Return when the human's message was committed, if before `begun` and in the same session."""
    seen = [c for c in history.changes if c.what == "human" and c.detail["wa_id"] == human.wa_id]
    for change in seen:
        if change.seq < begun.seq:
            same = _session_at(history, change.session_id, begun.seq) == begun.session_id
            return change.at if same else None
    if not seen and human.acked_at is not None and human.acked_at < begun.at:
        return human.acked_at
    return None


def _session_at(history: History, session_id: int, seq: int) -> int:
    """Return the session's id at that time: sessions of one person are merged."""
    for change in history.changes:
        if change.seq > seq:
            break
        if change.what == "identity" and change.detail.get("from") == session_id:
            session_id = change.session_id
    return session_id


def _begun_and_delivered(history: History) -> Iterator[Change]:
    """Yield the begun sends of the AI that led to a message on the phone."""
    begins = [c for c in history.changes if c.what == "begun" and c.detail.get("sender") == "ai"]
    for reply in history.phone:
        led = [
            c for c in begins
            if c.at <= reply.at and str(c.detail["body"])[:100] == reply.body[:100]
        ]  # fmt: skip
        if led:
            before = [c for c in led if c.at <= reply.arrived]
            yield (before or led)[-1]


def _stuck(history: History) -> Iterator[str]:
    for turn in history.turns:
        if turn.state in _OPEN:
            yield f"turn {turn.id} is still {turn.state}: {turn.error}"
    for row in history.rows:
        if row.send_state in ("sending", "unknown"):
            yield f"message {row.id} is still {row.send_state}"


def _mixed(history: History) -> Iterator[str]:
    for reply in _replies(history):
        foreign = [m for m in reply.markers if not m.startswith(f"Q{history.number:05}.")]
        if foreign:
            yield f"{reply.token} on this phone answers {', '.join(foreign)}"
        if reply.tenant != str(history.tenant):
            yield f"{reply.token} was made for shop-{reply.tenant}, not shop-{history.tenant}"


def _remembered(history: History) -> Iterator[str]:
    """No message from before an erasure stays, comes back, or is answered after the erasure.

    An address that belonged to no contact then cannot be recognised: later messages from it do not
    belong to an erased contact.
    """
    erased = history.erased
    if erased is None or erased.ended is None:
        return
    before = [
        said
        for said in history.said
        if said.at < erased.began - _SAME_SECOND
        and not (erased.unknown and (said.acked_at is None or said.acked_at > erased.began))
    ]
    rows = {row.wa_id for row in history.rows}
    for said in before:
        if said.wa_id in rows:
            yield f"{said.wa_id} was erased and is in the database"
    markers = {said.marker for said in before if said.marker}
    for reply in _replies(history):
        if reply.phone.arrived > erased.ended + history.bound and markers & set(reply.markers):
            yield f"{reply.token} answers what was erased before"


def _replies(history: History) -> Sequence[_Reply]:
    replies: list[_Reply] = []
    for phone in history.phone:
        if found := _REPLY.match(phone.body):
            token, part, _, tenant, markers = found.groups()
            replies.append(_Reply(token, int(part), tenant, tuple(markers.split()), phone))
    return replies
