"""Webhooks a second, durable, over HTTP: `make bench`, or `python -m benchmarks.ingest`.

In one run, on the same machine and the same kind of PostgreSQL (fsync on):

- `bare`: a FastAPI endpoint that only parses the same JSON;
- `pgbench`: the SQL function alone, one event a call, called by pgbench over its connections;
- `router`: HybridFlow's webhook, each answered once its message is committed.

Printed are the ratios; the absolute figures are this machine's.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from benchmarks.http_load import Load
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

SECRET = "benchmark-secret-0000000000"
_CALL = """\\set contact random(1, 500)
\\set id random(1, 2000000000)
select public.ingest_events(jsonb_build_object('policy', '{}'::jsonb, 'events', jsonb_build_array(
  jsonb_build_object('instance', 'bench', 'event', 'messages.upsert', 'type', 'message',
    'key', 'messages.upsert:0:' || :id, 'origin', 'upsert', 'wa_id', 'AC' || :id, 'from_me', false,
    'chat', 'contact', 'jids', jsonb_build_array('55119' || :contact || '@s.whatsapp.net'),
    'kind', 'text', 'text', 'oi, qual o preço?', 'expects_reply', true, 'sent_at', now(),
    'author_name', 'Maria', 'status', 'DELIVERY_ACK'))));
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="of each pgbench run")
    parser.add_argument("--requests", type=int, default=6000, help="of each load at 20 and 100")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        _psql(
            postgres,
            "insert into tenants (instance_name, evo_server_url, debounce_seconds)"
            " values ('bench', 'http://127.0.0.1:1', 600)",
        )
        bare = stack.enter_context(serving("benchmarks.bare:app", {}, free_port()))
        router = stack.enter_context(
            serving("router.main:app", _configuration(postgres), free_port())
        )
        rows = [
            _measure(bare, router, postgres, connections, given) for connections in (1, 20, 100)
        ]
    _report(rows)


def _measure(
    bare: str, router: str, postgres: EmbeddedPostgres, connections: int, given: argparse.Namespace
) -> tuple[Load, Load, float]:
    total = given.requests if connections > 1 else given.requests // 6
    _load(bare, connections, total // 10)
    _load(router, connections, total // 10)
    return (
        _load(bare, connections, total),
        _load(router, connections, total),
        _pgbench(postgres, connections, given.seconds),
    )


def _load(url: str, connections: int, total: int) -> Load:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.http_load", f"{url}/webhook/bench"),
            *(
                "--header",
                f"X-Webhook-Secret: {SECRET}",
                "--connections",
                str(connections),
                "--total",
                str(total),
            ),
        ],
        check=True,
        capture_output=True,
    )
    load = Load(**json.loads(done.stdout))
    if load.failed:
        raise SystemExit(f"{load.failed} of {load.requests} webhooks were not taken by {url}")
    return load


def _pgbench(postgres: EmbeddedPostgres, connections: int, seconds: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_CALL)
        script.flush()
        done = subprocess.run(
            [
                *(str(postgres.bin_folder / "pgbench"), "-n", "-f", script.name),
                *("-c", str(min(connections, 80)), "-j", "2", "-T", str(seconds), postgres.dsn),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if found is None:
        raise SystemExit(done.stdout)
    return float(found[1])


def _psql(postgres: EmbeddedPostgres, statement: str) -> None:
    psql = str(postgres.bin_folder / "psql")
    subprocess.run([psql, postgres.dsn, "-q", "-c", statement], check=True)


def _configuration(postgres: EmbeddedPostgres) -> dict[str, str]:
    return {
        "DATABASE_URL": postgres.dsn,
        "EVOLUTION_WEBHOOK_SHARED_SECRET": SECRET,
        "ANTHROPIC_API_KEY": "sk-ant-not-used-here",
    }


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(app: str, configuration: Mapping[str, str], port: int) -> Iterator[str]:
    """Serve an app as a process of its own; give its URL."""
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1"),
                *("--port", str(port), "--no-access-log", "--log-level", "warning"),
            ],
            env={**os.environ, **configuration},
            stdout=log,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/openapi.json", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    while server.poll() is None:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("a server did not start")


def _report(rows: list[tuple[Load, Load, float]]) -> None:
    head = ("connections", "bare/s", "router/s", "pgbench/s", "router/bare", "router/pgbench")
    print(("{:>14}" * len(head)).format(*head))
    for bare, router, pgbench in rows:
        print(
            f"{bare.connections:>14}{bare.per_second:>14.0f}{router.per_second:>14.0f}"
            f"{pgbench:>14.0f}{router.per_second / bare.per_second:>14.2f}"
            f"{router.per_second / pgbench:>14.2f}"
        )
    _, lone, commits = rows[0]
    commit = 1000 / commits
    print(f"\nOne connection: p50 {lone.p50:.2f} ms, p99 {lone.p99:.2f} ms;")
    print(f"a commit by pgbench takes {commit:.2f} ms; p99 is {lone.p99 / commit:.1f} times that.")


if __name__ == "__main__":
    main()
