"""Durable webhooks per second over HTTP: `make bench`, or `python -m benchmarks.ingest`.

One run compares these, on one machine and one PostgreSQL (fsync on), with the same connections:

- `bare`: a FastAPI endpoint that only parses the same JSON;
- `pgbench`: only the SQL function of 0.1.0, one event per call, called by pgbench (a yardstick that
  does not change with our code);
- `router`: HybridFlow's webhook, which answers when the message is committed;
- `two routers`: two routers on one database, each with half of the load;
- `PostgREST`: one router that uses a real PostgREST, if it is installed.

The output has the ratios, and the CPU per event of the routers and of PostgreSQL. Absolute figures
depend on the machine.
"""

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs import psql, spent
from benchmarks.http_load import Load
from benchmarks.rest import project, real_postgrest
from benchmarks.serving import PLAIN, UNLIMITED, load, serving, serving_process
from router.embedded.ports import free_port
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

SECRET = "benchmark-secret-0000000000"
_CALL = """\\set contact random(1, 500)
\\set id random(1, 9000000000000000000)
select public.ingest_events(jsonb_build_object(
  'policy', '{"debounce_cap_seconds": 600}'::jsonb, 'events', jsonb_build_array(
  jsonb_build_object('instance', 'bench', 'event', 'messages.upsert', 'type', 'message',
    'key', 'messages.upsert:0:' || :id, 'origin', 'upsert', 'wa_id', 'AC' || :id, 'from_me', false,
    'chat', 'contact', 'jids', jsonb_build_array('55119' || :contact || '@s.whatsapp.net'),
    'kind', 'text', 'text', 'oi, qual o preço?', 'expects_reply', true, 'sent_at', now(),
    'author_name', 'Maria', 'status', 'DELIVERY_ACK'))));
"""


_OLD_MIGRATIONS = Path(__file__).resolve().parents[1] / "tests/fixtures/release_0_1_0/migrations"
_TENANT = (
    "insert into tenants (instance_name, evo_server_url, debounce_seconds)"
    " values ('bench', 'http://127.0.0.1:1', 600)"
)
_OLD = "as_of_0_1_0"


@dataclass(frozen=True, slots=True)
class Way:
    """Routers, by their URLs and processes; all use the database `name`."""

    title: str
    routers: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of one way: messages per second, and CPU microseconds per event."""

    title: str
    sent: int
    recorded: int
    per_second: float
    router_us: float
    postgres_us: float
    loads: Sequence[Load]


@dataclass(frozen=True, slots=True)
class Row:
    """The results for one number of connections: the two yardsticks, and each way."""

    connections: int
    bare: float
    pgbench: float
    ways: Sequence[Measured]


def main() -> None:
    """Measure and print. Exits with a message and 1 if anything was refused or lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="of each pgbench run (6)")
    parser.add_argument("--requests", type=int, default=6000, help="of each load (6000)")
    parser.add_argument(
        "--connections",
        type=int,
        nargs="+",
        default=[1, 20, 100],
        metavar="N",
        help="connections at once, a row for each; 1 gets a sixth of the requests (1 20 100)",
    )
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres", listen_tcp=True))
        asyncio.run(migrate(postgres.dsn))
        psql(postgres, _TENANT)
        _make_old(postgres)
        # Before the routers start: this makes the schema again, and must not wait for their locks.
        over = None
        if (program := real_postgrest()) is not None:
            over = stack.enter_context(project(program, postgres))
        bare = stack.enter_context(serving((*PLAIN, "benchmarks.bare:app"), {}, free_port()))
        ways = [
            Way("router", stack.enter_context(_routers(1, configuration(postgres)))),
            Way("two routers", stack.enter_context(_routers(2, configuration(postgres)))),
        ]
        if over is not None:
            ways.append(
                Way("PostgREST", stack.enter_context(_routers(1, configuration(postgres) | over)))
            )
        else:
            sys.stderr.write("No real PostgREST was found, so it is left out.\n")
        rows = [_measure(bare, ways, postgres, number, given) for number in given.connections]
        answered = int(psql(postgres, "select count(*) from turns where attempt > 0"))
    if answered:
        raise SystemExit(f"{answered} turns were claimed meanwhile, so the results are invalid")
    _report(rows)


@contextmanager
def _routers(number: int, wanted: dict[str, str]) -> Iterator[list[tuple[str, int]]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(serving_process(("router.serving",), wanted, free_port()))
            for _ in range(number)
        ]


def _make_old(postgres: EmbeddedPostgres) -> None:
    """Create a second database with the SQL of 0.1.0, made by its migrations."""
    psql(postgres, f"create database {_OLD}")
    for file in sorted(_OLD_MIGRATIONS.glob("*.sql")):
        psql(postgres, file.read_text(), _OLD)
    psql(postgres, _TENANT, _OLD)


def _measure(
    bare: str,
    ways: Sequence[Way],
    postgres: EmbeddedPostgres,
    connections: int,
    given: argparse.Namespace,
) -> Row:
    total = given.requests if connections > 1 else max(1, given.requests // 6)
    _load(bare, connections, max(1, total // 10))  # to warm up
    to_bare = _load(bare, connections, total)
    measured = [_measure_way(way, postgres, connections, total) for way in ways]
    return Row(
        connections, to_bare.per_second, _pgbench(postgres, connections, given.seconds), measured
    )


def _measure_way(way: Way, postgres: EmbeddedPostgres, connections: int, total: int) -> Measured:
    _loads(way, connections, max(len(way.routers), total // 10))  # to warm up
    before, pids = _messages(postgres, "postgres"), [pid for _, pid in way.routers]
    began = spent(pids, postgres, "postgres")
    loads = _loads(way, connections, total)
    cost = spent(pids, postgres, "postgres").since(began)
    sent = sum(each.requests for each in loads)
    recorded = _messages(postgres, "postgres") - before
    _require(way.title, sent, recorded)
    return Measured(
        way.title,
        sent,
        recorded,
        sum(each.per_second for each in loads),
        1e6 * cost.routers / sent,
        1e6 * cost.postgres / sent,
        loads,
    )


def _loads(way: Way, connections: int, total: int) -> list[Load]:
    """Send each router its part of the load, at the same time."""
    number = len(way.routers)
    with ThreadPoolExecutor(number) as threads:
        asked = [
            threads.submit(_load, url, max(1, connections // number), max(1, total // number))
            for url, _ in way.routers
        ]
        return [each.result() for each in asked]


def _load(url: str, connections: int, total: int) -> Load:
    header = f"X-Webhook-Secret: {SECRET}"
    return load(f"{url}/webhook/bench", header, connections=connections, total=total)


def _require(who: str, asked: int, recorded: int) -> None:
    if recorded != asked:
        raise SystemExit(f"{who} took {asked} messages, and {recorded} are in the database")


def _pgbench(postgres: EmbeddedPostgres, connections: int, seconds: int) -> float:
    before = _messages(postgres, _OLD)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_CALL)
        script.flush()
        done = subprocess.run(
            [
                *(str(postgres.bin_folder / "pgbench"), "-n", "-f", script.name),
                *("-c", str(min(connections, 50)), "-j", "2", "-T", str(seconds)),
                postgres.dsn.replace("/postgres?", f"/{_OLD}?"),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    number = re.search(r"actually processed: (\d+)", done.stdout)
    if done.returncode != 0 or rate is None or number is None:
        raise SystemExit(f"pgbench failed:\n{done.stdout}{done.stderr}")
    _require("pgbench's function", int(number[1]), _messages(postgres, _OLD) - before)
    return float(rate[1])


def _messages(postgres: EmbeddedPostgres, database: str) -> int:
    return int(psql(postgres, "select count(*) from messages", database))


def configuration(postgres: EmbeddedPostgres) -> dict[str, str]:
    """Return a router's configuration, without limits, and with which no turn becomes due."""
    return {
        **UNLIMITED,
        "DATABASE_URL": postgres.dsn,
        "EVOLUTION_WEBHOOK_SHARED_SECRET": SECRET,
        # No turn becomes due meanwhile, and if one did, nothing of it would leave this machine.
        "DEBOUNCE_CAP_SECONDS": "600",
        "ANTHROPIC_API_KEY": "sk-ant-not-used-here",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",
    }


def _report(rows: list[Row]) -> None:
    head = (
        *("connections", "way", "messages", "recorded", "per_second", "x_bare", "x_pgbench"),
        *("x_router", "router_us", "pg_us", "p50_ms", "p99_ms"),
    )
    print(_line(head))
    for row in rows:
        for title, figure in (("bare", row.bare), ("pgbench", row.pgbench)):
            print(_line((f"{row.connections}", title, "-", "-", f"{figure:.0f}", *["-"] * 7)))
        for way in row.ways:
            print(_line(_cells(row, way)))
    first = rows[0]
    commit = 1000 / first.pgbench * min(first.connections, 50)
    lone = first.ways[0].loads[0]
    print(f"\nAt {first.connections}: p50 {lone.p50:.2f} ms, p99 {lone.p99:.2f} ms;")
    print(f"a commit by pgbench takes {commit:.2f} ms; p99 is {lone.p99 / commit:.1f} times that.")


def _cells(row: Row, way: Measured) -> tuple[str, ...]:
    return (
        *(f"{row.connections}", way.title.replace(" ", "-"), f"{way.sent}", f"{way.recorded}"),
        *(f"{way.per_second:.0f}", f"{way.per_second / row.bare:.2f}"),
        f"{way.per_second / row.pgbench:.2f}",
        f"{way.per_second / row.ways[0].per_second:.2f}",
        *(f"{way.router_us:.0f}", f"{way.postgres_us:.0f}"),
        f"{max(each.p50 for each in way.loads):.2f}",
        f"{max(each.p99 for each in way.loads):.2f}",
    )


def _line(cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:>13}" for cell in cells)


if __name__ == "__main__":
    main()
