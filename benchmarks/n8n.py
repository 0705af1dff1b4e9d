"""A burst of messages: straight into n8n, and through the router. `python -m benchmarks.n8n`.

In one run, on the same machine, the same PostgreSQL (fsync on), the same n8n, LLM and WhatsApp
(both loopback programs that answer at once):

- `bare`: into a workflow that keeps nothing (LLM, Evolution's sendText): no pause, no history;
- `alone`: into a workflow that does it all by itself, with its state in PostgreSQL;
- `answer`: to the router, whose turns n8n_workflows/inbound.json answers;
- `gateway`: to the router, whose turns n8n_workflows/gateway_example.json has, sends and closes.

Each message is of another customer. `drain` is the time from the first message to the last reply,
`closed` how many turns the router has closed as sent, whole. `--engine` sets n8n's
N8N_EXPRESSION_ENGINE, to compare; `--workers` runs n8n in queue mode (benchmarks/queue_mode.py);
`--kill` ends n8n by kill -9 when half of a burst is answered, and starts it again. The absolute
figures are this machine's. A message that was refused, not answered, or answered twice ends it with
words and 1; with `--kill`, only where the router took it.
"""

import argparse
import asyncio
import json
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg

from benchmarks.alone import ALONE, BARE, INSTANCE, TABLES, alone, bare
from benchmarks.http_load import Load
from benchmarks.queue_mode import queue_mode
from benchmarks.serving import UNLIMITED, load, serving, try_load
from loopback.anthropic import Anthropic
from loopback.evolution import Business, Evolution
from router.embedded.ports import free_port
from router.embedded.postgres import EmbeddedPostgres
from router.evolution.client import SUBSCRIBED_EVENTS
from router.state.migrations import migrate
from scripts.n8n.installation import Installation, cache_folder, install
from scripts.n8n.library import DRAFTS, WORKFLOWS, import_all
from scripts.n8n.server import N8nHome, N8nServer, open_home

Json = dict[str, Any]

_SECRET = secrets.token_urlsafe(24)
_PATIENCE = 300.0
_BACK = 90.0  # the same where n8n is killed: a busy machine takes a minute to start it
_STILL = 15.0  # seconds without a reply after which none is expected any more


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a burst; times in seconds."""

    name: str
    load: Load
    replies: Counter[str]
    drain: float
    closed: int | None = None

    @property
    def lost(self) -> int:
        """How many were taken and not answered."""
        return self.load.taken - len(self.replies)

    @property
    def doubled(self) -> int:
        """How many customers were answered more than once."""
        return sum(count > 1 for count in self.replies.values())

    def row(self) -> tuple[str, ...]:
        """Return what is printed of it."""
        return (
            self.name,
            str(self.load.taken),
            str(len(self.replies)),
            str(self.lost),
            str(self.doubled),
            "" if self.closed is None else str(self.closed),
            f"{self.load.p50 / 1000:.3f}",
            f"{self.load.p99 / 1000:.3f}",
            f"{self.drain:.1f}",
        )


def main() -> None:
    """Measure and print. Ends with words and 1 where a message was refused, lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.n8n", description=__doc__)
    parser.add_argument("--messages", type=int, default=1000, help="of each burst (1000)")
    parser.add_argument("--connections", type=int, default=50, help="at once (50)")
    parser.add_argument("--in-flight", type=int, default=10, help="turns in n8n (10)")
    parser.add_argument("--engine", choices=["legacy", "vm"], default="legacy")
    parser.add_argument("--workers", type=int, default=0, help="of n8n's queue mode (0: without)")
    parser.add_argument("--kill", action="store_true", help="n8n, in the middle of each burst")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        llm = stack.enter_context(Anthropic())
        evolution = stack.enter_context(Evolution())
        # A router takes over what another client says: the instances that it answers are its own.
        other = evolution.instance(INSTANCE)
        workflows = [make(evolution.url, other.token) for make in (bare, alone)]
        n8n = stack.enter_context(_n8n(postgres, folder, llm, workflows, given))
        kill = n8n.restart if given.kill else None
        straight = [
            _burst(name, f"{n8n.url}/webhook/{name}", "X-N8N-API-Key", other, given, kill)
            for name in (BARE, ALONE)
        ]
        through = []
        for contract in ("answer", "gateway"):
            shop = evolution.instance(contract)
            with _router(postgres, n8n.url, llm, given, contract) as router:
                asyncio.run(_open_tenant(postgres, evolution, shop, contract))
                url = f"{router}/webhook/{contract}"
                shop.sends_webhooks_to(
                    url, headers={"X-Webhook-Secret": _SECRET}, events=SUBSCRIBED_EVENTS
                )
                burst = _burst(contract, url, "X-Webhook-Secret", shop, given, kill)
                through.append(replace(burst, closed=_closed(postgres, contract)))
    outcomes = (*straight, *through)
    _report(given, outcomes)
    if faults := complaints(through if given.kill else outcomes):
        raise SystemExit("\n".join(faults))


def complaints(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a sentence for each way that lost a message or answered one twice."""
    found = []
    for outcome in outcomes:
        if outcome.lost:
            found.append(f"{outcome.name}: {outcome.lost} messages were taken and not answered")
        if outcome.doubled:
            found.append(f"{outcome.name}: {outcome.doubled} messages were answered twice")
        if outcome.closed is not None and outcome.closed < outcome.load.taken - outcome.lost:
            found.append(f"{outcome.name}: only {outcome.closed} turns were closed as sent, whole")
    return found


def _burst(
    name: str,
    url: str,
    header: str,
    shop: Business,
    given: argparse.Namespace,
    kill: Callable[[], None] | None,
) -> Outcome:
    before = len(shop.calls("sendText"))
    began = time.monotonic()
    killer = None if kill is None else Thread(target=_kills, args=(kill, shop, before, given))
    if killer is not None:
        killer.start()
    straight = kill is not None and name in (BARE, ALONE)  # what n8n refuses then, nobody has
    sent = (try_load if straight else load)(
        url,
        f"{header}: {_SECRET}",
        connections=given.connections,
        total=given.messages,
        contacts=given.messages,
    )
    seen, last = before, time.monotonic()
    still = _STILL if kill is None else _BACK
    while time.monotonic() - last < still and time.monotonic() - began < _PATIENCE:
        if (now := len(shop.calls("sendText"))) > seen:
            seen, last = now, time.monotonic()
        elif seen - before >= given.messages and time.monotonic() - last > 3:
            break
        time.sleep(0.1)
    if killer is not None:
        killer.join()
    calls = shop.calls("sendText")[before:]
    replies = Counter(str(call.body["number"]).split("@")[0] for call in calls)
    return Outcome(name, sent, replies, last - began)


def _kills(
    kill: Callable[[], None], shop: Business, before: int, given: argparse.Namespace
) -> None:
    """Kill n8n when half of the burst is answered."""
    until = time.monotonic() + _PATIENCE
    while len(shop.calls("sendText")) - before < given.messages // 2:
        if time.monotonic() > until:
            return
        time.sleep(0.02)
    kill()


class _Running:
    """n8n as it runs, and its workers."""

    def __init__(self, server: N8nServer) -> None:
        self._server = server
        self.url = server.home.url

    def restart(self) -> None:
        """Kill it, and start it again. The workers, where there are some, live on."""
        self._server.kill()
        self._server.start()
        asyncio.run(self._server.ready())


@contextmanager
def _n8n(
    postgres: EmbeddedPostgres,
    folder: Path,
    llm: Anthropic,
    workflows: list[Json],
    given: argparse.Namespace,
) -> Iterator[_Running]:
    installation = install(cache_folder(), print)
    home = asyncio.run(_filled(installation, postgres, folder, llm, workflows))
    home = replace(home, settings={"N8N_EXPRESSION_ENGINE": given.engine})
    with ExitStack() as stack:
        if given.workers:
            home = stack.enter_context(queue_mode(installation, home, folder, given.workers))
        server = N8nServer(installation, home)
        server.start()
        try:
            asyncio.run(server.ready())
            yield _Running(server)
        finally:
            server.stop()


async def _filled(
    installation: Installation,
    postgres: EmbeddedPostgres,
    folder: Path,
    llm: Anthropic,
    workflows: list[Json],
) -> N8nHome:
    home = await open_home(postgres.dsn, folder / "n8n", free_port())
    _lay_out(workflows, home, folder / "workflows")
    await _execute(home.database_url, TABLES)
    await import_all(
        installation,
        home,
        folder=folder / "workflows",
        variables={
            "N8N_API_KEY": _SECRET,
            "ANTHROPIC_API_KEY": "sk-ant-loopback",
            "ANTHROPIC_BASE_URL": llm.url,
        },
        router_url="http://127.0.0.1:9",
        drafts=DRAFTS - {"hybridflowGateway"},
    )
    return home


def _lay_out(workflows: list[Json], home: N8nHome, folder: Path) -> None:
    """Put the workflows beside the project's, and the credential of their database."""
    shutil.copytree(WORKFLOWS, folder)
    for workflow in workflows:
        (folder / f"{workflow['name']}.json").write_text(json.dumps(workflow))
    own = home.environment()
    credential = {
        "id": "benchPostgres",
        "name": "PostgreSQL",
        "type": "postgres",
        "data": {
            "host": own["DB_POSTGRESDB_HOST"],
            "port": own["DB_POSTGRESDB_PORT"],
            "database": own["DB_POSTGRESDB_DATABASE"],
            "user": own["DB_POSTGRESDB_USER"],
            "password": own["DB_POSTGRESDB_PASSWORD"],
            "ssl": "disable",
        },
    }
    example = folder / "credentials.example.json"
    example.write_text(json.dumps([*json.loads(example.read_text()), credential]))


@contextmanager
def _router(
    postgres: EmbeddedPostgres,
    n8n_url: str,
    llm: Anthropic,
    given: argparse.Namespace,
    contract: str,
) -> Iterator[str]:
    port = free_port()
    flow = "" if contract == "answer" else f"/{contract}"
    configuration = {
        **UNLIMITED,
        "DATABASE_URL": postgres.dsn,
        "EVOLUTION_WEBHOOK_SHARED_SECRET": _SECRET,
        "ANTHROPIC_API_KEY": "sk-ant-loopback",
        "ANTHROPIC_BASE_URL": llm.url,
        "ALLOWED_NETWORKS": "127.0.0.0/8",
        "N8N_ENABLED": "true",
        "N8N_WEBHOOK_URL": f"{n8n_url}/webhook{flow}",
        "N8N_CONTRACT": contract,
        "N8N_PROBE_SECONDS": "1",
        # Of a flow that sends by itself only the lease tells that it died with n8n.
        "N8N_LEASE_SECONDS": "10" if given.kill else "90",
        "N8N_API_KEY": _SECRET,
        "N8N_ROUTER_URL": f"http://127.0.0.1:{port}",
        "N8N_MAX_IN_FLIGHT": str(given.in_flight),
        "N8N_FALLBACK": "queue",  # every reply is n8n's
        "MAX_CONCURRENT_TURNS": str(max(given.in_flight, 20)),
    }
    with serving(("router.serving",), configuration, port) as url:
        yield url


async def _open_tenant(
    postgres: EmbeddedPostgres, evolution: Evolution, shop: Business, name: str
) -> None:
    await _execute(
        postgres.dsn,
        "insert into tenants (instance_name, evo_server_url, evo_api_key, debounce_seconds)"
        " values ($1, $2, $3, 0)",
        name,
        evolution.url,
        shop.token,
    )


def _closed(postgres: EmbeddedPostgres, name: str) -> int:
    """Return how many turns were closed as sent, whole; those about to be closed are waited for."""
    ours = "from turns as t join tenants as n on n.id = t.tenant_id where n.instance_name = $1"
    until = time.monotonic() + _STILL
    while asyncio.run(_count(postgres.dsn, f"{ours} and t.finished_at is null", name)):
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return asyncio.run(
        _count(postgres.dsn, f"{ours} and t.state = 'sent' and not t.incomplete", name)
    )


async def _count(dsn: str, of: str, *values: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(f"select count(*) {of}", *values))
    finally:
        await connection.close()


async def _execute(dsn: str, statement: str, *values: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


def _report(given: argparse.Namespace, outcomes: tuple[Outcome, ...]) -> None:
    print(
        f"{given.messages} messages, {given.connections} connections,"
        f" {given.in_flight} turns in n8n at once, expression engine {given.engine}"
        f", {given.workers or 'no'} workers\n"
    )
    head = (
        "",
        "accepted",
        "answered",
        "lost",
        "doubled",
        "closed",
        "accept p50",
        "accept p99",
        "drain",
    )
    for row in (head, *(outcome.row() for outcome in outcomes)):
        print("".join(f"{cell:>12}" for cell in row))
    _, straight, *through = outcomes
    print()
    for each in through:
        print(f"drain, {each.name} / alone: {each.drain / straight.drain:.2f}")
        print(f"p99 to accept, {each.name} / alone: {each.load.p99 / straight.load.p99:.3f}")
        print(f"turns a second, {each.name}: {len(each.replies) / each.drain:.1f}")


if __name__ == "__main__":
    main()
