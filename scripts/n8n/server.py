"""n8n as a process of this machine: its database, its settings, its start and its end."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import asyncpg
import httpx

from router.embedded.ports import free_port
from router.n8n.flows import TURN_WEBHOOK
from scripts.n8n.installation import Installation
from scripts.n8n.leftover import note_processes, works_in

DATABASE = "n8n"
# By its path: where n8n works is not where this project can be imported from.
SUPERVISOR = (sys.executable, "-P", str(Path(__file__).resolve().with_name("supervisor.py")))
_LONGEST_END = 20_000  # bytes of the log that are read for its end
_READY_SECONDS = 180.0
_STOP_SECONDS = 25.0  # longer than the supervisor's grace

# Chosen by measurement (benchmarks/n8n.py): with n8n's own isolated expression engine a turn costs
# twice as much. The price is isolation between the builders' expressions, who are trusted here.
MEASURED: Mapping[str, str] = {"N8N_EXPRESSION_ENGINE": "legacy"}

# What n8n would fetch or report over the internet, and nobody here needs.
_QUIET = {
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
    "N8N_TEMPLATES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false",
    "N8N_HIRING_BANNER_ENABLED": "false",
}

# Executions hold what customers wrote: they go after three days.
_EXECUTIONS = {
    "EXECUTIONS_DATA_PRUNE": "true",
    "EXECUTIONS_DATA_MAX_AGE": "72",  # hours
    "EXECUTIONS_DATA_HARD_DELETE_BUFFER": "0",  # hours
}


class N8nDidNotStart(Exception):
    """n8n ended, or did not become ready; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class N8nHome:
    """What belongs to one n8n: its database, its folder, its key, its port, its own settings.

    A credential can be read only with the key that it was imported with. `extra` is what the
    configuration says of n8n's settings, and goes before what is chosen here.
    """

    database_url: str
    folder: Path
    encryption_key: str
    port: int = 5678
    settings: Mapping[str, str] = field(default_factory=lambda: MEASURED)
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """Where its editor and its webhooks are."""
        return f"http://127.0.0.1:{self.port}"

    def working_folder(self) -> Path:
        """Return the folder that n8n works in: it reads the `.env` of where it is started.

        The product's own is in the folder of the product, and full of keys.
        """
        folder = self.folder.absolute() / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def environment(self) -> dict[str, str]:
        """Return the variables that n8n and its commands run with."""
        return {
            **_QUIET,
            **self.settings,
            **_EXECUTIONS,
            "GENERIC_TIMEZONE": os.environ.get("TZ") or "UTC",  # its own default is New York
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_SECURE_COOKIE": "false",  # the editor is reached over http, on this machine only
            "WEBHOOK_URL": f"{self.url}/",
            **self.extra,
            **_database_variables(self.database_url),
            "N8N_USER_FOLDER": str(self.folder.absolute()),
            "N8N_ENCRYPTION_KEY": self.encryption_key,
            "N8N_PORT": str(self.port),
        }


async def open_home(
    database_url: str,
    folder: Path,
    port: int,
    extra: Mapping[str, str] | None = None,
    database: str = DATABASE,
) -> N8nHome:
    """Return n8n's home on the server of `database_url`; database, folder and key are made once.

    Raises asyncpg.PostgresError where the user may not create a database.
    """
    key = _keep_key(folder)
    await _make_database(database_url, database)
    own = urlunsplit(urlsplit(database_url)._replace(path=f"/{database}"))
    return N8nHome(own, folder, key, port, extra=extra or {})


class N8nServer:
    """`n8n start`, supervised: it ends with the program that started it, however that ends."""

    def __init__(self, installation: Installation, home: N8nHome) -> None:
        self._installation = installation
        self.home = home
        self.pid = 0
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Start it; see `ready`."""
        self._log = (self.home.folder / "n8n.log").open("ab")
        with works_in(self.home.folder) as handed:
            self._supervisor = subprocess.Popen(  # noqa: S603 - our own command line
                [*SUPERVISOR, *self._installation.command("start")],
                cwd=self.home.working_folder(),
                env=process_environment(
                    self._installation,
                    # Its own would be 5679, where another n8n of this machine may listen.
                    {**self.home.environment(), "N8N_RUNNERS_BROKER_PORT": str(free_port())},
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                pass_fds=handed,
            )
        assert self._supervisor.stdout is not None  # noqa: S101 - it is a pipe
        self.pid = int(self._supervisor.stdout.readline())
        note_processes(self.home.folder, self._supervisor.pid, self.pid)

    async def ready(self, within: float = _READY_SECONDS) -> None:
        """Return when it takes turns. Raises N8nDidNotStart."""
        url = f"{self.home.url}/webhook/{TURN_WEBHOOK}"
        try:
            async with asyncio.timeout(within), httpx.AsyncClient() as client:
                while not await _answers(client, url):
                    if self.has_ended():
                        raise N8nDidNotStart(f"n8n ended:\n{self.log_end()}")
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise N8nDidNotStart(
                f"n8n was not ready within {within:g} s:\n{self.log_end()}"
            ) from None

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._supervisor is None or self._supervisor.poll() is not None

    def stop(self) -> None:
        """End it, and return when it has ended. Does nothing if it runs no more."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None  # noqa: S101 - they are pipes
        assert supervisor.stdout is not None  # noqa: S101
        supervisor.stdin.close()
        supervisor.wait(_STOP_SECONDS)
        if supervisor.returncode < 0:  # it was killed itself, and left n8n behind
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        supervisor.stdout.close()
        if self._log is not None:
            self._log.close()

    def kill(self) -> None:
        """End it at once, as a crash would: kill -9 to all its processes."""
        os.killpg(self.pid, signal.SIGKILL)
        self.stop()

    def log_end(self) -> str:
        """Return the last lines that it wrote; of a long log only the end is read."""
        with (self.home.folder / "n8n.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LONGEST_END))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-20:])


def process_environment(installation: Installation, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process of n8n: nothing of this program's secrets gets there.

    Node keeps what it has compiled beside the installation: each command of n8n is a process that
    loads thousands of modules, and takes a quarter less of the CPU so.
    """
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    inherited["PATH"] = f"{installation.node.parent}{os.pathsep}{inherited.get('PATH', '')}"
    compiled = str(installation.folder.absolute() / "compiled")
    return {**inherited, "NODE_COMPILE_CACHE": compiled, **variables}


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    # Its readiness comes before its webhooks, which are unknown (404) until they are registered and
    # from then on closed (403) to a caller without the key.
    try:
        return (await client.post(url, timeout=5)).status_code == 403
    except httpx.TransportError:
        return False


def _keep_key(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "encryption.key"
    if not kept.exists():
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_hex(32))
    return kept.read_text().strip()


async def _make_database(database_url: str, database: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        exists = "select 1 from pg_database where datname = $1"
        if not await connection.fetchval(exists, database):
            await connection.execute(f"create database {database}")
    finally:
        await connection.close()


async def drop_database(database_url: str, database: str) -> None:
    """Drop an n8n's database, if it is there, even while it is in use."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"drop database if exists {database} with (force)")
    finally:
        await connection.close()


async def workflows_in(database_url: str) -> frozenset[str]:
    """Return the ids of the workflows in an n8n's database; none where n8n was never there."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("select id from workflow_entity")
    except asyncpg.UndefinedTableError:
        return frozenset()
    finally:
        await connection.close()
    return frozenset(str(row["id"]) for row in rows)


def _database_variables(database_url: str) -> dict[str, str]:
    parts = urlsplit(database_url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    secure = query.get("sslmode", "disable") not in ("disable", "allow", "prefer")
    return {
        "DB_TYPE": "postgresdb",
        "DB_POSTGRESDB_HOST": query.get("host") or parts.hostname or "localhost",
        "DB_POSTGRESDB_PORT": query.get("port") or str(parts.port or 5432),
        "DB_POSTGRESDB_DATABASE": parts.path.lstrip("/"),
        "DB_POSTGRESDB_USER": unquote(parts.username or ""),
        "DB_POSTGRESDB_PASSWORD": unquote(parts.password or ""),
        "DB_POSTGRESDB_SSL_ENABLED": "true" if secure else "false",
    }
