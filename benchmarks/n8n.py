"""A burst of messages: straight into n8n, and through the router. `python -m benchmarks.n8n`.

In one run, on the same machine, the same PostgreSQL (fsync on), the same n8n, LLM and WhatsApp
(both loopback programs that answer at once):

- `bare`: into a workflow that keeps nothing (LLM, Evolution's sendText): no pause, no history;
- `alone`: into a workflow that does it all by itself, with its state in PostgreSQL;
- `router`: to the router with N8N_ENABLED, which gives its turns to n8n_workflows/inbound.json.

Each message is of another customer. `drain` is the time from the first message to the last reply.
`--engine` sets n8n's N8N_EXPRESSION_ENGINE, to compare. The absolute figures are this machine's.
A message that was refused, not answered, or answered twice ends it with words and 1.
"""

import argparse
import asyncio
import json
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.alone import ALONE, BARE, INSTANCE, TABLES, alone, bare
from benchmarks.http_load import Load
from benchmarks.serving import UNLIMITED, load, serving
from loopback.anthropic import Anthropic
from loopback.evolution import Business, Evolution
from router.embedded.ports import free_port
from router.embedded.postgres import EmbeddedPostgres
from router.evolution.client import SUBSCRIBED_EVENTS
from router.state.migrations import migrate
from scripts.n8n.installation import Installation, cache_folder, install
from scripts.n8n.library import WORKFLOWS, import_all
from scripts.n8n.server import N8nHome, N8nServer, open_home

Json = dict[str, Any]

_SECRET = secrets.token_urlsafe(24)
_PATIENCE = 300.0
_STILL = 15.0  # seconds without a reply after which none is expected any more


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a burst; times in seconds."""

    name: str
    load: Load
    replies: Counter[str]
    drain: float

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
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        llm = stack.enter_context(Anthropic())
        evolution = stack.enter_context(Evolution())
        # A router takes over what another client says: the instance that it answers is its own.
        shop, other = evolution.instance("bench"), evolution.instance(INSTANCE)
        workflows = [make(evolution.url, other.token) for make in (bare, alone)]
        n8n = stack.enter_context(_n8n(postgres, folder, llm, workflows, given.engine))
        straight = [
            _burst(name, f"{n8n.url}/webhook/{name}", "X-N8N-API-Key", other, given)
            for name in (BARE, ALONE)
        ]
        router = stack.enter_context(_router(postgres, n8n, llm, given))
        asyncio.run(_open_tenant(postgres, evolution, shop))
        shop.sends_webhooks_to(
            f"{router}/webhook/bench",
            headers={"X-Webhook-Secret": _SECRET},
            events=SUBSCRIBED_EVENTS,
        )
        through = _burst("router", f"{router}/webhook/bench", "X-Webhook-Secret", shop, given)
    outcomes = (*straight, through)
    _report(given, outcomes)
    if faults := complaints(outcomes):
        raise SystemExit("\n".join(faults))


def complaints(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a sentence for each way that lost a message or answered one twice."""
    found = []
    for outcome in outcomes:
        if outcome.lost:
            found.append(f"{outcome.name}: {outcome.lost} messages were taken and not answered")
        if outcome.doubled:
            found.append(f"{outcome.name}: {outcome.doubled} messages were answered twice")
    return found


def _burst(name: str, url: str, header: str, shop: Business, given: argparse.Namespace) -> Outcome:
    before = len(shop.calls("sendText"))
    began = time.monotonic()
    sent = load(
        url,
        f"{header}: {_SECRET}",
        connections=given.connections,
        total=given.messages,
        contacts=given.messages,
    )
    seen, last = before, time.monotonic()
    while time.monotonic() - last < _STILL and time.monotonic() - began < _PATIENCE:
        if (now := len(shop.calls("sendText"))) > seen:
            seen, last = now, time.monotonic()
        elif seen - before >= given.messages and time.monotonic() - last > 3:
            break
        time.sleep(0.1)
    calls = shop.calls("sendText")[before:]
    replies = Counter(str(call.body["number"]).split("@")[0] for call in calls)
    return Outcome(name, sent, replies, last - began)


@contextmanager
def _n8n(
    postgres: EmbeddedPostgres, folder: Path, llm: Anthropic, workflows: list[Json], engine: str
) -> Iterator[N8nHome]:
    installation = install(cache_folder(), print)
    home = asyncio.run(_filled(installation, postgres, folder, llm, workflows))
    server = N8nServer(installation, replace(home, settings={"N8N_EXPRESSION_ENGINE": engine}))
    server.start()
    try:
        asyncio.run(server.ready())
        yield home
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
    postgres: EmbeddedPostgres, n8n: N8nHome, llm: Anthropic, given: argparse.Namespace
) -> Iterator[str]:
    port = free_port()
    configuration = {
        **UNLIMITED,
        "DATABASE_URL": postgres.dsn,
        "EVOLUTION_WEBHOOK_SHARED_SECRET": _SECRET,
        "ANTHROPIC_API_KEY": "sk-ant-loopback",
        "ANTHROPIC_BASE_URL": llm.url,
        "ALLOWED_NETWORKS": "127.0.0.0/8",
        "N8N_ENABLED": "true",
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        "N8N_API_KEY": _SECRET,
        "N8N_ROUTER_URL": f"http://127.0.0.1:{port}",
        "N8N_MAX_IN_FLIGHT": str(given.in_flight),
        "N8N_FALLBACK": "queue",  # every reply is n8n's
        "MAX_CONCURRENT_TURNS": str(max(given.in_flight, 20)),
    }
    with serving(("router.serving",), configuration, port) as url:
        yield url


async def _open_tenant(postgres: EmbeddedPostgres, evolution: Evolution, shop: Business) -> None:
    await _execute(
        postgres.dsn,
        "insert into tenants (instance_name, evo_server_url, evo_api_key, debounce_seconds)"
        " values ('bench', $1, $2, 0)",
        evolution.url,
        shop.token,
    )


async def _execute(dsn: str, statement: str, *values: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


def _report(given: argparse.Namespace, outcomes: tuple[Outcome, ...]) -> None:
    print(
        f"{given.messages} messages, {given.connections} connections,"
        f" {given.in_flight} turns in n8n at once, expression engine {given.engine}\n"
    )
    head = ("", "accepted", "answered", "lost", "doubled", "accept p50", "accept p99", "drain")
    for row in (head, *(outcome.row() for outcome in outcomes)):
        print("".join(f"{cell:>12}" for cell in row))
    *_, straight, through = outcomes
    print(f"\ndrain, router / alone: {through.drain / straight.drain:.2f}")
    print(f"p99 to accept, router / alone: {through.load.p99 / straight.load.p99:.3f}")


if __name__ == "__main__":
    main()
