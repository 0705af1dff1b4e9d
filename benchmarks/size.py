"""Does a call get slower as the tables grow? `python -m benchmarks.size`.

In one run, on the same machine and the same kind of PostgreSQL, the busy paths of
`benchmarks.hot_paths` are walked on a small and on a large database, each filled by
`benchmarks.filling`. The output has, for each path, the median time on the large database divided
by that on the small one. Absolute figures depend on the machine. The full size (1 million sessions,
10 million messages) needs about 15 GB and half an hour, mostly for filling.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import asyncpg

from benchmarks.filling import fill
from benchmarks.hot_paths import Json, Walk
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

_WARM_UP = 5
_CONTACTS_A_WALK = 3

Times = dict[str, list[float]]


def main() -> None:
    """Measure and print. Exits with a message and 1 if a database was not filled correctly."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size", description=__doc__)
    parser.add_argument(
        "--sessions", type=int, default=1_000_000, help="of the large database (1000000)"
    )
    parser.add_argument(
        "--messages", type=int, default=10_000_000, help="of the large database (10000000)"
    )
    parser.add_argument(
        "--small", type=int, default=1_000, metavar="SESSIONS", help="of the small one (1000)"
    )
    parser.add_argument(
        "--walks", type=int, default=40, help="walks over all paths, on each database (40)"
    )
    parser.add_argument("--folder", type=Path, help="a folder with space for the large database")
    given = parser.parse_args()
    if min(given.small, given.sessions) < (least := _least_sessions(given.walks)):
        parser.error(f"{given.walks} walks need databases of {least} sessions or more")
    each = max(1, given.messages // given.sessions)
    with tempfile.TemporaryDirectory(prefix="hybridflow-bench-", dir=given.folder) as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "postgres"
        with EmbeddedPostgres(folder, settings={"max_wal_size": "8GB"}) as postgres:
            small = asyncio.run(_measure(postgres.dsn, "small", given.small, each, given.walks))
            large = asyncio.run(_measure(postgres.dsn, "large", given.sessions, each, given.walks))
    large_size = f"{given.sessions:,} sessions and {given.sessions * each:,} messages"
    _report(small, large, large_size, f"{given.small:,}")


def _least_sessions(walks: int) -> int:
    """Return how many sessions are needed for every walk to have contacts of its own."""
    # They are in the upper half: every second session, except each tenth of these.
    return -(-(walks + _WARM_UP) * _CONTACTS_A_WALK * 40 // 9)


async def _measure(dsn: str, database: str, sessions: int, each: int, walks: int) -> Times:
    desk = await asyncpg.connect(dsn)
    await desk.execute(f"create database {database}")
    await desk.close()
    url = dsn.replace("/postgres?", f"/{database}?")
    await migrate(url)
    began = time.perf_counter()
    await fill(url, sessions=sessions, messages_each=each)
    await _check(url, sessions, sessions * each)
    print(f"{sessions:,} sessions filled in {time.perf_counter() - began:.0f} s", flush=True)
    connection = await asyncpg.connect(url)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )
    times: Times = defaultdict(list)

    async def call(path: str, function: str, argument: Json) -> Json:
        start = time.perf_counter()
        answer: Json = await connection.fetchval(f"select public.{function}($1)", argument)
        times[path].append(time.perf_counter() - start)
        return answer

    walk = Walk(call, sessions)
    for number in range(walks + _WARM_UP):
        if number == _WARM_UP:
            times.clear()
        await walk.all_paths()
    await connection.close()
    return times


async def _check(url: str, sessions: int, messages: int) -> None:
    connection = await asyncpg.connect(url)
    for table, wanted in (("sessions", sessions), ("messages", messages)):
        there = await connection.fetchval(f"select count(*) from {table}")
        if there != wanted:
            raise SystemExit(f"there are {there} {table} in the database, not {wanted}")
    await connection.close()


def _report(small: Times, large: Times, size: str, small_size: str) -> None:
    print(f"\nOn {size}, the median time of a call, over that on {small_size} sessions:")
    print(f"  {'':5}  {'calls':>6}  {'ms':>7}  path")
    for path, taken in large.items():
        on_large, on_small = statistics.median(taken), statistics.median(small[path])
        print(f"  {on_large / on_small:5.1f}  {len(taken):6}  {on_large * 1000:7.1f}  {path}")
    uneven = [path for path in large if len(large[path]) != len(small[path])]
    if uneven or large.keys() != small.keys():
        raise SystemExit(f"the walks differ on: {', '.join(uneven) or 'a path is missing'}")


if __name__ == "__main__":
    main()
