"""Lets a signed-in browser send its cookie instead of a key.

With a cookie, a request that changes anything must come from our own page. SameSite keeps pages of
other sites from sending it, but not pages of another port or host name of the same site.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.gate.sign_ins import Cookie, Cookies, SignIn, SignIns
from router.http.errors import error_response

_KEYS = (b"x-api-key", b"authorization")
_READS = ("GET", "HEAD")
_SESSION = "/api/session"
_SIGN_IN = "hybridflow.sign_in"
_FOREIGN = "what changes anything with a sign-in must come from a page of HybridFlow's own"


def sign_in_of(scope: Scope) -> SignIn | None:
    """Return the sign-in that a browser sends with a call, or None if it sends none, or a key."""
    sign_in: SignIn | None = scope.get(_SIGN_IN)
    return sign_in


def is_of_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that the call comes from a page of this host and port."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin, host = headers.get("origin"), headers.get("host")
    return origin is not None and host is not None and urlsplit(origin).netloc == host


class CookieKeys:
    """ASGI middleware: puts the key of a sign-in into the header that API callers use."""

    def __init__(self, app: ASGIApp, sign_ins: SignIns, cookies: Cookies) -> None:
        self._app = app
        self._sign_ins = sign_ins
        self._cookies = cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, with the key if it has a sign-in."""
        shown = self._shown(scope)
        if shown is None:
            await self._app(scope, receive, send)
            return
        cookie, sealed = shown
        headers = Headers(scope=scope)
        is_own = is_of_own_page(headers)
        if scope["method"] not in _READS and not is_own:
            await error_response(403, "foreign_page", _FOREIGN)(scope, receive, send)
            return
        sign_in = self._sign_ins.opened(sealed)
        if sign_in is None:
            await self._app(scope, receive, _forgetting(send, cookie))
            return
        scope = {**scope, _SIGN_IN: sign_in}
        if _is_of_session(scope) or not (is_own or headers.get("sec-fetch-site", "none") == "none"):
            await self._app(scope, receive, send)
        else:
            with_key = [*scope["headers"], (b"x-api-key", sign_in.key.encode("latin-1"))]
            scope = {**scope, "headers": with_key}
            await self._app(scope, receive, _forgetting(send, cookie))

    def _shown(self, scope: Scope) -> tuple[Cookie, str] | None:
        """Return the cookie and its content, if there is no other credential."""
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            return None
        lines = []
        for name, value in scope["headers"]:
            if name in _KEYS:
                return None
            if name == b"cookie":
                lines.append(value)
        if not any(b"hybridflow" in line for line in lines):
            return None
        kept = cookie_parser(b"; ".join(lines).decode("latin-1"))  # HTTP/2 sends a line for each
        return next(
            ((each, kept[each.name]) for each in self._cookies.read if each.name in kept), None
        )


def _is_of_session(scope: Scope) -> bool:
    """Whether the call signs in or out; signing in needs the key itself, not a cookie."""
    path: str = scope["path"]
    return path == _SESSION


def _forgetting(send: Send, cookie: Cookie) -> Send:
    """Make the browser delete a sign-in that is no longer valid."""

    async def forgetting(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 401:
            dropped = (b"set-cookie", cookie.dropped.encode())
            message["headers"] = [*message.get("headers", ()), dropped]
        await send(message)

    return forgetting
