"""Does a claim get dearer as tenants and backlog grow? `python -m benchmarks.growth`.

For each number of tenants and of turns that are due, with statistics that know the turns (fresh)
and with those of an empty database (stale), a worker of 20 places claims and finishes turns, round
after round. Printed are the median and the slowest claim, and within how many claims a tenant with
one turn, which fell due last, was served. The absolute times are this machine's; the ratio of each
row to the first one is what to look at.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

_PLACES = 20
_BATCH = 20_000
_TENANTS = """
    insert into tenants (instance_name, evo_server_url)
    select 'shop' || n, 'https://evolution.example' from generate_series(1, $1::integer) as n
"""
# The last tenant has one turn, the newest; the others share the rest.
_SESSIONS = """
    insert into sessions (id, tenant_id, phone_jid) overriding system value
    select n, case when n = $3::bigint then $4::bigint else 1 + n % greatest($4::bigint - 1, 1) end,
        (5511000000000 + n) || '@s.whatsapp.net'
    from generate_series($1::bigint, $2::bigint) as n
"""
_TURNS = """
    insert into turns (id, tenant_id, session_id, run_after, debounce_until)
    overriding system value
    select id, tenant_id, id, t.due, t.due from sessions
    cross join lateral (select now() - interval '1 ms' * (1 + $3::bigint - id)) as t (due)
    where id between $1 and $2
"""
_MESSAGES = """
    insert into messages (tenant_id, session_id, turn_id, wa_id, from_me, sender, body, sent_at)
    select tenant_id, id, id, 'AC' || id, false, 'contact', 'oi', now()
    from sessions where id between $1 and $2
"""


@dataclass(frozen=True, slots=True)
class Size:
    """What is measured: so many tenants, so many due turns, and what the planner knows of them."""

    tenants: int
    pending: int
    statistics: str


@dataclass(frozen=True, slots=True)
class Row:
    """What came of it; times in milliseconds. `quiet_in`: the claim that served the quiet one."""

    size: Size
    median: float
    slowest: float
    quiet_in: int | None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--tenants", type=int, nargs="+", default=[10, 1_000, 20_000])
    parser.add_argument("--pending", type=int, nargs="+", default=[1_000, 20_000, 100_000])
    parser.add_argument("--claims", type=int, default=60, help="of each size (60)")
    given = parser.parse_args()
    sizes = [
        Size(tenants, pending, known)
        for known in ("fresh", "stale")
        for tenants in given.tenants
        for pending in given.pending
        if pending >= tenants
    ]
    with tempfile.TemporaryDirectory(prefix="hybridflow-bench-") as name:
        Path(name).chmod(0o755)
        settings = {"max_wal_size": "8GB", "autovacuum": "off"}
        with EmbeddedPostgres(Path(name) / "postgres", settings=settings) as postgres:
            rows = [
                asyncio.run(_measure(postgres.dsn, number, size, given.claims))
                for number, size in enumerate(sizes)
            ]
    _report(rows)


async def _measure(dsn: str, number: int, size: Size, claims: int) -> Row:
    url = await _make(dsn, f"growth{number}")
    connection = await asyncpg.connect(url)
    try:
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )
        await _fill(connection, size)
        return await _claim(connection, size, claims)
    finally:
        await connection.close()
        await _drop(dsn, f"growth{number}")


async def _make(dsn: str, database: str) -> str:
    desk = await asyncpg.connect(dsn)
    await desk.execute(f"create database {database}")
    await desk.close()
    url = dsn.replace("/postgres?", f"/{database}?")
    await migrate(url)
    return url


async def _drop(dsn: str, database: str) -> None:
    desk = await asyncpg.connect(dsn)
    await desk.execute(f"drop database {database}")
    await desk.close()


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]", size: Size) -> None:
    if size.statistics == "stale":
        await connection.execute("analyze")  # of an empty database
    # No trigger and no check of a foreign key: the rows are right, and there are many.
    await connection.execute("set session_replication_role = replica")
    await connection.execute("set synchronous_commit = off")
    await connection.execute(_TENANTS, size.tenants)
    for first in range(1, size.pending + 1, _BATCH):
        last = min(first + _BATCH - 1, size.pending)
        await connection.execute(_SESSIONS, first, last, size.pending, size.tenants)
        await connection.execute(_TURNS, first, last, size.pending)
        await connection.execute(_MESSAGES, first, last)
    await connection.execute("reset session_replication_role")
    if size.statistics == "fresh":
        await connection.execute("vacuum (analyze)")


async def _claim(connection: "asyncpg.Connection[asyncpg.Record]", size: Size, claims: int) -> Row:
    taken: list[float] = []
    quiet_in, after = None, 0
    for number in range(1, claims + 1):
        argument = {
            "limit": _PLACES,
            "lease_seconds": 60,
            "max_attempts": 5,
            "history_limit": 20,
            "worker": "growth",
            "after_tenant": after,
            "own": {},
            "own_times": 3,
        }
        start = time.perf_counter()
        answer: dict[str, Any] = await connection.fetchval("select claim_turns($1)", argument)
        taken.append((time.perf_counter() - start) * 1000)
        after = answer["after_tenant"]
        served = {turn["tenant"]["tenant_id"] for turn in answer["turns"]}
        if quiet_in is None and size.tenants in served:
            quiet_in = number
        await connection.execute("update turns set state = 'sent' where held")
    return Row(size, statistics.median(taken), max(taken), quiet_in)


def _report(rows: list[Row]) -> None:
    first = rows[0].median
    print(f"{'tenants':>8}{'due turns':>11}{'statistics':>12}{'p50 ms':>9}{'max ms':>9}", end="")
    print(f"{'to first':>10}{'quiet one in claim':>20}")
    for row in rows:
        size = row.size
        print(f"{size.tenants:8}{size.pending:11}{size.statistics:>12}", end="")
        print(f"{row.median:9.1f}{row.slowest:9.1f}{row.median / first:10.2f}", end="")
        print(f"{row.quiet_in if row.quiet_in is not None else 'none':>20}")


if __name__ == "__main__":
    main()
