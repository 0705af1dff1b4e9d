"""Webhooks a second, durable, over HTTP: `make bench`, or `python -m benchmarks.ingest`.

In one run, on the same machine and the same kind of PostgreSQL (fsync on):

- `bare`: a FastAPI endpoint that only parses the same JSON;
- `pgbench`: the SQL function alone, one event a call, called by pgbench over its connections;
- `router`: HybridFlow's webhook, each answered once its message is committed.

Printed are the ratios; the absolute figures are this machine's.
"""

import argparse
import asyncio
import re
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.http_load import Load
from benchmarks.serving import PLAIN, UNLIMITED, load, serving
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


@dataclass(frozen=True, slots=True)
class Row:
    """One number of connections: what the three do; `recorded` is what the router's load left."""

    bare: Load
    router: Load
    recorded: int
    pgbench: float


def main() -> None:
    """Measure and print. Ends with words and 1 where anything was refused or lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="of each pgbench run (6)")
    parser.add_argument("--requests", type=int, default=6000, help="of each load (6000)")
    parser.add_argument(
        "--connections",
        type=int,
        nargs="+",
        default=[1, 20, 100],
        metavar="N",
        help="at once, a row for each; 1 has a sixth of the requests (1 20 100)",
    )
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        sql(
            postgres,
            "insert into tenants (instance_name, evo_server_url, debounce_seconds)"
            " values ('bench', 'http://127.0.0.1:1', 600)",
        )
        bare = stack.enter_context(serving((*PLAIN, "benchmarks.bare:app"), {}, free_port()))
        router = stack.enter_context(
            serving(("router.serving",), configuration(postgres), free_port())
        )
        rows = [_measure(bare, router, postgres, number, given) for number in given.connections]
        answered = int(sql(postgres, "select count(*) from turns where attempt > 0"))
    if answered:
        raise SystemExit(f"{answered} turns were worked on meanwhile: this measured something else")
    _report(rows)


def _measure(
    bare: str, router: str, postgres: EmbeddedPostgres, connections: int, given: argparse.Namespace
) -> Row:
    total = given.requests if connections > 1 else max(1, given.requests // 6)
    for url in (bare, router):
        _load(url, connections, max(1, total // 10))  # to warm up
    to_bare = _load(bare, connections, total)
    before = _messages(postgres)
    to_router = _load(router, connections, total)
    recorded = _messages(postgres) - before
    _require("the router", total, recorded)
    return Row(to_bare, to_router, recorded, _pgbench(postgres, connections, given.seconds))


def _load(url: str, connections: int, total: int) -> Load:
    header = f"X-Webhook-Secret: {SECRET}"
    return load(f"{url}/webhook/bench", header, connections=connections, total=total)


def _require(who: str, asked: int, recorded: int) -> None:
    if recorded != asked:
        raise SystemExit(f"{who} took {asked} messages, and {recorded} are in the database")


def _pgbench(postgres: EmbeddedPostgres, connections: int, seconds: int) -> float:
    before = _messages(postgres)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_CALL)
        script.flush()
        done = subprocess.run(
            [
                *(str(postgres.bin_folder / "pgbench"), "-n", "-f", script.name),
                *("-c", str(min(connections, 80)), "-j", "2", "-T", str(seconds), postgres.dsn),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    number = re.search(r"actually processed: (\d+)", done.stdout)
    if done.returncode != 0 or rate is None or number is None:
        raise SystemExit(f"pgbench did not do its work:\n{done.stdout}{done.stderr}")
    _require("pgbench's function", int(number[1]), _messages(postgres) - before)
    return float(rate[1])


def _messages(postgres: EmbeddedPostgres) -> int:
    return int(sql(postgres, "select count(*) from messages"))


def sql(postgres: EmbeddedPostgres, statement: str) -> str:
    """Carry out a statement; what psql prints."""
    psql = str(postgres.bin_folder / "psql")
    command = [psql, postgres.dsn, "--quiet", "--no-psqlrc", "--tuples-only", "-c", statement]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def configuration(postgres: EmbeddedPostgres) -> dict[str, str]:
    """Return a router's, without limits, and so that no turn falls due."""
    return {
        **UNLIMITED,
        "DATABASE_URL": postgres.dsn,
        "EVOLUTION_WEBHOOK_SHARED_SECRET": SECRET,
        # No turn falls due meanwhile, and if one did, nothing of it would leave this machine.
        "DEBOUNCE_CAP_SECONDS": "600",
        "ANTHROPIC_API_KEY": "sk-ant-not-used-here",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1",
    }


def _report(rows: list[Row]) -> None:
    head = (
        *("connections", "messages", "taken", "recorded"),
        *("bare/s", "router/s", "pgbench/s", "router/bare", "router/pgbench"),
    )
    print(_line(head))
    for row in rows:
        print(
            _line(
                (
                    str(row.router.connections),
                    str(row.router.requests),
                    str(row.router.taken),
                    str(row.recorded),
                    f"{row.bare.per_second:.0f}",
                    f"{row.router.per_second:.0f}",
                    f"{row.pgbench:.0f}",
                    f"{row.router.per_second / row.bare.per_second:.2f}",
                    f"{row.router.per_second / row.pgbench:.2f}",
                )
            )
        )
    lone = rows[0].router
    commit = 1000 / rows[0].pgbench * min(lone.connections, 80)
    print(f"\nAt {lone.connections}: p50 {lone.p50:.2f} ms, p99 {lone.p99:.2f} ms;")
    print(f"a commit by pgbench takes {commit:.2f} ms; p99 is {lone.p99 / commit:.1f} times that.")


def _line(cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:>15}" for cell in cells)


if __name__ == "__main__":
    main()
