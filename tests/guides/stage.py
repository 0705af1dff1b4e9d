"""What a reader of the guides has before them: a checkout, a database, Evolution, a router."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

from loopback.evolution import Business, Evolution
from loopback.receiver import WebhookReceiver
from router.embedded.ports import free_port
from router.state.database import Database
from router.state.direct import DirectDatabase
from scripts.n8n.installation import cache_folder
from scripts.operators import as_script
from tests.clients import patient
from tests.forks import libraries
from tests.guides.commands import ROOT
from tests.routers import (
    API_KEY,
    CRON_SECRET,
    WEBHOOK_SECRET,
    environment,
    running_router,
)
from tests.state.conversation import Conversation

TENANTS = ("my-instance", "demo-instance")
N8N_API_KEY = "what-n8n-and-the-router-share"
# What is compiled is copied, too, so that no command compiles it again; not what just is written.
_NOT_COPIED = (
    *(".git", ".venv", ".env", ".hybridflow", ".*_cache", ".hypothesis", "*.pyc.*"),
    *("node_modules", "tests"),
)
_PATIENCE = 200.0


async def fill(database_url: str) -> None:
    """What readers have by the time that they read on: tenants, a conversation, keys, secrets."""
    database = await DirectDatabase.connect(database_url, size=1)
    for name in TENANTS:
        talk = Conversation(database, name)
        await talk.open_shop()
        await talk.maria_writes("oi", ago=24 * 3600)  # nobody answers it any more
    await talk.sql(  # the guides' example of a turn
        "insert into turns (id, tenant_id, session_id, state, reason, run_after, debounce_until,"
        " finished_at) overriding system value"
        " select 42, tenant_id, id, 'cancelled', 'takeover', now(), now(), now() from sessions"
        " where tenant_id = 1"
    )
    await _make_keys(as_script(database))
    await database.close()


async def _make_keys(database: Database) -> None:
    for number in range(3):
        key = {"name": f"key {number}", "role": "viewer", "tenant_ids": [1], "expires_at": None}
        secret: dict[str, object] = {"ends_with": f"000{number}", "created_by": "a guide"}
        secret |= {"retire_others_after_hours": None}
        hashed = f"{number:064x}"
        key |= {"key_hash": hashed, "starts_with": f"hfk_0000000{number}"}
        await database.call("create_api_key", key)
        await database.call("add_webhook_secret", {"tenant_id": 1, "secret_hash": hashed} | secret)


async def _hand_over(database_url: str, evolution: Evolution) -> None:
    """Have the tenants' instances in this Evolution."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "update tenants set evo_server_url = $1, evo_api_key = 'token-of-' || instance_name",
        evolution.url,
    )
    await connection.close()


def copy_of_the_project(folder: Path) -> Path:
    """A checkout of the reader's own, so that nothing that a command writes is left in this one."""
    copy = folder / "hybridflow"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    _make_venv(copy / ".venv")
    (copy / "prompt.txt").write_text("Seja gentil.\n", encoding="utf-8")
    (copy / "facts.txt").write_text("Um bolo custa 45 reais.\n", encoding="utf-8")
    hours = '{"weekly": {"mon": ["09:00-18:00"]}, "holidays": "BR-SP"}'
    (copy / "hours.json").write_text(hours, encoding="utf-8")
    return copy


def _make_venv(folder: Path) -> None:
    """What is installed here, in a folder of the copy's own: make finds nothing to do in it."""
    folder.mkdir()
    for there in Path(sys.prefix).iterdir():
        if there.suffix != ".done":
            (folder / there.name).symlink_to(there)
    for name in ("run.done", "dev.done"):
        (folder / name).touch()


@dataclass(slots=True)
class Stage:
    """A reader's world. `variables` are what the shell has."""

    folder: Path
    evolution: Evolution
    n8n: WebhookReceiver
    router_url: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def shop(self) -> Business:
        return self.evolution.instance("my-instance")

    async def a_turn_is_given_to_n8n(self) -> None:
        """Maria writes, and the variables have what the flow is told of the gateway."""
        self.shop.sends_webhooks_to(
            f"{self.router_url}/webhook/my-instance",
            headers={"X-Webhook-Secret": WEBHOOK_SECRET},
            events=("MESSAGES_UPSERT",),
        )
        self.shop.customer("5511955550001", name="Maria").writes("oi, tem bolo?")
        payload = (await self.n8n.gets())[0].body
        self.variables |= {"GATEWAY": payload["urls"]["gateway"], "TOKEN": payload["token"]}

    async def runs(self, command: str, within: float = _PATIENCE) -> "Done":
        """Run a command as a shell does, to its end, without a terminal."""
        process = await self._start(command)
        try:
            async with asyncio.timeout(within):
                out, err = await process.communicate(b"a-key-that-is-typed\n")
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise AssertionError(f"it never ends: {command}") from None
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def serves(self, command: str) -> None:
        """Run a command that serves, until it does."""
        port = free_port()
        self.variables["PORT"] = str(port)
        process = await self._start(f"exec {command}")
        reading = asyncio.create_task(process.communicate())
        try:
            async with patient() as client, asyncio.timeout(_PATIENCE):
                while not await _answers(client, f"http://127.0.0.1:{port}/health/live"):
                    if reading.done():
                        raise AssertionError(f"it ended: {command}\n{reading.result()}")
                    await asyncio.sleep(0.05)
        finally:
            if process.returncode is None:
                process.terminate()
            await reading

    async def _start(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_shell(
            command,
            cwd=self.folder,
            env=self.variables,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # nor does it find the terminal of who runs the tests
        )


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def stage(
    database_url: str, programs: Path, folder: Path, *, with_router: bool, is_filled: bool
) -> AsyncIterator[Stage]:
    """A stage on this database. `programs` is where psql and pg_dump are."""
    async with AsyncExitStack() as stack:
        evolution = stack.enter_context(Evolution())
        n8n = stack.enter_context(WebhookReceiver())
        if is_filled:
            for name in TENANTS:
                evolution.instance(name)
            await _hand_over(database_url, evolution)
        configuration = _configuration(database_url, evolution, n8n)
        router_url = f"http://127.0.0.1:{free_port()}"
        if with_router:
            public = {"PUBLIC_URL": "https://router.example"}
            router_url = await stack.enter_async_context(running_router(configuration | public))
        made = Stage(copy_of_the_project(folder), evolution, n8n, router_url)
        made.variables = configuration | _shell(programs, folder) | {"PUBLIC_URL": router_url}
        yield made


def _configuration(database_url: str, evolution: Evolution, n8n: WebhookReceiver) -> dict[str, str]:
    return environment(
        database_url,
        ANTHROPIC_BASE_URL="http://127.0.0.1:1",
        EVOLUTION_API_KEY=evolution.key,
        EVOLUTION_SERVERS=evolution.url,
        SECRETS_KEY="0123456789abcdef" * 4,
        N8N_ENABLED="true",
        N8N_CONTRACT="gateway",
        N8N_WEBHOOK_URL=f"{n8n.url}/webhook",
        N8N_API_KEY=N8N_API_KEY,
    )


def _shell(programs: Path, folder: Path) -> dict[str, str]:
    """What the shell has, beside the configuration."""
    home = folder / "home"
    home.mkdir()
    # What the guides leave to the eye: an answer that is no success fails the command.
    (home / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nnoproxy = *\n")
    # `python -m scripts.NAME` is forked with libraries loaded; `.venv/bin/python` is the real one.
    path = (
        *(str(libraries().python.parent), str(Path(sys.prefix) / "bin"), str(programs)),
        os.environ["PATH"],
    )
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(cache_folder().parent),
        "LANG": "C.UTF-8",
        "EDITOR": "true",
        "KEY": API_KEY,
    }


def in_this_world(text: str, stage: Stage) -> str:
    """What the guide says, with this stage's own in the places of its examples."""
    host = stage.router_url.removeprefix("http://")
    for example, own in (
        # Inside of a container is what stands here anyway.
        ("docker compose exec router ", ""),
        ("docker compose run --rm --no-deps -T migrate ", ""),
        ('"X-API-Key: …"', f'"X-API-Key: {API_KEY}"'),
        ('"X-Cron-Secret: …"', f'"X-Cron-Secret: {CRON_SECRET}"'),
        ('"X-Webhook-Secret": "…"', f'"X-Webhook-Secret": "{WEBHOOK_SECRET}"'),
        ('--prompt "…"', '--prompt "Be kind."'),
        ("--server https://…", f"--server {stage.evolution.url}"),
        ("https://your-app.up.railway.app", stage.router_url),
        ("https://where-evolution-reaches-the-router", stage.router_url),
        ("https://router.example", stage.router_url),
        ("localhost:8000", host),
        ("https://your-evolution-api.com", stage.evolution.url),
        ("https://evolution.example", stage.evolution.url),
        ("http://evolution:8080", stage.evolution.url),
        ("http://127.0.0.1:8080", stage.evolution.url),
        ("YOUR_EVOLUTION_KEY", stage.evolution.key),
        ("--key EVOLUTION_KEY", f"--key {stage.evolution.key}"),
        ("--host 0.0.0.0", "--host 127.0.0.1"),
    ):
        text = text.replace(example, own)
    return text
