"""Does the turn engine slow down with tenants, backlog and routers? `python -m benchmarks.growth`.

Three parts (`--parts`), each with a table for docs/growth.md:

- claims: a worker with 20 places claims and finishes turns, for each number of tenants and of due
  turns, with up-to-date statistics (fresh) and with those of an empty database (stale). `quiet one
  in claim` is the number of the claim that served a tenant with a single turn, which became due
  last; it must be in the first round at the latest.
- routers: one, two and three routers answer a backlog (the largest of `--pending`), with an LLM and
  an Evolution that answer at once. Meanwhile customers of a quiet tenant write and wait, one after
  the other. `others first` is the largest number of other questions that the LLM got between the
  arrival of such a message and the question for its reply.
- outages: the LLM or Evolution is away for an hour, and for longer than ANSWER_WITHIN_MINUTES; see
  benchmarks/outage.py.

Absolute times depend on the machine. Look at how a column changes from row to row, and compare the
routers' turns per second with those of `python -m benchmarks.reply`. If a message is answered
twice, or a quiet tenant's message is not answered, the benchmark exits with 1.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, takewhile
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.backlog import Size, database, filled
from benchmarks.costs import Spent, memory, psql, spent
from benchmarks.customers import Customers, in_thread, routers
from benchmarks.instant import Outside
from benchmarks.outage import Played, play
from router.embedded.postgres import EmbeddedPostgres

PARTS = ("claims", "routers", "outages")
_AWAY = ("llm", "evolution")
_PLACES = 20
_QUIET = "quiet"
_BETWEEN = 0.5  # seconds between two messages to the quiet tenant
_WARM = 50  # replies of each router before the measurement


@dataclass(frozen=True, slots=True)
class Claims:
    """The times of claims, in milliseconds. `quiet_in`: the claim that served the quiet tenant."""

    size: Size
    taken: list[float]
    quiet_in: int | None


@dataclass(slots=True)
class Served:
    """What a number of routers did with a backlog."""

    size: Size
    routers: int
    replies: int = 0
    seconds: float = 0.0
    cost: Spent = field(default_factory=lambda: Spent(0, 0, 0))
    memory: float = 0.0
    asked: int = 0
    """The number of messages to the quiet tenant."""
    waited: list[float] = field(default_factory=list)
    others_first: int = 0
    twice: int = 0


def main() -> None:
    """Measure and print. Exits with a message and 1 if something was answered twice, or not."""
    given = _given()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hybridflow-bench-") as name:
        Path(name).chmod(0o755)
        settings = {"max_wal_size": "8GB", "autovacuum": "off"}
        with EmbeddedPostgres(Path(name) / "postgres", settings=settings) as postgres:
            if "claims" in given.parts:
                _report_claims([_claims(postgres, size, given.claims) for size in _sizes(given)])
            if "routers" in given.parts:
                served = [row for n in given.tenants for row in _served(postgres, n, given)]
                _report_served(served)
                faults += [
                    f"{row.asked - len(row.waited)} messages to the quiet tenant had no reply"
                    for row in served
                    if len(row.waited) < row.asked
                ]
                faults += [f"{row.twice} answered twice" for row in served if row.twice]
            if "outages" in given.parts:
                played = [
                    _played(postgres, away, minutes, given.each_step)
                    for away in given.away
                    for minutes in given.minutes
                ]
                _report_outages(played)
                faults += [f"{row.twice} answered twice" for row in played if row.twice]
    if faults:
        raise SystemExit("; ".join(faults))


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--tenants", type=int, nargs="+", default=[10, 1_000, 20_000])
    parser.add_argument("--pending", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--claims", type=int, default=200, help="of each size (200)")
    parser.add_argument("--routers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=10, help="of each row of routers (10)")
    parser.add_argument("--away", nargs="+", choices=_AWAY, default=list(_AWAY))
    parser.add_argument("--minutes", type=int, nargs="+", default=[60, 90], help="of an outage")
    parser.add_argument(
        "--each-step", type=int, default=10, help="customers in 5 minutes of an outage (10)"
    )
    return parser.parse_args()


def _sizes(given: argparse.Namespace) -> list[Size]:
    return [
        Size(tenants, pending, known)
        for known in ("fresh", "stale")
        for tenants in given.tenants
        for pending in given.pending
        if pending >= tenants
    ]


def _claims(postgres: EmbeddedPostgres, size: Size, claims: int) -> Claims:
    with filled(postgres, "growth", size) as url:
        return asyncio.run(_claim(url, size, claims))


async def _claim(url: str, size: Size, claims: int) -> Claims:
    connection = await asyncpg.connect(url)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )
    taken: list[float] = []
    quiet_in, after = None, 0
    for number in range(1, min(claims, max(1, size.pending // _PLACES)) + 1):
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
    await connection.close()
    return Claims(size, sorted(taken), quiet_in)


def _served(postgres: EmbeddedPostgres, tenants: int, given: argparse.Namespace) -> list[Served]:
    return asyncio.run(_serve_all(postgres, Size(tenants, max(given.pending)), given))


async def _serve_all(
    postgres: EmbeddedPostgres, size: Size, given: argparse.Namespace
) -> list[Served]:
    rows = []
    async with (
        Outside() as outside,
        in_thread(filled(postgres, "backlog", size, outside.evolution.url)),
    ):
        for number in given.routers:
            async with in_thread(database(postgres, "growth", like="backlog")) as url:
                row = Served(size, number)
                await _serve(postgres, url, outside, row, given.seconds)
                rows.append(row)
    return rows


async def _serve(
    postgres: EmbeddedPostgres, url: str, outside: Outside, row: Served, seconds: float
) -> None:
    """Let some routers answer the backlog, while customers write to the quiet tenant."""
    psql(
        postgres,
        "insert into tenants (instance_name, evo_server_url, evo_api_key, debounce_seconds)"
        f" values ('{_QUIET}', '{outside.evolution.url}', 'key', 0)",
        "growth",
    )
    outside.forget()
    async with routers(row.routers, url, outside) as running:
        doors = [Customers(door, outside) for door, _ in running]
        pids = [pid for _, pid in running]
        await outside.until(min(_WARM * row.routers, row.size.pending // 2))
        asks = asyncio.create_task(_ask_again_and_again(doors, outside, row, seconds))
        began, replies = time.perf_counter(), outside.replies
        before = spent(pids, postgres, "growth")
        await asyncio.sleep(seconds)
        row.cost = spent(pids, postgres, "growth").since(before)
        row.replies = outside.replies - replies
        row.seconds = time.perf_counter() - began
        row.memory = max(map(memory, pids))
        await asks
        for door in doors:
            await door.close()
    row.twice = outside.twice()
    row.waited.sort()


async def _ask_again_and_again(
    doors: list[Customers], outside: Outside, row: Served, seconds: float
) -> None:
    """Write to the quiet tenant, through one router after the other, for some seconds."""
    until = time.perf_counter() + seconds
    for door in cycle(doors):
        if time.perf_counter() >= until:
            return
        row.asked += 1
        mark, taken = f"quiet question {row.asked}.", 0

        def note() -> None:
            nonlocal taken
            taken = len(outside.asked)

        waited = await door.ask(_QUIET, f"55219{row.asked:08}", mark, taken=note)
        if waited is not None:
            row.waited.append(waited)
            others = (mark.encode() not in asked for asked in outside.asked[taken:])
            row.others_first = max(row.others_first, sum(takewhile(bool, others)))
        await asyncio.sleep(_BETWEEN)


def _played(postgres: EmbeddedPostgres, away: str, minutes: int, each_step: int) -> Played:
    with database(postgres, "growth"):
        return asyncio.run(play(postgres, "growth", away, minutes, each_step))


def _report_claims(rows: list[Claims]) -> None:
    first = statistics.median(rows[0].taken)
    _print_table(
        ("tenants", "due turns", "statistics", "claims", "p50 ms", "p99 ms", "x first"),
        ("claims in a round", "quiet one in claim"),
        (
            (
                *(row.size.tenants, row.size.pending, row.size.statistics, len(row.taken)),
                *(f"{statistics.median(row.taken):.1f}", f"{_share(row.taken, 0.99):.1f}"),
                f"{statistics.median(row.taken) / first:.2f}",
                -(-row.size.tenants // _PLACES),
                row.quiet_in or f"> {len(row.taken)}",
            )
            for row in rows
        ),
    )


def _report_served(rows: list[Served]) -> None:
    _print_table(
        ("tenants", "due turns", "routers", "turns/s", "router ms", "pg ms", "RSS MB"),
        ("quiet asked", "answered", "others first", "quiet p50 s", "quiet max s"),
        (
            (
                *(row.size.tenants, row.size.pending, row.routers),
                f"{row.replies / row.seconds:.0f}",
                f"{1000 * row.cost.routers / row.replies:.2f}",
                f"{1000 * row.cost.postgres / row.replies:.2f}",
                *(f"{row.memory:.0f}", row.asked, len(row.waited), row.others_first),
                *(f"{_share(row.waited, 0.5):.2f}", f"{_share(row.waited, 1):.2f}"),
            )
            for row in rows
        ),
    )


def _report_outages(rows: list[Played]) -> None:
    _print_table(
        ("away", "minutes", "messages", "answered", "twice", "left", "tries in vain"),
        ("first after s", "last after s", "newest first"),
        (
            (
                *(row.away, row.minutes, row.messages, len(row.answered_after), row.twice),
                ", ".join(f"{n} {end}" for end, n in row.left.items()) or "none",
                row.tried,
                *(f"{_share(row.answered_after, n):.1f}" for n in (0, 1)),
                f"{row.newest_first:.0%}",
            )
            for row in rows
        ),
    )


def _print_table(
    head: Sequence[str], more: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Print a Markdown table, ready for a guide."""
    print(f"| {' | '.join((*head, *more))} |")
    print("|---" + "|---:" * (len(head) + len(more) - 1) + "|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print()


def _share(sorted_times: list[float], share: float) -> float:
    if not sorted_times:
        return float("nan")
    return sorted_times[min(int(len(sorted_times) * share), len(sorted_times) - 1)]


if __name__ == "__main__":
    main()
