"""Runs the measured servers, and the load on them, as separate processes.

A benchmark measures the server's work, so no limit of the router may refuse or slow down the load,
and this machine's configuration must have no effect. If a request is refused or lost all the same,
the benchmark ends: a figure without it would be wrong.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

from benchmarks.http_load import Load
from loopback.routers import Running

ROOT = Path(__file__).resolve().parents[1]
_NO_LIMIT = "100000"
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME")

PLAIN = ("uvicorn", "--no-access-log", "--log-level", "warning")
"""Plain uvicorn; the name of an application follows."""

UNLIMITED = {
    "TENANT_WEBHOOKS_PER_MINUTE": "1000000",
    "CONTACT_MESSAGES_PER_MINUTE": "1000000",
    "API_CALLS_PER_MINUTE": "1000000",
    "FLOW_CALLS_PER_MINUTE": "1000000",
    "ADDRESS_CALLS_PER_MINUTE": "1000000",
    "MAX_CONNECTIONS": _NO_LIMIT,
    "MAX_CONNECTIONS_PER_ADDRESS": _NO_LIMIT,
    "MAX_WAITING_WEBHOOKS": _NO_LIMIT,
    "MAX_CONCURRENT_REQUESTS": _NO_LIMIT,
    "TENANT_SHARE": "1",
    "LOOP_REPLIES": "0",
}
"""The router's configuration without any limit that one tenant's load could reach."""


def environment(configuration: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a process needs, and this configuration; no others."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **configuration}


@contextmanager
def serving(way: Sequence[str], configuration: Mapping[str, str], port: int) -> Iterator[str]:
    """Run a server, a module with its options, as a process of its own; yield its URL."""
    with serving_process(way, configuration, port) as (url, _):
        yield url


@contextmanager
def serving_process(
    way: Sequence[str], configuration: Mapping[str, str], port: int
) -> Iterator[tuple[str, int]]:
    """Run a server as a process of its own; yield its URL and its process id."""
    with tempfile.TemporaryDirectory() as elsewhere, tempfile.TemporaryFile() as log:
        # In a folder without a .env.
        served = (*way, "--host", "127.0.0.1", "--port", str(port))
        server = begin(served, Path(elsewhere), environment(configuration), log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/live", server)
            yield f"http://127.0.0.1:{port}", server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def begin(
    way: Sequence[str], folder: Path, environment: Mapping[str, str], log: IO[bytes]
) -> Running:
    """Begin to run a module with its options as a process of its own."""
    command = [sys.executable, "-m", *way]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log)


def _wait_for(url: str, server: Running) -> None:
    with httpx.Client(trust_env=False) as client:  # one client: each loads the TLS certificates
        while server.poll() is None:
            try:
                client.get(url)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
    raise SystemExit("a server did not start")


def load(
    url: str, header: str, *, connections: int, total: int, contacts: int = 500, first: int = 0
) -> Load:
    """Send `total` webhooks from a process of its own, and return the result.

    Raises SystemExit, with the other answers, unless every webhook got 200.
    """
    result = try_load(
        url, header, connections=connections, total=total, contacts=contacts, first=first
    )
    if result.taken != total:
        raise SystemExit(f"{total - result.taken} of {total} webhooks {result.told()} by {url}")
    return result


def try_load(
    url: str, header: str, *, connections: int, total: int, contacts: int = 500, first: int = 0
) -> Load:
    """Like `load`, from number `first` on, but webhooks may be refused."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.http_load", url, "--header", header),
            *("--connections", str(connections), "--total", str(total)),
            *("--contacts", str(contacts), "--first", str(first)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"the load on {url} ended with {done.returncode}")
    return Load(**json.loads(done.stdout))
