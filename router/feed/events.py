"""Changes as server-sent events, in the same bytes for all followers of a tenant. Pure.

A change says which session and turn, and of what kind; never anybody's words. The last event of
several that were read together has the position as its id: a client that returns with that
(`Last-Event-ID`) gets everything that came after, and may get some of it twice.
"""

from collections.abc import Sequence

import orjson

from router.state.calls.changes import Change

RETRY_MS = 1000
BEAT = b": still here\n\n"
"""Says nothing; it keeps proxies from closing the connection as dead."""


def changes_as_events(changes: Sequence[Change], position: str) -> bytes:
    """Return these changes of one tenant; nothing for none."""
    if not changes:
        return b""
    *before, last = (_event(change) for change in changes)
    return b"".join([*(each + b"\n" for each in before), last, _id(position)])


def ready(position: str) -> bytes:
    """Say that from here on nothing is missed: what is read now is as new as what comes."""
    return f"retry: {RETRY_MS}\nevent: ready\ndata: {{}}\n".encode() + _id(position)


def reset(position: str) -> bytes:
    """Say that something may have been missed: the client must read everything again."""
    return b"event: reset\ndata: {}\n" + _id(position)


def end(reason: str) -> bytes:
    """Say why the stream ends."""
    return b"event: end\ndata: " + orjson.dumps({"reason": reason}) + b"\n\n"


def _event(change: Change) -> bytes:
    if change.session_id is None:
        return b"event: tenant\ndata: " + orjson.dumps({"kind": change.kind}) + b"\n"
    told = {"session_id": change.session_id, "turn_id": change.turn_id, "kind": change.kind}
    return b"event: session\ndata: " + orjson.dumps(told) + b"\n"


def _id(position: str) -> bytes:
    return f"id: {position}\n\n".encode()
