"""Does a call get slower as the tables grow? `python -m benchmarks.size`.

In one run, on the same machine and the same kind of PostgreSQL, the busy paths of
`benchmarks.hot_paths` are walked on a small and on a large database, each filled by
`benchmarks.filling`. Printed is, for each path, the median time on the large one over that on the
small one; the absolute figures are this machine's. The full size (1 million sessions, 10 million
messages) takes some 15 GB and, mostly for the filling, half an hour.
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

_SMALL = 1_000
_WARM_UP = 5

Times = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--walks", type=int, default=40, help="over all paths, on each")
    parser.add_argument("--folder", type=Path, help="where there is room for the large database")
    given = parser.parse_args()
    each = max(1, given.messages // given.sessions)
    with tempfile.TemporaryDirectory(prefix="hybridflow-bench-", dir=given.folder) as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "postgres"
        with EmbeddedPostgres(folder, settings={"max_wal_size": "8GB"}) as postgres:
            small = asyncio.run(_measure(postgres.dsn, "small", _SMALL, each, given.walks))
            large = asyncio.run(_measure(postgres.dsn, "large", given.sessions, each, given.walks))
    _report(small, large, f"{given.sessions:,} sessions and {given.sessions * each:,} messages")


async def _measure(dsn: str, database: str, sessions: int, each: int, walks: int) -> Times:
    desk = await asyncpg.connect(dsn)
    await desk.execute(f"create database {database}")
    await desk.close()
    url = dsn.replace("/postgres?", f"/{database}?")
    await migrate(url)
    began = time.perf_counter()
    await fill(url, sessions=sessions, messages_each=each)
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


def _report(small: Times, large: Times, size: str) -> None:
    print(f"\nOn {size}, the median time of a call, as a multiple of that on {_SMALL:,} sessions:")
    for path, taken in large.items():
        on_large, on_small = statistics.median(taken), statistics.median(small[path])
        print(f"  {on_large / on_small:5.1f}  {path}  ({on_large * 1000:.1f} ms)")


if __name__ == "__main__":
    main()
