"""A burst of messages, directly to n8n and through the router: `python -m benchmarks.n8n`.

One run compares these, on one machine, one PostgreSQL (fsync on), one n8n, one LLM and one WhatsApp
(both are loopback programs that answer at once):

- `bare`: to a workflow without state (LLM, Evolution's sendText): no pause, no history;
- `alone`: to a workflow that does everything itself, with its state in PostgreSQL;
- `answer`: to the router, for which n8n_workflows/inbound.json answers the turns;
- `gateway`: to the router, for which n8n_workflows/gateway_example.json sends and closes the turns.

Each message comes from another customer. `drain` is the time from the first message to the last
reply. `closed` is the number of turns that the router closed as sent, and `incomplete` the number
of those of which it does not know whether everything was said. The last columns are milliseconds of
CPU per reply: of n8n, the router, PostgreSQL and the loopback programs. `--rounds` repeats the
bursts; a ratio compares bursts of the same round, and the median is shown. `--engine` sets n8n's
N8N_EXPRESSION_ENGINE, for comparisons. `--workers` runs n8n in queue mode
(benchmarks/queue_mode.py). `--kill` ends n8n with kill -9 when half of a burst is answered, and
starts it again; `away` is how many seconds that took. Absolute figures depend on the machine. If a
message is refused, not answered, or answered twice, the benchmark exits with a message and 1; with
`--kill`, only if the router had accepted it.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Event, Thread

from benchmarks.alone import ALONE, BARE, INSTANCE, alone, bare
from benchmarks.costs import cpu_of_server, cpu_of_trees
from benchmarks.http_load import Load
from benchmarks.n8n_stage import (
    FLOWS,
    START,
    RunningN8n,
    Size,
    count,
    open_tenant,
    running_n8n,
    running_router,
)
from benchmarks.serving import load, try_load
from loopback.anthropic import Anthropic
from loopback.evolution import Business, Evolution
from router.embedded.postgres import EmbeddedPostgres
from router.evolution.subscription import SUBSCRIBED_EVENTS
from router.state.migrations import migrate

_SECRET = secrets.token_urlsafe(24)
_PATIENCE = 300.0
_PATIENCE_WITH_A_KILL = START + 900.0
_BACK = 90.0  # the same, counted from the time when the killed n8n is back
_STILL = 15.0  # seconds without a reply after which no more replies are expected
_WAYS = (BARE, ALONE, *FLOWS)
_CPU = ("n8n", "router", "postgres", "loopback")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a burst; times in seconds. `cpu`: milliseconds per reply."""

    name: str
    load: Load
    replies: Counter[str]
    drain: float
    closed: int | None = None
    incomplete: int = 0
    away: float | None = None
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """The number of accepted messages without an answer."""
        return max(0, self.load.taken - len(self.replies))  # n8n may accept one silently

    @property
    def doubled(self) -> int:
        """The number of customers who were answered more than once."""
        return sum(count > 1 for count in self.replies.values())

    def row(self) -> tuple[str, ...]:
        """Return the row that is printed."""
        return (
            self.name,
            str(self.load.taken),
            str(len(self.replies)),
            str(self.lost),
            str(self.doubled),
            *(("", "") if self.closed is None else (str(self.closed), str(self.incomplete))),
            f"{self.load.p50 / 1000:.3f}",
            f"{self.load.p99 / 1000:.3f}",
            f"{self.drain:.1f}",
            "" if self.away is None else f"{self.away:.1f}",
            *(f"{self.cpu[name]:.1f}" if name in self.cpu else "" for name in _CPU),
        )


class Killer(Thread):
    """Kills n8n by `restart` as soon as `is_half` is true, and records how long it was away."""

    def __init__(self, restart: Callable[[], float], is_half: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self._restart = restart
        self._is_half = is_half
        self._is_over = Event()
        self._kills = False
        self._away: float | None = None
        self._failed: Exception | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether n8n is away at the moment."""
        return self._kills and self.is_alive()

    def run(self) -> None:
        """Wait for half of the burst, then kill n8n."""
        while not self._is_half():
            if self._is_over.wait(0.02):
                return
        self._kills = True
        try:
            self._away = self._restart()
        except Exception as error:  # noqa: BLE001 - reported with the result of the burst
            self._failed = error

    def was_away(self) -> float:
        """Stop, and return for how many seconds n8n was away.

        Raises SystemExit if n8n was not killed or did not come back: unanswered messages would then
        say nothing about the router.
        """
        self._is_over.set()
        self.join()
        if self._failed is not None:
            raise SystemExit(str(self._failed)) from self._failed
        if self._away is None:
            raise SystemExit("n8n was not killed: less than half of the burst was answered")
        return self._away


@dataclass(frozen=True, slots=True)
class _Way:
    """The target of a burst, and the phone that gets its replies."""

    name: str
    url: str
    header: str
    shop: Business


@dataclass(frozen=True, slots=True)
class _Stage:
    given: argparse.Namespace
    postgres: EmbeddedPostgres
    n8n: RunningN8n
    router: int

    def cpu(self) -> dict[str, float]:
        """Return the CPU of each so far, in milliseconds."""
        spent = (
            cpu_of_trees([self.n8n.pid]),
            cpu_of_trees([self.router]),
            cpu_of_server(self.postgres),
            time.process_time(),
        )
        return {name: 1000 * seconds for name, seconds in zip(_CPU, spent, strict=True)}


def main() -> None:
    """Measure and print. Exits with a message and 1 if a message was refused, lost or doubled."""
    given = _asked()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        llm = stack.enter_context(Anthropic())
        evolution = stack.enter_context(Evolution())
        # For a router, another client's send is a takeover, so it has instances of its own.
        other = evolution.instance(INSTANCE)
        workflows = [make(evolution.url, other.token) for make in (bare, alone)]
        # If a flow that sends by itself dies with n8n, the router learns that only from the lease.
        size = Size(given.in_flight, given.engine, given.workers, 10 if given.kill else 90)
        n8n = stack.enter_context(running_n8n(postgres, folder, llm, workflows, _SECRET, size))
        router = stack.enter_context(running_router(postgres, n8n.url, llm, _SECRET, size))
        ways = {
            name: _Way(name, f"{n8n.url}/webhook/{name}", "X-N8N-API-Key", other)
            for name in (BARE, ALONE)
        }
        for contract in FLOWS:
            shop = evolution.instance(contract)
            asyncio.run(open_tenant(postgres, evolution, shop, contract))
            url, key = f"{router[0]}/webhook/{contract}", "X-Webhook-Secret"
            shop.sends_webhooks_to(url, headers={key: _SECRET}, events=SUBSCRIBED_EVENTS)
            ways[contract] = _Way(contract, url, key, shop)
        on = _Stage(given, postgres, n8n, router[1])
        outcomes = [
            _burst(ways[name], on, number)
            for number in range(given.rounds)
            for name in (given.ways if number % 2 == 0 else reversed(given.ways))
        ]
    _report(given, outcomes)
    mine = [each for each in outcomes if not (given.kill and each.name in (BARE, ALONE))]
    if faults := complaints(mine, killed=given.kill):
        raise SystemExit("\n".join(faults))


def complaints(outcomes: Iterable[Outcome], *, killed: bool = False) -> list[str]:
    """Return a sentence for each way that lost a message or answered one twice.

    If a flow that sends by itself is killed after its send, everything was said, but nobody knows
    that: its turn is closed as incomplete.
    """
    found = []
    for outcome in outcomes:
        if outcome.lost:
            found.append(f"{outcome.name}: {outcome.lost} messages were accepted and not answered")
        if outcome.doubled:
            found.append(f"{outcome.name}: {outcome.doubled} messages were answered twice")
        if outcome.closed is not None and outcome.closed < outcome.load.taken - outcome.lost:
            found.append(f"{outcome.name}: only {outcome.closed} turns were closed as sent")
        if outcome.incomplete and not killed:
            found.append(f"{outcome.name}: {outcome.incomplete} turns were closed as incomplete")
    return found


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.n8n", description=__doc__)
    parser.add_argument("--messages", type=int, default=1000, help="of each burst (1000)")
    parser.add_argument("--connections", type=int, default=50, help="at once (50)")
    parser.add_argument("--in-flight", type=int, default=10, help="turns in n8n (10)")
    parser.add_argument("--engine", choices=["legacy", "vm"], default="legacy")
    parser.add_argument("--workers", type=int, default=0, help="of n8n's queue mode (0: without)")
    parser.add_argument("--kill", action="store_true", help="kill n8n in the middle of each burst")
    parser.add_argument("--rounds", type=int, default=1, help="of all bursts (1)")
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=list(_WAYS))
    return parser.parse_args()


def _burst(way: _Way, on: _Stage, number: int) -> Outcome:
    given, shop = on.given, way.shop
    before, spent, closed = len(shop.calls("sendText")), on.cpu(), _closed(on, way)
    began = time.monotonic()
    killer: Killer | None = None
    if given.kill:
        half = before + given.messages // 2
        killer = Killer(on.n8n.restart, lambda: len(shop.calls("sendText")) >= half)
        killer.start()
    # Messages that n8n refuses while it is away are lost.
    send = try_load if given.kill and way.name in (BARE, ALONE) else load
    sent = send(
        way.url,
        f"{way.header}: {_SECRET}",
        connections=given.connections,
        total=given.messages,
        contacts=given.messages * given.rounds,
        first=given.messages * number,
    )
    seen, last = before, time.monotonic()
    heard = last
    still, patience = (_BACK, _PATIENCE_WITH_A_KILL) if given.kill else (_STILL, _PATIENCE)
    while time.monotonic() - heard < still and time.monotonic() - began < patience:
        if (now := len(shop.calls("sendText"))) > seen:
            seen, last = now, time.monotonic()
            heard = last
        elif seen - before >= given.messages and time.monotonic() - last > 3:
            break
        elif killer is not None and killer.is_under_way:
            heard = time.monotonic()  # a busy machine takes minutes to start n8n
        time.sleep(0.1)
    away = None if killer is None else killer.was_away()
    calls = shop.calls("sendText")[before:]
    replies = Counter(str(call.body["number"]).split("@")[0] for call in calls)
    ended = _closed(on, way)
    cpu = {
        name: (now - spent[name]) / max(1, len(calls))
        for name, now in on.cpu().items()
        if not (given.kill and name == "n8n")  # it is another process since then
    }
    if closed is None or ended is None:
        return Outcome(way.name, sent, replies, last - began, away=away, cpu=cpu)
    whole, parts = ended[0] - closed[0], ended[1] - closed[1]
    return Outcome(way.name, sent, replies, last - began, whole + parts, parts, away, cpu)


def _closed(on: _Stage, way: _Way) -> tuple[int, int] | None:
    """Return how many turns were closed as sent, complete and incomplete.

    Turns that are about to be closed are waited for.
    """
    if way.name not in FLOWS:
        return None
    dsn = on.postgres.dsn
    ours = "from turns as t join tenants as n on n.id = t.tenant_id where n.instance_name = $1"
    until = time.monotonic() + _STILL
    while asyncio.run(count(dsn, f"{ours} and t.finished_at is null", way.name)):
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    sent = f"{ours} and t.state = 'sent' and "
    return (
        asyncio.run(count(dsn, f"{sent} not t.incomplete", way.name)),
        asyncio.run(count(dsn, f"{sent} t.incomplete", way.name)),
    )


def _report(given: argparse.Namespace, outcomes: list[Outcome]) -> None:
    print(
        f"{given.messages} messages, {given.connections} connections,"
        f" {given.in_flight} turns in n8n at once, expression engine {given.engine}"
        f", {given.workers or 'no'} workers\n"
    )
    head = (
        *("", "accepted", "answered", "lost", "doubled", "closed", "incomplete"),
        *("accept p50", "accept p99", "drain", "away", *_CPU),
    )
    for row in (head, *(outcome.row() for outcome in outcomes)):
        print("".join(f"{cell:>12}" for cell in row))
    print()
    straight = [each for each in outcomes if each.name == ALONE]
    for name in FLOWS:
        through = [each for each in outcomes if each.name == name]
        pairs = list(zip(through, straight, strict=False))
        if pairs:
            drain = median(one.drain / other.drain for one, other in pairs)
            accept = median(one.load.p99 / other.load.p99 for one, other in pairs)
            print(f"drain, {name} / alone: {drain:.2f}")
            print(f"p99 to accept, {name} / alone: {accept:.3f}")
        if through:
            pace = median(len(each.replies) / each.drain for each in through)
            print(f"turns a second, {name}: {pace:.1f}")


if __name__ == "__main__":
    main()
