"""A cache of the webhook secrets and networks of all tenants, refreshed every 10 s.

The first webhook loads them all, in pages; later refreshes load what changed. Before a webhook is
refused for good (Evolution does not retry a 401 or 403), the cache is refreshed. So a new secret
works at once, and a retired one for ten seconds at most. This costs at most one query in ten
seconds, or two a second while webhooks are being refused, whatever names and secrets they have.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_network
from typing import TypeAlias

from router.configuration.addresses import Network
from router.errors import DatabaseAway
from router.logs.events import Action, log_event
from router.running.loops import log_unexpected
from router.state.calls.guards import WebhookGuard, WebhookGuards, webhook_guards
from router.state.database import Database

_log = logging.getLogger(__name__)
_LIFE = 10.0  # seconds
_LIFE_BEFORE_REFUSAL = 1.0
_BETWEEN_QUERIES = 0.5
_PAGE = 500  # tenants per query when all are read
_BY_TURNS = 100  # tenants that every query reads again, in turn, even if unchanged
_BREATH = 500  # networks that are parsed before other work may run; a tenant counts as one


@dataclass(frozen=True, slots=True)
class Access:
    """What one tenant's webhooks must prove, and where they may come from.

    `hashes` are the SHA-256, in hex, of its own secrets; `shared` says that the deployment's
    secrets are accepted, too. `networks` is None if webhooks may come from anywhere; `written` is
    the state's form of it. `ends` are hashes that expire, with the time on this process's clock.
    """

    hashes: tuple[str, ...] = ()
    shared: bool = True
    networks: tuple[Network, ...] | None = None
    written: tuple[str, ...] | None = None
    ends: tuple[tuple[str, float], ...] = ()

    def at(self, now: float) -> "Access":
        """Return the access without the hashes that have expired."""
        over = {each for each, end in self.ends if end <= now}
        if not over:
            return self
        return replace(self, hashes=tuple(each for each in self.hashes if each not in over))


_NONE = Access()
_NOBODYS = (0, _NONE)
_ByName: TypeAlias = dict[str, tuple[int, Access]]  # tenant id and access, by instance name


class AccessCache:
    """The access of all tenants. A tenant without its own secrets uses only the deployment's."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._by_name: _ByName | None = None
        self._names: dict[int, str] = {}
        self._since: datetime | None = None
        self._after = 0
        self._known_at = self._asked_at = -math.inf
        self._asking = asyncio.Lock()

    async def of(self, instance: str) -> Access:
        """Return the access of an instance. Raises DatabaseAway if nothing was read so far.

        While the database is away, the last known access is used: nothing can be recorded then.
        """
        await self._renew(_LIFE)
        return self._find(instance)

    async def newest_of(self, instance: str) -> Access:
        """Return the access after a refresh, for use before a refusal. Raises DatabaseAway."""
        await self._renew(_LIFE_BEFORE_REFUSAL)
        if self._is_older_than(_LIFE_BEFORE_REFUSAL):
            raise DatabaseAway("whether the tenant has this webhook secret is not known")
        return self._find(instance)

    def _find(self, instance: str) -> Access:
        if self._by_name is None:
            raise DatabaseAway("the tenants' webhook secrets are not known yet")
        _, access = self._by_name.get(instance, _NOBODYS)
        return access.at(self._clock())

    async def _renew(self, life: float) -> None:
        if not self._is_older_than(life):
            return
        async with self._asking:
            # Another task may have refreshed while this one waited, with success or not.
            if self._is_older_than(life) and self._clock() - self._asked_at > _BETWEEN_QUERIES:
                await self._ask()

    def _is_older_than(self, life: float) -> bool:
        return self._clock() - self._known_at > life

    async def _ask(self) -> None:
        asked_at = self._clock()
        try:
            if self._by_name is None:
                await self._read_all()
            else:
                await self._read_changes()
            self._known_at = asked_at
        except DatabaseAway as error:
            log_event(_log, Action.DATABASE_AWAY, str(error), level=logging.WARNING)
        except Exception as error:  # noqa: BLE001 - the last known access is used after any error
            log_unexpected("the webhook secrets and networks could not be read", error)
        finally:
            self._asked_at = self._clock()

    async def _read_all(self) -> None:
        by_name: _ByName = {}
        names: dict[int, str] = {}
        since: datetime | None = None
        after: int | None = 0
        while after is not None:
            page = await webhook_guards(self._database, WebhookGuards(after=after, limit=_PAGE))
            since = since or page.now
            after = page.next
            await self._note(by_name, names, page.guards)
        self._by_name, self._names, self._since = by_name, names, since

    async def _read_changes(self) -> None:
        assert self._by_name is not None  # noqa: S101 - _read_all ran before
        asked = WebhookGuards(changed_since=self._since, after=self._after, limit=_BY_TURNS)
        answer = await webhook_guards(self._database, asked)
        upto = answer.next
        told = {each.tenant_id for each in answer.guards}
        for tenant_id in [each for each in self._names if each > self._after]:
            if tenant_id not in told and (upto is None or tenant_id <= upto):
                _forget(self._by_name, self._names, tenant_id)  # it has none of its own now
        await self._note(self._by_name, self._names, answer.guards)
        self._since, self._after = answer.now, upto or 0

    async def _note(
        self, by_name: _ByName, names: dict[int, str], told: Sequence[WebhookGuard]
    ) -> None:
        read: list[tuple[int, str, Access]] = []
        work = 0
        for each in told:
            tenant_id, name = each.tenant_id, each.instance_name
            _, known = by_name.get(names.get(tenant_id, ""), _NOBODYS)
            access = _read(each, self._clock(), known)
            read.append((tenant_id, name, access))
            work += 1 if access.networks is known.networks else len(access.networks or ()) + 1
            if work >= _BREATH:
                work = 0
                await asyncio.sleep(0)
        # Without an await, so that no tenant lacks its access meanwhile. All old names are dropped
        # first, because another tenant may have taken one of them.
        for tenant_id, name, _ in read:
            _forget(by_name, names, tenant_id)
            by_name.pop(name, None)
        for tenant_id, name, access in read:
            if access != _NONE:
                names[tenant_id], by_name[name] = name, (tenant_id, access)


def _forget(by_name: _ByName, names: dict[int, str], tenant_id: int) -> None:
    """Drop a tenant's access, but not the access of another tenant that has taken its name."""
    name = names.pop(tenant_id, None)
    if name is not None and name in by_name and by_name[name][0] == tenant_id:
        del by_name[name]


def _read(told: WebhookGuard, now: float, known: Access) -> Access:
    """Read the state's answer; networks that are unchanged in `known` are not parsed again."""
    written = told.networks
    networks = known.networks
    if written != known.written:
        networks = None if written is None else tuple(ip_network(text) for text in written)
    return Access(
        hashes=told.hashes,
        shared=told.shared,
        networks=networks,
        written=written,
        ends=tuple((each, now + seconds) for each, seconds in told.retiring.items()),
    )
