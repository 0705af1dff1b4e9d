"""One real n8n for the whole test run, with the project's own workflows in it."""

import asyncio
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from loopback.connections import Connections
from router.embedded.ports import free_port
from scripts.n8n.installation import Installation, cache_folder, install
from scripts.n8n.library import WORKFLOWS, import_all
from scripts.n8n.server import N8nHome, N8nServer, open_home
from tests.n8n.flows import misbehaving
from tests.routers import CRON_SECRET

_BUSY = "select exists (select from execution_entity where status in ('new', 'running')"
_BUSY += ' and "deletedAt" is null)'
_UNREGISTERED = """
    select n.node ->> 'name' from workflow_entity w, json_array_elements(w.nodes) n(node)
    where w.active and n.node ->> 'type' = 'n8n-nodes-base.webhook'
        and not coalesce((n.node ->> 'disabled')::boolean, false)
        and not exists (
            select from webhook_entity e
            where e."workflowId" = w.id and e.node = n.node ->> 'name'
        )
"""
ENGINE = "HYBRIDFLOW_N8N_ENGINE"
"""The variable that names the expression engine of the n8n of all tests, if not that of `start`."""
_OF_PEOPLE = (
    *("breaking-changes", "chat-hub", "favorites", "insights", "instance-ai", "instance-registry"),
    *("instance-version-history", "ldap", "log-streaming", "mcp", "mcp-registry", "n8n-packages"),
    *("oauth-jwe", "oauth-server", "provisioning", "quick-connect", "source-control", "sso-oidc"),
    *("sso-saml", "token-exchange", "workflow-builder", "workflow-reviews"),
)
WITHOUT_EDITOR = {"N8N_DISABLE_UI": "true", "N8N_DISABLED_MODULES": ",".join(_OF_PEOPLE)}
"""Settings of an n8n that nobody looks at, with the modules that a flow may need alone.

It starts with a third less CPU, and each command takes a tenth less.
"""
WITHOUT_EDITOR_AS_EXTRA = {f"N8N_EXTRA_{name}": value for name, value in WITHOUT_EDITOR.items()}
"""The same for a program that starts n8n by itself."""
SHOP = "https://shop.example"
N8N_API_KEY = "what-n8n-and-the-router-share"


class Relay:
    """An address that stays, before a program that changes with each test.

    n8n's credentials name the LLM's address once; every test has an LLM of its own. Bytes pass as
    they are, so that whatever the LLM does to a connection reaches n8n.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._target: tuple[str, int] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections = Connections(self._connected)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def leads_to(self, url: str | None) -> None:
        """Connections lead there from now on; None: they are cut."""
        parts = urlsplit(url or "")
        self._target = (parts.hostname, parts.port) if parts.hostname and parts.port else None
        asyncio.run_coroutine_threadsafe(self._connections.cut(), self._loop).result()

    async def _serve(self) -> None:
        self._server = await asyncio.start_server(self._connections, sock=self._listener)

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self._target is None:
            return
        far, out = await asyncio.open_connection(*self._target)
        passing = [asyncio.create_task(_pass(a, b)) for a, b in ((near, out), (far, back))]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in passing:
                one.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            out.close()

    async def _end(self) -> None:
        self._server.close()
        await self._connections.end()


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()


@dataclass(frozen=True, slots=True)
class Relays:
    """Where n8n's credentials, the node "Router address" and the examples' shop lead."""

    anthropic: Relay
    openai: Relay
    router: Relay
    shop: Relay


class TestN8n:
    """The n8n of the tests: its server, and where its LLM nodes lead."""

    __test__ = False

    def __init__(self, installation: Installation, server: N8nServer, relays: Relays) -> None:
        self.installation = installation
        self.server = server
        self.anthropic = relays.anthropic
        self.openai = relays.openai
        self.router = relays.router
        self.shop = relays.shop

    def configuration(self, flow: str = "", **more: str) -> dict[str, str]:
        """What a router needs to give its turns to this n8n; `flow` is one of `tests.n8n.flows`.

        Those whose names begin with `answer` answer, as the standard one; the others send.
        """
        return {
            "N8N_ENABLED": "true",
            "N8N_WEBHOOK_URL": f"{self.server.home.url}/webhook/{flow}".rstrip("/"),
            "N8N_API_KEY": N8N_API_KEY,
            "N8N_CONTRACT": "gateway" if flow and not flow.startswith("answer") else "answer",
            "N8N_LEASE_SECONDS": "30",
            **more,
        }

    async def execution(self, execution_id: str) -> dict[str, Any]:
        """Return what n8n has kept of an execution: its status, and the data to search it by."""
        connection = await asyncpg.connect(self.server.home.database_url)
        try:
            row = await connection.fetchrow(
                'select status, "workflowId" as workflow_id from execution_entity where id = $1',
                int(execution_id),
            )
            found = await connection.fetch(
                'select key, value from execution_metadata where "executionId" = $1',
                int(execution_id),
            )
        finally:
            await connection.close()
        assert row is not None, f"n8n has not kept execution {execution_id}"
        return {**row, "custom_data": {each["key"]: each["value"] for each in found}}

    async def begun(self) -> int:
        """Return how many executions have ever begun."""
        connection = await asyncpg.connect(self.server.home.database_url)
        try:
            return int(await connection.fetchval("select last_value from execution_entity_id_seq"))
        finally:
            await connection.close()

    async def falls_silent(self) -> None:
        """Wait until no flow runs any more: one may still call a router that is about to stop."""
        connection = await asyncpg.connect(self.server.home.database_url)
        try:
            async with asyncio.timeout(60):
                while not self.server.has_ended() and await connection.fetchval(_BUSY):
                    await asyncio.sleep(0.05)
        finally:
            await connection.close()


Prepares: TypeAlias = Callable[[Installation, N8nHome, Path], None]
"""What is done before the workflows of a folder are imported."""


@contextmanager
def running_n8n(
    database_url: str,
    folder: Path,
    extra: Mapping[str, str] | None = None,
    prepares: Prepares | None = None,
    settings: Mapping[str, str] = WITHOUT_EDITOR,
) -> Iterator[TestN8n]:
    """Install n8n if need be, import the workflows, start it; it ends with the block.

    `extra` are its own settings, as N8N_EXTRA_* gives them; such a one has the whole database.
    `settings` are those of the tests.
    """
    installation = install(cache_folder(), print)
    with Relay() as anthropic, Relay() as openai, Relay() as router, Relay() as shop:
        relays = Relays(anthropic, openai, router, shop)
        home = _home(database_url, folder / "home", settings, extra)
        _lay_out(folder / "workflows", relays)
        if prepares is not None:
            prepares(installation, home, folder / "workflows")
        asyncio.run(_fill(installation, home, folder / "workflows", relays))
        server = N8nServer(installation, home)
        server.start()
        try:
            asyncio.run(_all_flows_ready(server))
            yield TestN8n(installation, server, relays)
        finally:
            server.stop()


async def _all_flows_ready(server: N8nServer) -> None:
    """Return when every flow takes turns: n8n registers their webhooks one after another.

    `ready` looks at the standard flow alone. One that n8n does not know yet answers 404, and the
    router's own handler would answer in its place.
    """
    await server.ready()
    connection = await asyncpg.connect(server.home.database_url)
    try:
        async with asyncio.timeout(60):
            while await connection.fetchval(_UNREGISTERED) is not None:
                assert not server.has_ended(), server.log_end()
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


def _home(
    database_url: str, folder: Path, settings: Mapping[str, str], extra: Mapping[str, str] | None
) -> N8nHome:
    if extra is None:
        engine = os.environ.get(ENGINE)
        chosen = {"N8N_EXPRESSION_ENGINE": engine} if engine else {}
        return asyncio.run(open_home(database_url, folder, free_port(), {**settings, **chosen}))
    folder.mkdir(parents=True)
    own = {**settings, **extra}
    return N8nHome(database_url, folder, "a-key-of-one-test", free_port(), extra=own)


def _lay_out(folder: Path, relays: Relays) -> None:
    shutil.copytree(WORKFLOWS, folder)
    tools = folder / "tools_example.json"
    tools.write_text(tools.read_text().replace(SHOP, relays.shop.url))
    (folder / "misbehaving.json").write_text(json.dumps(misbehaving()))


async def _fill(installation: Installation, home: N8nHome, folder: Path, relays: Relays) -> None:
    await import_all(
        installation,
        home,
        folder=folder,
        variables={
            "N8N_API_KEY": N8N_API_KEY,
            "CRON_SECRET": CRON_SECRET,
            "ANTHROPIC_API_KEY": "sk-ant-for-the-loopback",
            "ANTHROPIC_BASE_URL": relays.anthropic.url,
            "OPENAI_API_KEY": "sk-for-the-loopback",
            "OPENAI_BASE_URL": f"{relays.openai.url}/v1",
        },
        router_url=relays.router.url,
        # It asks a router that most tests lack, again and again for half a minute.
        drafts={"hybridflowAutoResume"},
    )
