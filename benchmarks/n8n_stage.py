"""The programs for the burst through n8n: one n8n with its workflows, one router, its tenants."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.alone import TABLES
from benchmarks.queue_mode import queue_mode
from benchmarks.serving import UNLIMITED, serving_process
from loopback.anthropic import Anthropic
from loopback.evolution import Business, Evolution
from router.embedded.ports import free_port
from router.embedded.postgres import EmbeddedPostgres
from scripts.n8n.installation import Installation, cache_folder, install
from scripts.n8n.library import DRAFTS, WORKFLOWS, import_all
from scripts.n8n.server import N8nHome, N8nServer, open_home

Json = dict[str, Any]

FLOWS = {"answer": "hybridflow-turn", "gateway": "gateway/hybridflow-turn"}
"""The flow for each contract."""
START = 900.0
"""Seconds that n8n has to start: on a busy machine it takes minutes, longest with the engine vm."""


@dataclass(frozen=True, slots=True)
class Size:
    """How n8n runs, and how many turns it may have at once."""

    in_flight: int
    engine: str
    workers: int
    lease_seconds: int


class RunningN8n:
    """The running n8n and its workers."""

    def __init__(self, server: N8nServer) -> None:
        self._server = server
        self.url = server.home.url

    @property
    def pid(self) -> int:
        """The id of its process, which changes with a restart."""
        return self._server.pid

    def restart(self) -> float:
        """Kill n8n, start it again, and return how many seconds it was away.

        Workers, if there are any, go on running. Raises N8nDidNotStart.
        """
        self._server.kill()
        killed = time.monotonic()
        self._server.start()
        asyncio.run(self._server.ready(START))
        return time.monotonic() - killed


@contextmanager
def running_n8n(
    postgres: EmbeddedPostgres,
    folder: Path,
    llm: Anthropic,
    workflows: list[Json],
    secret: str,
    size: Size,
) -> Iterator[RunningN8n]:
    """Yield an n8n with the project's workflows and these."""
    installation = install(cache_folder(), print)
    home = asyncio.run(_filled(installation, postgres, folder, llm, workflows, secret))
    home = replace(home, settings={"N8N_EXPRESSION_ENGINE": size.engine})
    with ExitStack() as stack:
        if size.workers:
            home = stack.enter_context(queue_mode(installation, home, folder, size.workers))
        server = N8nServer(installation, home)
        server.start()
        try:
            asyncio.run(server.ready(START))
            yield RunningN8n(server)
        finally:
            server.stop()


async def _filled(
    installation: Installation,
    postgres: EmbeddedPostgres,
    folder: Path,
    llm: Anthropic,
    workflows: list[Json],
    secret: str,
) -> N8nHome:
    nobody_looks = {"N8N_DISABLE_UI": "true"}
    home = await open_home(postgres.dsn, folder / "n8n", free_port(), nobody_looks)
    _lay_out(workflows, home, folder / "workflows")
    await execute(home.database_url, TABLES)
    await import_all(
        installation,
        home,
        folder=folder / "workflows",
        variables={
            "N8N_API_KEY": secret,
            "ANTHROPIC_API_KEY": "sk-ant-loopback",
            "ANTHROPIC_BASE_URL": llm.url,
        },
        router_url="http://127.0.0.1:9",
        drafts=DRAFTS - {"hybridflowGateway"},
    )
    return home


def _lay_out(workflows: list[Json], home: N8nHome, folder: Path) -> None:
    """Add the workflows, and the credential of their database, to the project's."""
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
def running_router(
    postgres: EmbeddedPostgres, n8n_url: str, llm: Anthropic, secret: str, size: Size
) -> Iterator[tuple[str, int]]:
    """Yield the URL and the process of a router that gets all replies from n8n."""
    port = free_port()
    configuration: Mapping[str, str] = {
        **UNLIMITED,
        "DATABASE_URL": postgres.dsn,
        "EVOLUTION_WEBHOOK_SHARED_SECRET": secret,
        "ANTHROPIC_API_KEY": "sk-ant-loopback",
        "ANTHROPIC_BASE_URL": llm.url,
        "ALLOWED_NETWORKS": "127.0.0.0/8",
        "N8N_ENABLED": "true",
        "N8N_WEBHOOK_URL": f"{n8n_url}/webhook",
        "N8N_PROBE_SECONDS": "1",
        "N8N_LEASE_SECONDS": str(size.lease_seconds),
        "N8N_API_KEY": secret,
        "N8N_ROUTER_URL": f"http://127.0.0.1:{port}",
        "N8N_MAX_IN_FLIGHT": str(size.in_flight),
        "N8N_FALLBACK": "queue",
        "MAX_CONCURRENT_TURNS": str(max(size.in_flight, 20)),
    }
    with serving_process(("router.serving",), configuration, port) as router:
        yield router


async def open_tenant(
    postgres: EmbeddedPostgres, evolution: Evolution, shop: Business, contract: str
) -> None:
    """Create the tenant for a contract, with the contract's flow."""
    await execute(
        postgres.dsn,
        "insert into tenants (instance_name, evo_server_url, evo_api_key, debounce_seconds,"
        " n8n_flow, n8n_contract) values ($1, $2, $3, 0, $4, $1)",
        contract,
        evolution.url,
        shop.token,
        FLOWS[contract],
    )


async def count(dsn: str, of: str, *values: str) -> int:
    """Return the number of rows."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(f"select count(*) {of}", *values))
    finally:
        await connection.close()


async def execute(dsn: str, statement: str, *values: str) -> None:
    """Run a statement."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()
