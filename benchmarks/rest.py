"""A real PostgREST between a router and its database, while a benchmark needs it.

Run as a process of its own (`python -m benchmarks.rest LISTEN TO`), this is a minimal gateway: it
removes `/rest/v1` from the paths of requests, like the gateway of a Supabase project, and passes
everything else on.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit, urlunsplit

import httpx
import uvloop

from benchmarks.costs import psql
from loopback.supabase.callers import make_jwt
from router.embedded.ports import free_port
from router.embedded.postgres import EmbeddedPostgres
from tests.real_postgrest import find_program
from tests.supabase import ROLES

_PREFIX = b"/rest/v1/"
_DEADLINE = 60.0
_PIECE = 65_536


def real_postgrest() -> Path | None:
    """Return the PostgREST on this machine, if there is one."""
    return find_program()


@contextmanager
def project(program: Path, postgres: EmbeddedPostgres) -> Iterator[dict[str, str]]:
    """Serve the database over PostgREST; yield the router's variables for it."""
    psql(postgres, ROLES)
    psql(postgres, (Path(__file__).resolve().parents[1] / "database/schema.sql").read_text())
    secret, port, gateway = token_hex(32), free_port(), free_port()
    environment = {
        "PGRST_DB_URI": _as_authenticator(postgres.dsn),
        "PGRST_DB_SCHEMAS": "public",
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_DB_POOL": "10",
        "PGRST_JWT_SECRET": secret,
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
        "PGRST_LOG_LEVEL": "crit",
    }
    command = [sys.executable, "-m", "benchmarks.rest", str(gateway), str(port)]
    with (
        subprocess.Popen(
            [program],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as rest,
        subprocess.Popen(command) as before,
    ):
        try:
            url = f"http://127.0.0.1:{gateway}"
            _wait_for(url)
            yield {
                "DATABASE_URL": "",
                "SUPABASE_URL": url,
                "SUPABASE_SERVICE_ROLE_KEY": make_jwt(secret, "service_role", None),
            }
        finally:
            before.terminate()
            rest.terminate()


def _wait_for(url: str) -> None:
    """Wait until the schema is read, by calls of a function that does not exist."""
    until = time.monotonic() + _DEADLINE
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            answer = httpx.post(f"{url}/rest/v1/rpc/nothing_has_this_name", json={})
            if answer.status_code == 404:
                return
        time.sleep(0.05)
    raise SystemExit("PostgREST did not start")


def _as_authenticator(dsn: str) -> str:
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"authenticator:authenticator@{host}"))


async def _pass_on(inner: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward one connection: requests without the prefix, answers unchanged."""
    behind, to = await asyncio.open_connection("127.0.0.1", inner)
    back = asyncio.create_task(_carry(behind, writer))
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            to.write(head.replace(_PREFIX, b"/", 1))
            if length := _content_length(head):
                to.write(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        back.cancel()
        to.close()
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":", 1)[1])
    return 0


async def _serve(listen: int, inner: int) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: _pass_on(inner, reader, writer),
        "127.0.0.1",
        listen,
        limit=1 << 24,
    )
    for each in server.sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await server.serve_forever()


def main() -> None:
    """Run the gateway until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rest", description=__doc__)
    parser.add_argument("listen", type=int, help="its port")
    parser.add_argument("inner", type=int, help="PostgREST's")
    given = parser.parse_args()
    uvloop.run(_serve(given.listen, given.inner))


if __name__ == "__main__":
    main()
