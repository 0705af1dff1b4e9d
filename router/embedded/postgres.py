"""An embedded PostgreSQL that runs while a program needs it."""

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from router.embedded.errors import EmbeddedPostgresError
from router.embedded.home import SYSTEM_FOLDER

_PROJECT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 240.0  # longer than the supervisor itself waits for the server
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    supervisor: "subprocess.Popen[bytes]"
    complaints: IO[bytes]
    facts: dict[str, Any]


class EmbeddedPostgres:
    """A PostgreSQL server on a data folder, shared by all programs that name the same folder.

        with EmbeddedPostgres(Path(".hybridflow/postgres")) as postgres:
            connection = await asyncpg.connect(postgres.dsn)

    - The first program starts the server, later ones join it, and the last one to leave stops it,
      even if that program is killed. Nothing is left running, and every committed row is there at
      the next start. A server that crashes or is killed is started again within a second.
    - It listens on a Unix socket that only this user (and root) can reach, and needs a password; on
      Windows, or with `listen_tcp`, it also listens on a free port of 127.0.0.1.
    - If the program runs as root, the server runs as the owner of its data, at first `nobody`. If
      that user cannot reach the data folder, because a folder above it is closed (such as /root),
      the data is in a folder below `system_folder`; the file `moved-to` in the data folder and the
      log say where. PostgreSQL's programs are copied there too if that user cannot reach the venv.
      The permissions of the folders above are never changed.
    - `settings` are PostgreSQL settings for this start, such as {"fsync": "off"} for a test.

    Every failure is an EmbeddedPostgresError, which says what to do.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        listen_tcp: bool = False,
        settings: Mapping[str, str] | None = None,
        system_folder: Path = SYSTEM_FOLDER,
    ) -> None:
        self._order = {
            "folder": str(data_folder.absolute()),
            "listen_tcp": listen_tcp,
            "settings": dict(settings or {}),
            "system_folder": str(system_folder.absolute()),
        }
        self._running: _Running | None = None
        self._abandoned = False

    @property
    def dsn(self) -> str:
        """The URL of the database `postgres`, with the password, for asyncpg and libpq."""
        return str(self._facts()["dsn"])

    @property
    def folder(self) -> Path:
        """The folder that contains the data; as root, it may be another one (see the class)."""
        return Path(self._facts()["folder"])

    @property
    def bin_folder(self) -> Path:
        """The folder of the server's programs; it also has psql, pg_dump and pgbench."""
        return Path(self._facts()["bin_folder"])

    def start(self) -> None:
        """Start the server, and return when it answers. Does nothing if it is started already."""
        if self._running is not None:
            return
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the supervisor
        supervisor = _spawn_supervisor(complaints)
        try:
            facts = _asked(supervisor, self._order, complaints)
        except BaseException:
            _dismiss(supervisor, complaints)
            raise
        if self._abandoned:
            _dismiss(supervisor, complaints)
            return
        self._running = _Running(supervisor, complaints, facts)
        for level, text in facts["notes"]:
            _log.log(level, "%s", text)

    def stop(self) -> None:
        """Leave the server; it stops if no other program uses it. Does nothing if not started."""
        if self._running is not None:
            running, self._running = self._running, None
            _dismiss(running.supervisor, running.complaints)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self._abandoned = False
        try:
            await asyncio.to_thread(self.start)
        except asyncio.CancelledError:
            self._abandoned = (
                True  # the thread cannot be stopped; it dismisses the supervisor itself
            )
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _facts(self) -> dict[str, Any]:
        if self._running is None:
            raise EmbeddedPostgresError(
                f"the PostgreSQL on {self._order['folder']}", "it is not started", "Start it first"
            )
        return self._running.facts


def _spawn_supervisor(complaints: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start the supervisor in its own session, so that the program's Ctrl-C does not reach it."""
    return subprocess.Popen(
        [sys.executable, "-m", "router.embedded.supervisor"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        cwd=_PROJECT,
        env={**os.environ, "PYTHONSAFEPATH": ""},
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _asked(
    supervisor: "subprocess.Popen[bytes]", order: Mapping[str, object], complaints: IO[bytes]
) -> dict[str, Any]:
    """Give the supervisor its order and return its answer."""
    if supervisor.stdin is None or supervisor.stdout is None:
        raise AssertionError("the supervisor is always started with pipes")
    with contextlib.suppress(BrokenPipeError):  # it has ended already; its output is read below
        supervisor.stdin.write(json.dumps(order).encode() + b"\n")
        supervisor.stdin.flush()
    if line := supervisor.stdout.readline():
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EmbeddedPostgresError(**answer["error"])
        return answer
    complaints.seek(0)
    raise EmbeddedPostgresError(
        "the supervisor of the embedded PostgreSQL",
        f"it ended with code {supervisor.wait()} before the server was ready",
        "Its own words are below",
        complaints.read().decode(errors="replace"),
    )


def _dismiss(supervisor: "subprocess.Popen[bytes]", complaints: IO[bytes]) -> None:
    """Tell the supervisor that the program leaves, and wait until the supervisor has ended."""
    try:
        for pipe in (supervisor.stdin, supervisor.stdout):
            if pipe is not None:
                pipe.close()
        supervisor.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _log.error(
            "the embedded PostgreSQL does not stop; its supervisor is process %d", supervisor.pid
        )
    finally:
        complaints.close()
