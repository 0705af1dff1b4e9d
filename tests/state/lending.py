"""Pools over a kept database, lent to the routers that run in a test's own loop.

A new connection compiles and plans every function that it calls: half a second of the CPU for each
test with a router. So a pool that is closed by its user goes back to the shelf, open, and the next
router gets it with its warm connections.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest

from router.state.address import Address
from router.state.direct import DirectDatabase

_CLOSE_TIMEOUT = 1.0  # as in `DirectDatabase.close`
_POLL = 0.005
FORGET = """
    reset session authorization; reset role; select pg_catalog.pg_advisory_unlock_all();
    close all; unlisten *; discard temp; reset all
"""
"""What a test may have set on its connection is forgotten, and the plans of it stay."""


class Lending:
    """The pools over one database. Each is lent to one user at a time."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pools: list[tuple[int, asyncpg.Pool[asyncpg.Record]]] = []
        self._idle: list[tuple[int, asyncpg.Pool[asyncpg.Record]]] = []

    async def lend(self, size: int) -> DirectDatabase:
        """Return a pool of this size that nobody has, or a new one."""
        found = next((each for each in self._idle if each[0] == size), None)
        if found is None:
            found = (size, (await DirectDatabase.connect(self._dsn, size=size))._pool)
            self._pools.append(found)
        else:
            self._idle.remove(found)
        return _Lent(found[1], Address.of(self._dsn), lambda: self._idle.append(found))

    def close(self) -> None:
        """Close all of them, also those that somebody still has."""
        for _, pool in self._pools:
            pool.terminate()


class _Closed:
    """What is left of a pool to a user who closed it."""

    async def fetchval(self, *_: object) -> None:
        raise asyncpg.InterfaceError("pool is closed")

    fetch = execute = acquire = fetchval

    def __getattr__(self, name: str) -> Any:
        raise asyncpg.InterfaceError(f"pool is closed: {name}")


class _Lent(DirectDatabase):
    """A database of which `close` gives back the pool."""

    def __init__(self, pool: Any, address: Address, give_back: Any) -> None:
        super().__init__(pool, address)
        self._give_back = give_back

    async def close(self) -> None:
        """As the real one: what is under way has a second, and nothing new begins."""
        pool, self._pool = self._pool, _Closed()  # type: ignore[assignment]
        if isinstance(pool, _Closed):
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                while pool.get_idle_size() < pool.get_size():
                    await asyncio.sleep(_POLL)
                for connection in _open_in(pool):
                    await connection.execute(FORGET)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()
        else:
            self._give_back()


def _open_in(pool: Any) -> "list[asyncpg.Connection[asyncpg.Record]]":
    return [each._con for each in pool._holders if each._con is not None]


@contextmanager
def lent_to_this_loop(dsn: str, lending: Lending) -> Iterator[None]:
    """Let who connects to `dsn` in this loop get one of the pools."""
    loop, connect = asyncio.get_running_loop(), DirectDatabase.connect.__func__  # type: ignore[attr-defined]

    async def lent(cls: Any, asked: str, *, size: int = 10) -> DirectDatabase:
        if cls is DirectDatabase and asked == dsn and asyncio.get_running_loop() is loop:
            return await lending.lend(size)
        made: DirectDatabase = await connect(cls, asked, size=size)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectDatabase, "connect", classmethod(lent))
        yield
