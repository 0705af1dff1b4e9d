"""Webhooks are answered before what other calls pass: they have rules of their own.

No browser calls them, so they need nothing of CORS or cookies; `CallGate` lets them through; and
looking a route up among all of them costs as much as to read a webhook. What is not one exactly
(another method, another path) goes the way of all calls.
"""

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from router.errors import StateError
from router.http.errors import UnexpectedErrors, answer_to_state_error
from router.http.headers import ResponseHeaders
from router.intake.routes import router

_PREFIX = "/webhook/"


class WebhooksFirst:
    """ASGI application around another; what is a webhook, its routes alone say."""

    def __init__(self, others: ASGIApp, *, is_https: bool) -> None:
        """`others` answers all other calls. `is_https`: the world reaches us so."""
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
