"""Whether a send in doubt is on the phone: judged by what Evolution has stored.

A send whose answer was lost must not be repeated on a guess. Evolution's findMessages lists what it
stored; a message found there was sent. That it is not there proves something only after a while
(Evolution may still be working on it) and only if this Evolution stores messages at all, which the
customer's own messages in the same list show.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from router.webhook.clean import as_object, as_text, as_time

_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out: `sent` (as wa_id), `not_sent`, or `unknown` still."""

    outcome: Literal["sent", "not_sent", "unknown"]
    wa_id: str | None = None
    detail: str = ""


def judge_send(
    body: str,
    began_at: datetime,
    records: Sequence[Mapping[str, Any]],
    *,
    ours: Collection[str],
    theirs: Collection[str],
    now: datetime,
    settle_after: timedelta,
) -> Finding:
    """Judge a send of `body` begun at `began_at` by the chat's `records` (findMessages).

    `ours` are the ids of messages that are accounted for already (two parts may have one text),
    `theirs` the ids of the customer's messages that the list should show if it can be trusted.
    """
    undated = False
    for record in records:
        wa_id = _id(record)
        if as_object(record.get("key")).get("fromMe") is not True or not wa_id or wa_id in ours:
            continue
        if _folded(_text(record)) != _folded(body):
            continue
        sent_at = as_time(record.get("messageTimestamp"))
        if sent_at is None:
            undated = True
        elif datetime.fromisoformat(sent_at) >= began_at - _CLOCK_SKEW:
            return Finding("sent", wa_id=wa_id)

    if undated:
        return Finding("unknown", detail="Evolution shows this text, but not when it was sent")
    if now < began_at + settle_after:
        return Finding("unknown", detail="Evolution does not show it yet")
    if not {_id(record) for record in records} & set(theirs):
        return Finding(
            "unknown",
            detail="Evolution shows none of this chat's messages, so their absence proves nothing:"
            " check that it stores messages (SAVE_DATA_NEW_MESSAGE)",
        )
    return Finding("not_sent", detail="Evolution stored the chat, but not this message")


def _id(record: Mapping[str, Any]) -> str:
    return as_text(as_object(record.get("key")).get("id"))


def _text(record: Mapping[str, Any]) -> str:
    message = as_object(record.get("message"))
    extended = as_object(message.get("extendedTextMessage"))
    return as_text(message.get("conversation")) or as_text(extended.get("text"))


def _folded(text: str) -> str:
    return " ".join(text.split())
