"""Headers that limit what other sites' pages can do with a response in a browser.

They are on every response, including errors. The reference at /docs runs a script of ours, and has
its own policy.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_YEAR = 31_536_000
_PRIVATE = ("/api", "/n8n", "/cron", "/webhook")


@lru_cache(maxsize=4)
def _headers(*, is_private: bool, is_https: bool) -> Mapping[bytes, bytes]:
    headers = {**_ALWAYS, "Content-Security-Policy": _NOTHING}
    if is_private:
        headers["Cache-Control"] = "no-store"
    if is_https:
        headers["Strict-Transport-Security"] = f"max-age={_YEAR}"
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


def headers_for(path: str, *, is_https: bool) -> Mapping[bytes, bytes]:
    """Return the headers for a response on this path, in ASGI's form.

    `is_https`: the public URL is https.
    """
    return _headers(is_private=path.startswith(_PRIVATE), is_https=is_https)


class ResponseHeaders:
    """ASGI middleware that adds the headers to every response, unless the endpoint has set them."""

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        self._is_https = is_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = headers_for(scope["path"], is_https=self._is_https)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _together(message.get("headers", ()), wanted)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _together(
    given: Iterable[tuple[bytes, bytes]], wanted: Mapping[bytes, bytes]
) -> list[tuple[bytes, bytes]]:
    headers = list(given)
    there = {name.lower() for name, _ in headers}
    headers += (each for each in wanted.items() if each[0] not in there)
    return headers
