"""The world of a run: two routers, a PostgreSQL of its own, Evolution, the LLM, the tenants."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil

from benchmarks.faults import watch
from benchmarks.faults.conversation import Directory
from benchmarks.faults.flow import PATH, AnsweringFlow
from benchmarks.faults.model import Model
from benchmarks.faults.sends import PlannedCalls
from benchmarks.faults.terms import Terms
from benchmarks.faults.wire import PlannedWire
from loopback.evolution import Business, Evolution
from loopback.routers import RouterProcess
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

_EVENTS = (
    *("MESSAGES_UPSERT", "MESSAGES_UPDATE", "MESSAGES_EDITED", "MESSAGES_DELETE", "SEND_MESSAGE"),
    "CONNECTION_UPDATE",
)
# Commits must survive a kill -9 of the server, but not a crash of the machine.
_POSTGRES = {"fsync": "off", "max_connections": "200"}
_MEMORY = Path("/dev/shm")
_FOLDER = "hybridflow-faults-"
_ENOUGH_BYTES = 4 * 1024**3
_LOOK = 0.05
_CUT = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and random() < $1
"""


@dataclass(slots=True)
class Stalls:
    """The times when the harness itself stood still: delays then are not the product's fault."""

    found: list[tuple[float, float]] = field(default_factory=list)

    async def watch(self) -> None:
        """Record each time when this event loop was late."""
        while True:
            before = time.time()
            await asyncio.sleep(_LOOK)
            late = time.time() - before - _LOOK
            if late > 0.2:
                self.found.append((before, late))

    def within(self, begin: float, end: float) -> float:
        """Return for how many seconds it stood still between two times."""
        return sum(late for at, late in self.found if begin - late <= at <= end)


@dataclass(slots=True)
class World:
    """All running programs. Made by `running_world`."""

    terms: Terms
    postgres: EmbeddedPostgres
    evolution: Evolution
    model: Model
    wire: PlannedWire
    directory: Directory
    routers: list[RouterProcess]
    shops: list[Business]
    calls: list[PlannedCalls]
    tenant_ids: list[int]
    stalls: Stalls

    @property
    def urls(self) -> list[str]:
        """The routers' addresses."""
        return [router.url for router in self.routers]

    @property
    def dsn(self) -> str:
        """The database's address."""
        return self.postgres.dsn

    def heal(self) -> None:
        """End all planned faults."""
        self.wire.calm = True
        self.model.planned.calm = True
        for calls in self.calls:
            calls.calm, calls.hangs, calls.looks_fail = True, False, False
        for shop in self.shops:
            if shop.state != "open":
                shop.line.connects()

    def forget_what_is_over(self) -> None:
        """Drop the records that the loopback programs keep for tests and that are not used here."""
        with self.evolution.changes.lock:
            for shop in self.shops:
                shop.calls_made.clear()
                shop.webhooks.deliveries.clear()
        with self.model.changes.lock:
            self.model.requests.clear()

    async def database_answers(self) -> None:
        """Wait until PostgreSQL answers."""
        async with asyncio.timeout(120):
            while True:
                try:
                    connection = await asyncpg.connect(self.dsn, timeout=5)
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                    await asyncio.sleep(_LOOK)
                else:
                    await connection.close()
                    return

    def deadlocks(self) -> int:
        """Return how many deadlocks PostgreSQL has ended; the routers repeated those calls."""
        logs = self.postgres.folder.glob("server.log*")
        return sum(log.read_text(errors="replace").count("deadlock detected") for log in logs)

    def postmaster(self) -> psutil.Process:
        """Return PostgreSQL's first process."""
        pid = (self.postgres.folder / "cluster" / "postmaster.pid").read_text().splitlines()[0]
        return psutil.Process(int(pid))

    async def cut_connections(self, share: float) -> None:
        """End this share of PostgreSQL's connections, like a pooler or a network may do."""
        connection = await asyncpg.connect(self.dsn, timeout=5)
        try:
            await connection.execute(_CUT, share)
        finally:
            await connection.close()

    def guard(self) -> psutil.Process | None:
        """Return the supervisor, which would start PostgreSQL again at once."""
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if "router.embedded.supervisor" in child.cmdline():
                    return child
        return None

    def freeze_postgres(self) -> list[psutil.Process]:
        """SIGSTOP all processes of PostgreSQL, and return them, to be continued later."""
        server = self.postmaster()
        frozen = [server, *server.children(recursive=True)]
        for process in frozen:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP)
        return frozen


@asynccontextmanager
async def running_world(terms: Terms, tenants: int, *, flows: bool = False) -> AsyncIterator[World]:
    """Start everything, and stop it at the end. `flows`: n8n makes the replies."""
    with (
        _fleeting_folder() as folder,
        EmbeddedPostgres(folder / "postgres", settings=_POSTGRES) as postgres,
        _started(terms, postgres, tenants, flows=flows) as world,
    ):
        await migrate(world.dsn)
        await watch.install(world.dsn)
        for number, shop in enumerate(world.shops):
            world.tenant_ids.append(await _add_tenant(world, number, shop))
        for router in world.routers:
            router.start()
        for router in world.routers:
            await router.ready()
        yield world


@contextmanager
def _started(
    terms: Terms, postgres: EmbeddedPostgres, tenants: int, *, flows: bool
) -> Iterator[World]:
    directory, stalls = Directory(), Stalls()
    model = Model(directory, terms)
    with contextlib.ExitStack() as stack:
        stack.enter_context(model)
        flow = stack.enter_context(AnsweringFlow(model, terms)) if flows else None
        environment = terms.environment(
            postgres.dsn, model.base_url, None if flow is None else f"{flow.url}{PATH}"
        )
        routers = [RouterProcess(environment) for _ in range(2)]
        for router in routers:
            stack.callback(router.close)
        evolution = Evolution()
        wire = PlannedWire(
            directory,
            [router.url for router in routers],
            evolution.changes,
            retry_seconds=terms.retry_seconds,
        )
        evolution.wire = wire
        stack.enter_context(evolution)
        evolution.spawn(stalls.watch)
        shops = [evolution.instance(f"shop-{number}") for number in range(tenants)]
        calls = [PlannedCalls(shop, directory, terms) for shop in shops]
        for shop, planned in zip(shops, calls, strict=True):
            shop.faults, shop.tells_sends = planned, "never"  # the plan reports each send itself
            shop.tells_states = ("DELIVERY_ACK",)
            shop.sends_webhooks_to(
                f"/webhook/{shop.name}",  # the wire adds a router's address
                headers={"X-Webhook-Secret": terms.webhook_secret},
                events=_EVENTS,
            )
        yield World(
            terms, postgres, evolution, model, wire, directory, routers, shops, calls, [], stalls
        )


async def _add_tenant(world: World, number: int, shop: Business) -> int:
    values = {
        "instance_name": shop.name,
        "evo_server_url": world.evolution.url,
        "evo_api_key": shop.token,
        "system_prompt": f"You answer for shop-{number}.",
    }
    connection = await asyncpg.connect(world.dsn)
    try:
        answer = await connection.fetchval(
            "select public.create_tenant($1::jsonb)", json.dumps({"values": values})
        )
    finally:
        await connection.close()
    return int(json.loads(answer)["tenant"]["id"])


@contextmanager
def _fleeting_folder() -> Iterator[Path]:
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES
    above = _MEMORY if roomy else Path(tempfile.gettempdir())
    _remove_what_killed_runs_left(above)
    prefix = f"{_FOLDER}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=above) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _remove_what_killed_runs_left(above: Path) -> None:
    for left in above.glob(f"{_FOLDER}*"):
        pid = left.name.removeprefix(_FOLDER).split("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
