"""Answers webhooks before the middleware that other calls pass through.

They have their own rules: no browser calls them, so they need no CORS or cookies; `CallGate` would
let them through; and finding their route among all routes costs as much as reading a webhook. A
request that is not exactly a webhook (another method, another path) is handled like any other call.
"""

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from router.errors import StateError
from router.http.errors import UnexpectedErrors, answer_to_state_error
from router.http.headers import ResponseHeaders
from router.intake.routes import router

_PREFIX = "/webhook/"


class WebhooksFirst:
    """An ASGI application around another one; only its routes decide what a webhook is."""

    def __init__(self, others: ASGIApp, *, is_https: bool) -> None:
        """`others` answers all other calls. `is_https`: the public URL is https."""
        self._others = others
        self._webhooks = ResponseHeaders(UnexpectedErrors(_answer), is_https=is_https)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a webhook; pass on any other call."""
        if scope["type"] == "http" and scope["path"].startswith(_PREFIX):
            for route in router.routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found, route=route)
                    await self._webhooks(scope, receive, send)
                    return
        await self._others(scope, receive, send)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await scope["route"].handle(scope, receive, send)
    except StateError as error:
        await answer_to_state_error(error)(scope, receive, send)
