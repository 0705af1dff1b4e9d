"""A browser that signed in shows its cookie in place of a key.

What changes anything by a cookie must come from a page of our own: SameSite keeps other sites'
pages from sending it, but not those of another port or name of the same site.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.gate.sign_ins import Cookie, SignIns
from router.http.errors import error_response

_KEYS = (b"x-api-key", b"authorization")
_READS = ("GET", "HEAD")
_FOREIGN = "what changes anything with a sign-in must come from a page of HybridFlow's own"


def is_of_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of this very host and port makes the call."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin, host = headers.get("origin"), headers.get("host")
    return origin is not None and host is not None and urlsplit(origin).netloc == host


class CookieKeys:
    """ASGI middleware: puts the key of a sign-in where callers of the API show theirs."""

    def __init__(self, app: ASGIApp, sign_ins: SignIns, cookie: Cookie) -> None:
        self._app = app
        self._sign_ins = sign_ins
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, with the key if it has a sign-in."""
        sealed = self._shown(scope)
        if sealed is None:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_own = is_of_own_page(headers)
        if scope["method"] not in _READS and not is_own:
            await error_response(403, "foreign_page", _FOREIGN)(scope, receive, send)
            return
        key = self._sign_ins.key_of(sealed)
        if key is not None and (is_own or headers.get("sec-fetch-site", "none") == "none"):
            shown = [*scope["headers"], (b"x-api-key", key.encode("latin-1"))]
            scope = {**scope, "headers": shown}
        await self._app(scope, receive, self._forgetting(send))

    def _shown(self, scope: Scope) -> str | None:
        """Return what the cookie holds, where nothing else says who calls."""
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            return None
        cookies = b""
        for name, value in scope["headers"]:
            if name in _KEYS:
                return None
            if name == b"cookie":
                cookies = value
        if self._cookie.name.encode() not in cookies:
            return None
        return cookie_parser(cookies.decode("latin-1")).get(self._cookie.name)

    def _forgetting(self, send: Send) -> Send:
        """Have the browser forget a sign-in that serves nobody any more."""

        async def forgetting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                dropped = (b"set-cookie", self._cookie.dropped.encode())
                message["headers"] = [*message.get("headers", ()), dropped]
            await send(message)

        return forgetting
