"""Writes changes as server-sent events, the same bytes for all followers of a tenant. Pure.

A change names the session, the turn and the kind; it never contains text of messages. If several
changes are read together, the last event has the position as its id. A client that reconnects with
that id (`Last-Event-ID`) gets everything that came after it, and may get some changes twice.
"""

from collections.abc import Sequence

import orjson

from router.state.calls.changes import Change

RETRY_MS = 1000
BEAT = b": still here\n\n"
"""An empty event, so that proxies do not close the connection as idle."""


def changes_as_events(changes: Sequence[Change], position: str) -> bytes:
    """Return these changes of one tenant as events; no bytes if there are none."""
    if not changes:
        return b""
    *before, last = (_event(change) for change in changes)
    return b"".join([*(each + b"\n" for each in before), last, _id(position)])


def ready(position: str) -> bytes:
    """Return the event which says that from now on nothing is missed: the client may read now."""
    return f"retry: {RETRY_MS}\nevent: ready\ndata: {{}}\n".encode() + _id(position)


def reset(position: str) -> bytes:
    """Return the event which says that changes may be missing: the client must read all again."""
    return b"event: reset\ndata: {}\n" + _id(position)


def end(reason: str) -> bytes:
    """Return the event which says why the stream ends."""
    return b"event: end\ndata: " + orjson.dumps({"reason": reason}) + b"\n\n"


def _event(change: Change) -> bytes:
    if change.session_id is None:
        return b"event: tenant\ndata: " + orjson.dumps({"kind": change.kind}) + b"\n"
    told = {"session_id": change.session_id, "turn_id": change.turn_id, "kind": change.kind}
    return b"event: session\ndata: " + orjson.dumps(told) + b"\n"


def _id(position: str) -> bytes:
    return f"id: {position}\n\n".encode()
