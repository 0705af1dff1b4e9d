"""Resolves host names with the system, so that a slow name server does not delay other names.

The system's call blocks a thread and cannot be cancelled. So each call has its own thread, which
does not keep the program from ending. While a name is being resolved, there is no second call for
it, so a name whose server never answers holds only one thread.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

Resolve = Callable[[str, int], Awaitable[list[str]]]
_MOST_THREADS = 256
_threads = threading.BoundedSemaphore(_MOST_THREADS)


async def ask_system(host: str, port: int) -> list[str]:
    """Return the addresses of a host in the system's order of preference. Raises OSError."""
    if _is_address(host):
        return [host]
    if not _threads.acquire(blocking=False):
        raise OSError(f"{_MOST_THREADS} names are being asked for, and none is answered")
    loop = asyncio.get_running_loop()
    told: asyncio.Future[list[str]] = loop.create_future()

    def tell(addresses: list[str], error: Exception | None) -> None:
        if told.done():
            return
        if error is None:
            told.set_result(addresses)
        else:
            told.set_exception(error)

    def ask() -> None:
        addresses: list[str] = []
        failed: Exception | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
        except (OSError, ValueError, OverflowError) as error:
            failed = error
        finally:
            _threads.release()
        with suppress(RuntimeError):  # the program has ended meanwhile
            loop.call_soon_threadsafe(tell, addresses, failed)

    try:
        threading.Thread(target=ask, name="asking for a name", daemon=True).start()
    except (RuntimeError, MemoryError) as error:
        _threads.release()
        raise OSError(f"{host} cannot be asked for: {error}") from error
    return await told


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class OneAtATime:
    """Resolves each name once at a time; other callers of the name wait for the same answer."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._asking: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of the host. Raises what the look-up raises."""
        name = host, port
        if (asking := self._asking.get(name)) is None:
            asking = self._asking[name] = asyncio.ensure_future(self._resolve(host, port))
            asking.add_done_callback(lambda asked: self._ended(name, asked))
        return await asyncio.shield(asking)

    def _ended(self, name: tuple[str, int], asked: "asyncio.Future[list[str]]") -> None:
        del self._asking[name]
        if not asked.cancelled():
            asked.exception()  # marks it as retrieved: the caller may be gone


class Resolver(AbstractResolver):
    """Gives aiohttp the addresses of a host, found by the given function."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses in their order. Raises what the look-up raises, and OSError."""
        del family
        try:
            addresses = await self._resolve(host, port)
        except (ValueError, OverflowError) as error:
            raise OSError(f"it cannot be resolved: {error}") from error
        if not addresses:
            raise OSError("it has no address")
        return [_resolved(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Close nothing."""


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    is_new = ":" in address
    return {
        "hostname": host,
        "host": address,
        "port": port,
        "family": socket.AF_INET6 if is_new else socket.AF_INET,
        "proto": 0,
        "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    }
