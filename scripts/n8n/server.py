"""n8n as a process on this machine: its database, settings, start and stop."""

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
from router.n8n.addresses import TURN_WEBHOOK
from scripts.n8n.installation import Installation
from scripts.n8n.leftover import note_processes, works_in

DATABASE = "n8n"
# By its path, because the project cannot be imported from n8n's working folder.
SUPERVISOR = (sys.executable, "-P", str(Path(__file__).resolve().with_name("supervisor.py")))
_LONGEST_END = 20_000  # bytes at the end of the log that are read
_READY_SECONDS = 180.0
_STOP_SECONDS = 25.0  # longer than the supervisor's grace period

# Chosen by measurement (benchmarks/n8n.py): with n8n's isolated expression engine a turn costs
# twice as much. Without it, builders' expressions are not isolated from each other; builders are
# trusted here.
MEASURED: Mapping[str, str] = {"N8N_EXPRESSION_ENGINE": "legacy"}

# Turned off: what n8n would fetch or report over the internet, which is not needed here.
_QUIET = {
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
    "N8N_TEMPLATES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false",
    "N8N_HIRING_BANNER_ENABLED": "false",
}

# Executions contain customers' messages, so they are deleted after three days.
_EXECUTIONS = {
    "EXECUTIONS_DATA_PRUNE": "true",
    "EXECUTIONS_DATA_MAX_AGE": "72",  # hours
    "EXECUTIONS_DATA_HARD_DELETE_BUFFER": "0",  # hours
}


class N8nDidNotStart(Exception):
    """n8n ended, or did not become ready. The text contains the end of its log."""


@dataclass(frozen=True, slots=True)
class N8nHome:
    """The parts of one n8n: its database, its folder, its key, its port, its settings.

    A credential can be read only with the key with which it was imported. `extra` contains the
    configured settings of n8n, which win over the values here.
    """

    database_url: str
    folder: Path
    encryption_key: str
    port: int = 5678
    settings: Mapping[str, str] = field(default_factory=lambda: MEASURED)
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """The URL of its editor and its webhooks."""
        return f"http://127.0.0.1:{self.port}"

    def working_folder(self) -> Path:
        """Return n8n's working folder: n8n reads the `.env` in the folder in which it is started.

        HybridFlow's own `.env` is in the project's folder, and contains many keys.
        """
        folder = self.folder.absolute() / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def environment(self) -> dict[str, str]:
        """Return the environment variables for n8n and its commands."""
        return {
            **_QUIET,
            **self.settings,
            **_EXECUTIONS,
            "GENERIC_TIMEZONE": os.environ.get("TZ") or "UTC",  # n8n's own default is New York
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_SECURE_COOKIE": "false",  # the editor uses plain http, only on this machine
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
    """Return n8n's home on the server of `database_url`; make database, folder and key if missing.

    Raises asyncpg.PostgresError if the user may not create a database.
    """
    key = _keep_key(folder)
    await _make_database(database_url, database)
    own = urlunsplit(urlsplit(database_url)._replace(path=f"/{database}"))
    return N8nHome(own, folder, key, port, extra=extra or {})


class N8nServer:
    """`n8n start` with a supervisor: it ends when the program that started it ends in any way."""

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
                    # The default is 5679, where another n8n on this machine may listen.
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
        """Wait until n8n accepts turns. Raises N8nDidNotStart."""
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
        """Whether n8n has ended."""
        return self._supervisor is None or self._supervisor.poll() is not None

    def stop(self) -> None:
        """Stop n8n, and wait until it has ended. Does nothing if it has ended already."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None  # noqa: S101 - they are pipes
        assert supervisor.stdout is not None  # noqa: S101
        supervisor.stdin.close()
        supervisor.wait(_STOP_SECONDS)
        if supervisor.returncode < 0:  # the supervisor was killed, and n8n may still run
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        supervisor.stdout.close()
        if self._log is not None:
            self._log.close()

    def kill(self) -> None:
        """Kill all its processes with kill -9, like a crash."""
        os.killpg(self.pid, signal.SIGKILL)
        self.stop()

    def log_end(self) -> str:
        """Return the last lines of the log; only the end of a long log is read."""
        with (self.home.folder / "n8n.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LONGEST_END))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-20:])


def process_environment(installation: Installation, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process of n8n, without this program's secrets.

    Node caches compiled code beside the installation. Each command of n8n is a process that loads
    thousands of modules; with the cache it takes a quarter less CPU.
    """
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    inherited["PATH"] = f"{installation.node.parent}{os.pathsep}{inherited.get('PATH', '')}"
    compiled = str(installation.folder.absolute() / "compiled")
    return {**inherited, "NODE_COMPILE_CACHE": compiled, **variables}


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    # n8n says that it is ready before its webhooks are. They answer 404 until they are registered,
    # and then 403 to a caller without the key.
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
    """Drop an n8n's database, if it exists, even if somebody is connected to it."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"drop database if exists {database} with (force)")
    finally:
        await connection.close()


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
