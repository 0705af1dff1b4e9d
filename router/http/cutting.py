"""Cuts a call's connection if the other end does not read; the server would wait for it.

ASGI has no way to do this. In uvicorn, which serves the router, a call's `send` is a method of an
object that has the connection. Under another server, nothing can be cut.
"""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_CUT: Final = "hybridflow.cut"
_SECONDS: Final = 1.0  # until a server has seen that a connection is gone


class CanCut:
    """ASGI middleware, the outermost one: notes how a call's connection can be cut."""

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
    """Cut the connection, if it still exists; unread data is lost."""
    if can_cut(scope):
        scope[_CUT]()


async def cut_and_see(scope: Scope, receive: Receive) -> None:
    """Cut the connection, and return when the server knows, so that it logs no error about it."""
    if not can_cut(scope):
        return
    cut(scope)
    try:
        async with asyncio.timeout(_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
