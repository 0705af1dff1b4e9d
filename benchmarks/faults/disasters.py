"""Disasters for all conversations at once: processes die, stop, and come back."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import asyncpg
import psutil

from benchmarks.faults import watch
from benchmarks.faults.world import World
from loopback.evolution import Business

Disaster = Literal[
    "router killed",
    "router stopped",
    "router terminated",
    "postgresql killed",
    "postgresql stopped",
    "postgresql terminated",
    "connections cut",
    "Evolution hangs",
    "line down",
    "findMessages away",
]
_WEIGHTS: dict[Disaster, float] = {
    "router killed": 20,
    "router stopped": 15,
    "router terminated": 10,
    "postgresql killed": 10,
    "postgresql stopped": 6,
    "postgresql terminated": 4,
    "connections cut": 12,
    "Evolution hangs": 12,
    "line down": 10,
    "findMessages away": 8,
}


@dataclass(frozen=True, slots=True)
class Interruption:
    """The conversations being worked on when something went away, and when it was back."""

    what: Disaster
    began: float
    back: float
    numbers: frozenset[int]


@dataclass(slots=True)
class Disasters:
    """Makes one disaster after the other, until it is told to end."""

    world: World
    rng: random.Random
    pause: tuple[float, float]
    counts: Counter[str] = field(default_factory=Counter)
    interruptions: list[Interruption] = field(default_factory=list)
    journal: list[tuple[float, str]] = field(default_factory=list)
    longest_end: float = 0.0
    """The longest time that a router needed to end after SIGTERM."""

    async def rage(self, until: asyncio.Event) -> None:
        """Make disasters until the event is set; the current one is finished first."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), self.rng.uniform(*self.pause))
                return
            disaster = self.rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
            self.counts[disaster] += 1
            began = time.time()
            await self._strike(disaster)
            self.journal.append((began, f"{disaster}, for {time.time() - began:.1f} s"))

    async def _strike(self, disaster: Disaster) -> None:
        rng = self.rng
        match disaster:
            case "router killed" | "router stopped" | "router terminated":
                await self._router(disaster, rng.randrange(2), rng.random())
            case "postgresql killed" | "postgresql stopped" | "postgresql terminated":
                await self._postgres(disaster, rng.random())
            case "connections cut":
                with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                    await self.world.cut_connections(rng.random())
            case "Evolution hangs":
                await self._tenants("hangs", rng.uniform(1.5, 4.0))
            case "findMessages away":
                await self._tenants("looks_fail", rng.uniform(1.5, 5.0))
            case "line down":
                await self._line(rng.choice(self.world.shops), rng.uniform(0.5, 4.0))

    async def _router(self, disaster: Disaster, which: int, share: float) -> None:
        router, began = self.world.routers[which], time.time()
        numbers = await self._at_work(router.pid)
        if disaster == "router stopped":
            router.freeze()
            # Most are short; one in four is longer than a lease.
            await asyncio.sleep(0.3 + 3 * share if share < 0.75 else 40 * (share - 0.5))
            router.thaw()
            return
        if disaster == "router killed":
            router.kill()
        else:
            router.terminate()
            await asyncio.to_thread(router.wait)
            self.longest_end = max(self.longest_end, time.time() - began)
        await asyncio.sleep(share * 1.5)
        router.start()
        await router.ready()
        self.interruptions.append(Interruption(disaster, began, time.time(), numbers))

    async def _postgres(self, disaster: Disaster, share: float) -> None:
        began, numbers = time.time(), await self._at_work(None)
        if disaster == "postgresql stopped":
            frozen = self.world.freeze_postgres()
            await asyncio.sleep(0.3 + 2.5 * share)
            for process in frozen:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGCONT)
            return
        guard = self.world.guard()
        if guard is not None:
            guard.send_signal(signal.SIGSTOP)
        try:
            server = self.world.postmaster()
            server.send_signal(signal.SIGKILL if disaster == "postgresql killed" else signal.SIGINT)
            await asyncio.sleep(0.2 + 2.5 * share)
        finally:
            if guard is not None:
                guard.send_signal(signal.SIGCONT)
        await self.world.database_answers()
        self.interruptions.append(Interruption(disaster, began, time.time(), numbers))

    async def _tenants(self, trouble: str, seconds: float) -> None:
        most = max(1, len(self.world.calls) // 3)
        struck = self.rng.sample(self.world.calls, most)
        for calls in struck:
            setattr(calls, trouble, True)
        await asyncio.sleep(seconds)
        for calls in struck:
            setattr(calls, trouble, False)

    async def _line(self, shop: Business, seconds: float) -> None:
        shop.line.breaks()
        await asyncio.sleep(seconds)
        shop.line.connects()

    async def _at_work(self, pid: int | None) -> frozenset[int]:
        try:
            found = await asyncio.wait_for(watch.at_work(self.world.dsn, pid), 5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return frozenset()
        numbers = (self.number_of(tenant_id, jid) for tenant_id, jid in found)
        return frozenset(number for number in numbers if number is not None)

    def number_of(self, tenant_id: int, jid: str) -> int | None:
        """Return the number of the conversation at a tenant's JID."""
        place = self.world.tenant_ids.index(tenant_id)
        conversation = self.world.directory.at(self.world.shops[place].name, jid)
        return None if conversation is None else conversation.number
