"""The HTTP clients: for URLs that tenants set, and for the deployment's own services.

Redirects are not followed. Proxies named in the environment are not used, because a proxy would
resolve the name itself, unchecked.
"""

import functools
from typing import Any

import httpx

from router.configuration.addresses import Allowed
from router.configuration.settings import Settings
from router.outbound.bounds import ENCODINGS
from router.outbound.checked import CheckedTransport
from router.outbound.transport import MOST_CONNECTIONS, POOL_WAIT


class AddressWrong(httpx.UnsupportedProtocol):
    """The URL, headers and content do not form a valid request; nothing was sent."""


@functools.lru_cache(maxsize=1024)
def _parsed(url: httpx.URL | str) -> httpx.URL:
    return httpx.URL(url)


class CheckingClient(httpx.AsyncClient):
    """httpx's client, which raises a TransportError if it cannot make a request."""

    def build_request(self, method: str, url: httpx.URL | str, **given: Any) -> httpx.Request:
        """Return the request. Raises AddressWrong."""
        try:
            request = super().build_request(method, _parsed(url), **given)
            port = request.url.port
            usable = bool(request.url.host) and (port is None or 0 < port < 65536)
        except (httpx.InvalidURL, ValueError, OverflowError, RecursionError) as error:
            # Not "from error": its text may quote a key.
            raise AddressWrong(f"no request can be made of it ({type(error).__name__})") from None
        if not usable:
            raise AddressWrong("no request can be made of it: check host and port")
        return request


class DirectClient(CheckingClient):
    """A client over one transport, without redirects, cookies and the environment.

    httpx's own code for these takes as long as the request itself.
    """

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        """Send the request. Raises httpx.RequestError."""
        is_plain = auth is follow_redirects is httpx.USE_CLIENT_DEFAULT
        if not is_plain or request.url.userinfo or self.is_closed:
            return await super().send(
                request, stream=stream, auth=auth, follow_redirects=follow_redirects
            )
        response = await self._transport.handle_async_request(request)
        response.request = request
        if not stream:
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response


def open_tenant_http(
    settings: Settings, timeout: float, *, limit: int = MOST_CONNECTIONS
) -> httpx.AsyncClient:
    """Return a client for tenants' URLs; `timeout` in seconds. The caller closes it."""
    return client_over(CheckedTransport(Allowed.of(settings.own_networks), limit=limit), timeout)


def client_over(transport: httpx.AsyncBaseTransport, timeout: float) -> httpx.AsyncClient:
    """Return a client with a `timeout` in seconds; it waits only briefly for a free connection.

    The timeout is for the whole exchange, also if a request sets its own.
    """
    return DirectClient(
        transport=transport,
        timeout=httpx.Timeout(timeout, pool=POOL_WAIT),
        headers={"Accept-Encoding": ENCODINGS},
        follow_redirects=False,
        trust_env=False,
    )


def for_tenant(tenant: str | int) -> dict[str, object]:
    """Return the request extensions that name the tenant, by its instance or its id."""
    return {"tenant": tenant}
