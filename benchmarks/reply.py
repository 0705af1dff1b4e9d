"""The time that the router adds to a reply: `python -m benchmarks.reply`.

Customers write and wait: a webhook goes in, sendText comes out. There are no intended waits (no
debounce, no typing), and the LLM and Evolution answer at once, so the whole time is that of the
router, the database and the network. First one customer writes at a time, then `--at-once`
customers, who write again as soon as they are answered; with one, two and three routers.

The yardstick is a commit in the same run: one row of 200 bytes, written by one client of pgbench.
`x_commit` is p50 divided by the time of such a commit; compare this between machines. `calls` is
the number of transactions per turn, counted from the start of the routers to their end.
`router_ms`, `pg_ms` and `load_ms` are CPU times per turn; all of them share this machine's cores.
If a message gets no reply, or two, the benchmark exits with 1.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs import Spent, commit_ms, memory, psql, spent
from benchmarks.customers import Customers, routers
from benchmarks.instant import Outside
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

_INSTANCE = "bench"
_CONTACTS = 20  # contacts of each customer who writes
_WARM_UP = 3  # messages of each customer before the measurement
_HEAD = (
    *("routers", "at_once", "messages", "answered", "p50_ms", "p99_ms", "x_commit"),
    *("turns/s", "calls", "router_ms", "pg_ms", "load_ms", "RSS_MB"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """The results for a number of routers and customers; times in seconds."""

    routers: int
    at_once: int
    messages: int
    waited: list[float]
    seconds: float
    calls: float
    cost: Spent
    load: float
    memory: float

    def cells(self, commit: float) -> tuple[str, ...]:
        """Return the cells to print."""
        turns = len(self.waited)
        p50, p99 = (1000 * self.waited[int(turns * share)] for share in (0.5, 0.99))
        return (
            *(f"{self.routers}", f"{self.at_once}", f"{self.messages}", f"{turns}"),
            *(f"{p50:.1f}", f"{p99:.1f}", f"{p50 / commit:.1f}", f"{turns / self.seconds:.0f}"),
            f"{self.calls:.1f}",
            *(f"{1000 * spent / turns:.2f}" for spent in (self.cost.routers, self.cost.postgres)),
            *(f"{1000 * self.load / turns:.2f}", f"{self.memory:.0f}"),
        )


def main() -> None:
    """Measure and print. Exits with a message and 1 if a message got no reply, or two."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reply", description=__doc__)
    parser.add_argument("--messages", type=int, default=3000, help="of each row (3000)")
    parser.add_argument(
        "--alone", type=int, default=500, help="of a row with one customer at a time (500)"
    )
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 20], help="(1 20)")
    parser.add_argument("--routers", type=int, nargs="+", default=[1, 2, 3], help="(1 2 3)")
    parser.add_argument("--seconds", type=int, default=5, help="of pgbench, twice (5)")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        before = commit_ms(postgres, given.seconds)
        rows = asyncio.run(_measure(postgres, given))
        commit = (before + commit_ms(postgres, given.seconds)) / 2
    print("".join(f"{cell:>10}" for cell in _HEAD))
    for row in rows:
        print("".join(f"{cell:>10}" for cell in row.cells(commit)))
    print(f"\nA commit by pgbench takes {commit:.2f} ms ({before:.2f} before the rows).")
    if lost := sum(row.messages - len(row.waited) for row in rows):
        raise SystemExit(f"{lost} messages were not answered")


async def _measure(postgres: EmbeddedPostgres, given: argparse.Namespace) -> list[Row]:
    async with Outside() as outside:
        psql(
            postgres,
            "insert into tenants (instance_name, evo_server_url, evo_api_key, debounce_seconds)"
            f" values ('{_INSTANCE}', '{outside.evolution.url}', 'key', 0)",
        )
        asked: Counter[str] = Counter()
        rows = [
            await _row(postgres, outside, number, at_once, given, asked)
            for number in given.routers
            for at_once in given.at_once
        ]
    if doubled := sum((Counter({p: len(t) for p, t in outside.replied.items()}) - asked).values()):
        raise SystemExit(f"{doubled} replies more than messages")
    return rows


async def _row(
    postgres: EmbeddedPostgres,
    outside: Outside,
    number: int,
    at_once: int,
    given: argparse.Namespace,
    asked: Counter[str],
) -> Row:
    messages = given.alone if at_once == 1 else given.messages
    replies, calls = outside.replies, spent((), postgres, "postgres").transactions
    async with routers(number, postgres.dsn, outside) as running:
        doors = [Customers(url, outside) for url, _ in running]
        pids = [pid for _, pid in running]
        await _ask_all(doors, _WARM_UP * max(at_once, 10 * number), max(at_once, 20), asked)
        began, load = time.perf_counter(), time.process_time()
        before = spent(pids, postgres, "postgres")
        waited = await _ask_all(doors, messages, at_once, asked)
        cost = spent(pids, postgres, "postgres").since(before)
        seconds, load = time.perf_counter() - began, time.process_time() - load
        most = max(map(memory, pids))
        for door in doors:
            await door.close()
    calls = spent((), postgres, "postgres").transactions - calls
    answered = sorted(each for each in waited if each is not None)
    per_turn = calls / max(1, outside.replies - replies)
    return Row(number, at_once, messages, answered, seconds, per_turn, cost, load, most)


async def _ask_all(
    doors: list[Customers], messages: int, at_once: int, asked: Counter[str]
) -> list[float | None]:
    """Let some customers at once write a number of messages, to one router after the other."""
    numbers = iter(range(messages))
    waited: list[float | None] = []

    async def one_after_the_other(writer: int) -> None:
        for number in numbers:
            phone = f"55119{writer:04}{number % _CONTACTS:04}"
            asked[phone] += 1
            waited.append(await doors[number % len(doors)].ask(_INSTANCE, phone))

    await asyncio.gather(*map(one_after_the_other, range(at_once)))
    return waited


if __name__ == "__main__":
    main()
