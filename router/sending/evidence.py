"""Decides whether a send in doubt is on the phone, from the messages that Evolution has stored.

A send whose response was lost must not be repeated on a guess. Evolution's findMessages lists what
it stored; a message found there was sent. A missing message proves something only after a while
(Evolution may still be working on it), and only if this Evolution stores messages at all. It does
if it shows other messages that are known to be in the same chat.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from router.whatsapp.clean import as_list, as_object, as_text, as_time
from router.whatsapp.content import innermost, read_content
from router.whatsapp.reading import Reading
from router.whatsapp.telling import telling, telling_of, was_typed_on_a_phone

_CLOCK_SKEW = timedelta(minutes=5)
_CHANGED = ("EDITED", "DELETED")


@dataclass(frozen=True, slots=True)
class Doubt:
    """A send that has begun, as it was recorded. `told_as`: see Outgoing.

    `upload` is how many extra seconds it may take because of its size.
    """

    kind: str
    body: str
    began_at: datetime
    told_as: tuple[str, ...] | None = None
    chosen_id: str | None = None
    upload: float = 0.0

    def late_at(self, settle_after: timedelta) -> datetime:
        """Return until when it may show up: `settle_after` after its begin; later if large."""
        return self.began_at + settle_after + timedelta(seconds=self.upload)

    @property
    def keys(self) -> frozenset[str]:
        """Return the keys by which its record is recognised."""
        if self.told_as:
            return frozenset(self.told_as)
        reading = Reading(self.kind, self.body)
        return frozenset(telling_of(reading, by_phone=by_phone) for by_phone in (True, False))


@dataclass(frozen=True, slots=True)
class Chat:
    """What is known of a chat: the `records` of findMessages, and the ids of known messages.

    `ours` are the ids of our side's messages that are already accounted for, `theirs` those of the
    other side. Records that can be trusted show some of both. `complete` is false if there were
    more records than were read.
    """

    records: Sequence[Mapping[str, Any]]
    ours: frozenset[str]
    theirs: frozenset[str]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """The result: `sent` (with its wa_id), `not_sent`, or still `unknown`."""

    outcome: Literal["sent", "not_sent", "unknown"]
    wa_id: str | None = None
    detail: str = ""


def judge_sends(
    doubts: Sequence[Doubt], chat: Chat, now: datetime, settle_after: timedelta
) -> tuple[Finding, ...]:
    """Judge sends to one chat, in the order in which they began. One record proves one send.

    `settle_after` is how long after its begin a small send may still show up.
    """
    findings: list[Finding] = []
    taken = set(chat.ours) | {doubt.chosen_id for doubt in doubts if doubt.chosen_id}
    for doubt in doubts:
        found = _search(doubt, chat.records, taken - {doubt.chosen_id or ""})
        finding = found or _missing(doubt, chat, now, settle_after)
        findings.append(finding)
        taken |= {finding.wa_id} if finding.wa_id else set()
    return tuple(findings)


def _search(
    doubt: Doubt, records: Sequence[Mapping[str, Any]], taken: Collection[str]
) -> Finding | None:
    # They are listed newest first.
    mine = [r for r in reversed(records) if _is_from_me(r) and _id(r) and _id(r) not in taken]
    for record in mine:
        if _id(record) == doubt.chosen_id:
            return Finding("sent", wa_id=doubt.chosen_id)
    mine = [record for record in mine if not was_typed_on_a_phone(_id(record))]

    undated = False
    earliest = doubt.began_at - _CLOCK_SKEW
    for record in sorted(mine, key=lambda record: _sent_at(record) or earliest):
        sent_at = _sent_at(record)
        if _key(record) not in doubt.keys or (sent_at is not None and sent_at < earliest):
            continue
        if sent_at is not None:
            return Finding("sent", wa_id=_id(record))
        undated = True
    if undated:
        return Finding("unknown", detail="Evolution shows this message, but not when it was sent")
    for record in mine:
        sent_at = _sent_at(record)
        if _was_changed(record) and sent_at is not None and sent_at >= earliest:
            return Finding(
                "sent", wa_id=_id(record), detail="it was edited or deleted on the phone since"
            )
    return None


def _missing(doubt: Doubt, chat: Chat, now: datetime, settle_after: timedelta) -> Finding:
    if now < doubt.late_at(settle_after):
        return Finding("unknown", detail="Evolution does not show it yet")
    if not chat.complete:
        return Finding("unknown", detail="the chat has more messages than are looked through")
    if not {_id(record) for record in chat.records} & (chat.theirs | chat.ours):
        return Finding(
            "unknown",
            detail="Evolution shows none of this chat's messages, so their absence proves nothing:"
            " check that it stores messages (SAVE_DATA_NEW_MESSAGE)",
        )
    return Finding("not_sent", detail="Evolution stored the chat, but not this message")


def _is_from_me(record: Mapping[str, Any]) -> bool:
    return as_object(record.get("key")).get("fromMe") is True


def _id(record: Mapping[str, Any]) -> str:
    return as_text(as_object(record.get("key")).get("id"))


def _sent_at(record: Mapping[str, Any]) -> datetime | None:
    sent_at = as_time(record.get("messageTimestamp"))
    return None if sent_at is None else datetime.fromisoformat(sent_at)


def _key(record: Mapping[str, Any]) -> str | None:
    message = innermost(as_object(record.get("message")))
    reading = read_content(message, record.get("messageType"))
    return None if reading is None else telling(reading, _id(record))


def _was_changed(record: Mapping[str, Any]) -> bool:
    """Whether the record no longer shows what was sent."""
    if record.get("message") is None:
        return True
    updates = map(as_object, as_list(record.get("MessageUpdate")))
    return any(update.get("status") in _CHANGED for update in updates)
