"""Who may post webhooks for which tenant, kept at hand so that no webhook costs a query.

The state gives the guards of all tenants that have one at once, and this keeps them for some
seconds. However many webhooks come, for whatever names and with whatever secrets, that is at most
one query in ten seconds, and two a second while webhooks are being refused: nothing is refused for
good (Evolution does not repeat what got a 401 or 403) before the newest guards have been asked.
So a new secret holds at once, and a retired one for ten seconds at most.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from router.errors import DatabaseAway
from router.logs import Action, log_event
from router.loops import log_unexpected
from router.outbound.addresses import Network
from router.state.database import Database, Json

_log = logging.getLogger(__name__)
_LIFE = 10.0  # seconds
_LIFE_BEFORE_REFUSAL = 1.0
_BETWEEN_QUERIES = 0.5


@dataclass(frozen=True, slots=True)
class Guard:
    """How one tenant's webhooks are guarded.

    `hashes` are the SHA-256, in hex, of its own secrets; `shared`: the deployment's are accepted,
    too. `networks` is None where they may come from anywhere.
    """

    hashes: tuple[str, ...] = ()
    shared: bool = True
    networks: tuple[Network, ...] | None = None


class Guards:
    """The guards of all tenants; a tenant without one has the deployment's secrets alone."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._guards: Mapping[str, Guard] | None = None
        self._known_at = self._asked_at = -math.inf
        self._asking = asyncio.Lock()

    async def of(self, instance: str) -> Guard:
        """Return the guard of an instance. Raises DatabaseAway where none were ever read.

        While the database is away what was known holds: nothing is recorded anyway.
        """
        await self._renew(_LIFE)
        return self._find(instance)

    async def newest_of(self, instance: str) -> Guard:
        """The same, to be asked before a webhook is refused. Raises DatabaseAway."""
        await self._renew(_LIFE_BEFORE_REFUSAL)
        if self._is_older_than(_LIFE_BEFORE_REFUSAL):
            raise DatabaseAway("whether the tenant has this webhook secret is not known")
        return self._find(instance)

    def _find(self, instance: str) -> Guard:
        if self._guards is None:
            raise DatabaseAway("the tenants' webhook secrets are not known yet")
        return self._guards.get(instance, Guard())

    async def _renew(self, life: float) -> None:
        if not self._is_older_than(life):
            return
        async with self._asking:
            # Somebody may have asked while this waited, with success or not.
            if self._is_older_than(life) and self._clock() - self._asked_at > _BETWEEN_QUERIES:
                await self._ask()

    def _is_older_than(self, life: float) -> bool:
        return self._clock() - self._known_at > life

    async def _ask(self) -> None:
        asked_at = self._clock()
        try:
            answer = await self._database.call("webhook_guards", {})
            self._guards = {each["instance_name"]: _read(each) for each in answer["guards"]}
            self._known_at = asked_at
        except DatabaseAway as error:
            log_event(_log, Action.DATABASE_AWAY, str(error), level=logging.WARNING)
        except Exception as error:  # noqa: BLE001 - what is known holds, whatever the reason
            log_unexpected("the webhooks' guards could not be read", error)
        finally:
            self._asked_at = self._clock()


def _read(told: Json) -> Guard:
    networks = told["networks"]
    return Guard(
        hashes=tuple(told["hashes"]),
        shared=told["shared"],
        networks=None if networks is None else tuple(ip_network(text) for text in networks),
    )
