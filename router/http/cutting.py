"""Cutting a call's connection off, where the other end reads nothing: a server waits for it else.

ASGI has no word for it. uvicorn, by which the router is served, gives a call its `send` as a method
of what has the connection; under a server that does not, nothing can be cut.
"""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_CUT: Final = "hybridflow.cut"
_SECONDS: Final = 1.0  # until a server has seen that a connection is gone


class CanCut:
    """ASGI middleware, the first that a call comes to: notes how its connection is cut."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on."""
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        abort = getattr(transport, "abort", None)
        if callable(abort):
            scope[_CUT] = abort
        await self._app(scope, receive, send)


def can_cut(scope: Scope) -> bool:
    """Whether the call's connection can be cut."""
    return _CUT in scope


def cut(scope: Scope) -> None:
    """Cut it, if it still exists: what the other end has not read, it never reads."""
    if can_cut(scope):
        scope[_CUT]()


async def cut_and_see(scope: Scope, receive: Receive) -> None:
    """Cut it, and return once the server knows: otherwise it logs a half response as an error."""
    if not can_cut(scope):
        return
    cut(scope)
    try:
        async with asyncio.timeout(_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
