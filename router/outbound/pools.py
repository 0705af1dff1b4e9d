"""The pools of connections to tenants' URLs: one for each purpose."""

from collections.abc import Iterator

import httpx

from router.configuration.addresses import Allowed
from router.configuration.settings import Settings
from router.outbound.checked import CheckedTransport
from router.outbound.client import client_over
from router.outbound.media import SECONDS as MEDIA_SECONDS
from router.outbound.pace import Pace, Rate
from router.outbound.transport import MOST_CONNECTIONS, Claimed, by_tenant_and_server
from router.sharing.shares import NOBODY, Claims

_COURTESY_SECONDS = 5.0
_LONGEST_TYPING = 10.0  # seconds for which a flow may show "typing…"
_REPAIR_SECONDS = 10.0
_REPAIR_CONNECTIONS = 16  # twice as many as there are repairs at once
# For the longest media, while six of the same tenant are fetched at once.
_SECONDS_A_MEDIA = 2.0
# Spare connections, for lost ones that are not yet replaced: a send with a place never waits.
_SPARE = 2


class TenantPools:
    """The pools of each kind of request, so that no kind waits for another.

    `services` is for tenants' own services besides Evolution: notices and moderation. `media` is
    for the URLs that flows give, `senses` for media that contacts sent, from Evolution.
    """

    def __init__(self, settings: Settings, places: int) -> None:
        """`places` is the maximum number of sends at once."""
        self._allowed = Allowed.of(settings.own_networks)
        self._transports: dict[str, CheckedTransport] = {}
        # All responses of a tenant share one pace; media count by their bytes only.
        of_media = Rate(settings.max_media_bytes / _SECONDS_A_MEDIA, settings.max_media_bytes, len)
        self._pace = Pace(Rate.of_records(settings.max_media_bytes))
        # Each place has a connection: the places are shared among tenants before the fence.
        self.sends = self._client(
            "sends", settings.send_timeout, places + places // _SPARE, _by_nobody
        )
        self.lookups = self._client("lookups", settings.send_timeout)
        self.repairs = self._client("gap repairs", _REPAIR_SECONDS, _REPAIR_CONNECTIONS)
        typing = max(settings.typing_seconds, settings.typing_most_seconds, _LONGEST_TYPING)
        self.courtesy = self._client("courtesy", typing + _COURTESY_SECONDS)
        self.services = self._client("services", settings.send_timeout)
        self.media = self._client("media", MEDIA_SECONDS, pace=Pace(of_media))
        self.senses = self._client("media that came", MEDIA_SECONDS, pace=Pace(of_media))

    def exhausted(self) -> Iterator[str]:
        """Yield a text for each pool without a free connection."""
        for name, transport in self._transports.items():
            if transport.is_exhausted:
                yield (
                    f"all {transport.limit} connections for {name} are held"
                    f" ({transport.in_flight} requests are under way)"
                )

    async def close(self) -> None:
        """Close every connection."""
        for client in (
            self.courtesy,
            self.services,
            self.media,
            self.senses,
            self.repairs,
            self.lookups,
            self.sends,
        ):
            await client.aclose()

    def _client(
        self,
        name: str,
        timeout: float,
        limit: int = MOST_CONNECTIONS,
        claimed: Claimed = by_tenant_and_server,
        pace: Pace | None = None,
    ) -> httpx.AsyncClient:
        transport = CheckedTransport(
            self._allowed, limit=limit, claimed=claimed, pace=pace or self._pace
        )
        self._transports[name] = transport
        return client_over(transport, timeout)


def _by_nobody(request: httpx.Request) -> Claims:
    del request
    return NOBODY
