"""An outage of the LLM or of Evolution, played with a moved clock, and its results.

The clock starts in the past, as far back as the outage is long, and is moved forward in steps while
no turn is being worked on. In each step some customers write, each once; their messages are
recorded and tried without success. When the clock is right again and all turns were tried once
more, the outage ends.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations

from benchmarks.backlog import url_of
from benchmarks.costs import psql
from benchmarks.customers import Customers, routers
from benchmarks.instant import Outside
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

_TENANTS = 10
_STEP = 5.0  # minutes
_LOOK = 0.1
_PATIENCE = 120.0  # seconds after the outage until everything is answered or given up
_CLOCK = """
    create or replace function hybridflow.clock() returns timestamptz
    language sql volatile set search_path = ''
    as $$ select clock_timestamp() - interval '{} seconds' $$
"""
_AT_WORK = "select count(*) from turns where held or (waiting and run_after <= hybridflow.clock())"
_OPEN = "select count(*) from turns where held or waiting"
_ENDS = (
    "select concat_ws(' ', nullif(state, 'dead'), coalesce(reason, error_kind)), count(*)"
    " from turns where state <> 'sent' group by 1 order by 1"
)


@dataclass(slots=True)
class Played:
    """The results of an outage; times in seconds after its end."""

    away: str
    minutes: int
    messages: int
    tried: int = 0
    """How often the LLM was asked, or a send tried, during the outage (counted in the log)."""
    twice: int = 0
    left: dict[str, int] = field(default_factory=dict)
    """The unanswered turns, by how they ended."""
    answered_after: list[float] = field(default_factory=list)
    newest_first: float = 1.0
    """How often, of two customers of a tenant, the one who wrote later was answered first."""


async def play(
    postgres: EmbeddedPostgres, name: str, away: str, minutes: int, each_step: int
) -> Played:
    """Play an outage in an empty database. `away`: "llm" or "evolution"."""
    url = url_of(postgres, name)
    await migrate(url)
    async with Outside() as outside:
        psql(
            postgres,
            "insert into tenants (instance_name, evo_server_url, evo_api_key, debounce_seconds)"
            f" select 'shop' || n, '{outside.evolution.url}', 'key', 0"
            f" from generate_series(0, {_TENANTS - 1}) as n",
            name,
        )
        await _move_clock(postgres, name, 60 * minutes)
        async with routers(1, url, outside, POLL_SECONDS="0.5") as ((router, _),):
            customers = Customers(router, outside)
            await customers.write("shop0", "5511800000000", "oi", ago=60 * minutes)
            await _until_none(postgres, name, _OPEN)
            door = outside.llm if away == "llm" else outside.evolution
            await door.close()
            written = await _write(postgres, name, customers, minutes, each_step)
            await _move_clock(postgres, name, 0)
            await _until_none(postgres, name, _AT_WORK)
            await door.open()
            back = time.perf_counter()
            await _until_none(postgres, name, _OPEN)
            await customers.close()
    played = Played(away, minutes, len(written), twice=outside.twice())
    after = {phone: outside.replied[phone][0] - back for phone in written if outside.replied[phone]}
    played.answered_after = sorted(after.values())
    played.newest_first = _newest_first(written, after)
    rows = psql(postgres, _ENDS, name).strip().splitlines()
    ends = Counter({end.strip(): int(n) for end, _, n in (row.partition("|") for row in rows)})
    played.left = dict(ends)
    played.tried = int(psql(postgres, "select coalesce(sum(waits), 0) from turns", name))
    return played


async def _write(
    postgres: EmbeddedPostgres, name: str, customers: Customers, minutes: int, each_step: int
) -> dict[str, float]:
    """Let the outage pass. Returns who wrote, and how many minutes before its end."""
    written: dict[str, float] = {}
    steps = int(minutes / _STEP)
    for step in range(steps):
        ago = minutes - _STEP * (step + 0.5)
        await _move_clock(postgres, name, 60 * ago)
        for number in range(each_step):
            phone = f"55119{step:04}{number:04}"
            written[phone] = ago
            await customers.write(f"shop{_tenant(phone)}", phone, "tem bolo?", ago=60 * ago)
        await _until_none(postgres, name, _AT_WORK)
    return written


def _tenant(phone: str) -> int:
    return int(phone[-4:]) % _TENANTS


async def _move_clock(postgres: EmbeddedPostgres, name: str, seconds_ago: float) -> None:
    await asyncio.to_thread(psql, postgres, _CLOCK.format(seconds_ago), name)


async def _until_none(postgres: EmbeddedPostgres, name: str, count: str) -> None:
    until = time.perf_counter() + _PATIENCE
    while int(await asyncio.to_thread(psql, postgres, count, name)):
        if time.perf_counter() > until:
            raise SystemExit(f"after {_PATIENCE:.0f} s some turns were left: {count}")
        await asyncio.sleep(_LOOK)


def _newest_first(written: dict[str, float], after: dict[str, float]) -> float:
    pairs = [
        (written[one] < written[other]) == (after[one] < after[other])
        for one, other in combinations(after, 2)
        if written[one] != written[other] and _tenant(one) == _tenant(other)
    ]
    return sum(pairs) / len(pairs) if pairs else 1.0
