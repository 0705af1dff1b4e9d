"""What hostile clients, tenants and servers do to a router, for `benchmarks.hostile`.

It runs as a process of its own, so that the attacker's cost can be compared with the router's:
`python -m benchmarks.attacks NAME --router URL …`. It prints the CPU seconds as JSON.
"""

import argparse
import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from urllib.parse import urlsplit

from benchmarks.http_load import webhook

HOSTILE = "hostile"
"""The instance of the attacking tenant."""
_CUSTOMERS = 200
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """The router, a valid webhook secret, and the address of the hostile tenant's server."""

    router: str
    secret: str
    port: int

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the router."""
        parts = urlsplit(self.router)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def head(self, path: str, length: int, *more: str) -> bytes:
        """Return the head of a POST of JSON."""
        lines = (
            f"POST {path} HTTP/1.1",
            f"Host: {urlsplit(self.router).netloc}",
            "Content-Type: application/json",
            f"Content-Length: {length}",
            *more,
        )
        return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


Attack = Callable[[Target], Awaitable[None]]
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def lists_without_a_key(target: Target) -> None:
    """20 MB of JSON that is only nested lists, without a key."""
    await _post_lists(target, "/n8n/x", 20_000_000)


async def lists_to_the_api(target: Target) -> None:
    """1 MB of such JSON to the API."""
    await _post_lists(target, "/api/tenants", 1_000_000)


async def lists_with_a_secret(target: Target) -> None:
    """20 MB of such JSON as a tenant's webhook."""
    header = f"X-Webhook-Secret: {target.secret}"
    await _post_lists(target, f"/webhook/{HOSTILE}", 20_000_000, header)


async def slow_bodies(target: Target) -> None:
    """200 requests whose bodies come byte by byte."""

    async def one() -> None:
        _, writer = await asyncio.open_connection(*target.address)
        writer.write(target.head("/api/tenants", 1000))
        for _ in range(1000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.5)

    await _many(200, one)


async def long_heads(target: Target) -> None:
    """A request with 40 MB of headers."""

    async def one() -> None:
        _, writer = await asyncio.open_connection(*target.address)
        writer.write(b"GET /health/live HTTP/1.1\r\n")
        for number in range(5000):
            writer.write(f"X-{number}: {'a' * 8000}\r\n".encode())
            await writer.drain()

    await _many(4, one)


async def pipelines(target: Target) -> None:
    """Many requests on one connection whose answers are never read."""

    async def one() -> None:
        _, writer = await asyncio.open_connection(*target.address)
        request = f"GET /health/live HTTP/1.1\r\nHost: {target.address[0]}\r\n\r\n".encode()
        while True:
            writer.write(request * 100)
            await writer.drain()

    await _many(4, one)


async def silent_connections(target: Target) -> None:
    """1,100 silent connections from the customers' own address."""

    async def one() -> None:
        reader, _ = await asyncio.open_connection(*target.address)
        await reader.read()

    await _many(1100, one)


async def silent_crowd(target: Target) -> None:
    """3,000 silent connections from ten other addresses."""
    addresses = cycle(f"127.0.0.{number}" for number in range(2, 12))

    async def one() -> None:
        here = (next(addresses), 0)
        reader, _ = await asyncio.open_connection(*target.address, local_addr=here)
        await reader.read()

    await _many(3000, one)


async def evolution_trickles(target: Target) -> None:
    """The tenant's Evolution answers byte by byte, for ever."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.2)

    await _as_evolution(target, answer)


async def evolution_hangs(target: Target) -> None:
    """The tenant's Evolution accepts requests and never answers."""

    async def answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    await _as_evolution(target, answer)


async def evolution_unpacks(target: Target) -> None:
    """The tenant's Evolution answers with a quarter of a megabyte that unpacks to 256 MB."""
    bomb = gzip.compress(b" " * 2**28, compresslevel=9)
    head = f"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + bomb)
        await writer.drain()

    await _as_evolution(target, answer)


async def large_batches(target: Target) -> None:
    """Webhooks of 5,000 messages each."""
    serial = 0
    while True:
        first = json.loads(webhook(serial, 5000, HOSTILE))
        first["data"] = [
            json.loads(webhook(serial + number, 5000, HOSTILE))["data"] for number in range(5000)
        ]
        serial += 5000
        await _webhook(target, json.dumps(first).encode())


async def junk_keys(target: Target) -> None:
    """50 API calls a second with keys that do not exist."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*target.address)
            writer.write(target.head("/api/tenants", 2, "X-API-Key: hfk_junk") + b"{}")
            await reader.read(1)
            writer.close()
        await asyncio.sleep(0.02)


ATTACKS: dict[str, Attack] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        *(lists_without_a_key, lists_to_the_api, lists_with_a_secret),
        *(slow_bodies, long_heads, pipelines, silent_connections, silent_crowd),
        *(evolution_trickles, evolution_hangs, evolution_unpacks),
        *(large_batches, junk_keys),
    )
}


async def _many(count: int, one: Callable[[], Awaitable[None]]) -> None:
    """Run this many at once; each one that is cut off starts again."""

    async def again() -> None:
        while True:
            with suppress(OSError):
                await one()
            await asyncio.sleep(_PAUSE)

    await asyncio.gather(*(again() for _ in range(count)))


async def _post_lists(target: Target, path: str, length: int, *header: str) -> None:
    body = b"[" + b"[]," * (length // 3) + b"[]]"

    async def one() -> None:
        reader, writer = await asyncio.open_connection(*target.address)
        writer.write(target.head(path, len(body), "Connection: close", *header) + body)
        await reader.read()
        writer.close()

    await _many(2, one)


async def _webhook(target: Target, body: bytes) -> None:
    head = target.head(
        f"/webhook/{HOSTILE}",
        len(body),
        f"X-Webhook-Secret: {target.secret}",
        "Connection: close",
    )
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(*target.address)
        writer.write(head + body)
        await reader.read()
        writer.close()


async def _as_evolution(target: Target, answer: Answer) -> None:
    """Play the hostile tenant's Evolution; its customers write one after the other."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", target.port):
        serial = 0
        while True:
            await _webhook(target, webhook(serial, _CUSTOMERS, HOSTILE))
            serial += 1
            await asyncio.sleep(_PAUSE)


async def _for(seconds: float, attack: Attack, target: Target) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await attack(target)


def main() -> None:
    """Attack for the given number of seconds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks",
        description=__doc__,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32),
    )
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--router", required=True)
    options.add_argument("--secret", required=True)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--seconds", type=float, required=True)
    attacks = parser.add_subparsers(dest="name", required=True)
    for name, attack in ATTACKS.items():
        told = attack.__doc__
        attacks.add_parser(name, help=told, description=told, parents=[options])
    given = parser.parse_args()
    target = Target(given.router, given.secret, given.port)
    asyncio.run(_for(given.seconds, ATTACKS[given.name], target))
    print(json.dumps({"cpu": round(time.process_time(), 2)}))


if __name__ == "__main__":
    main()
