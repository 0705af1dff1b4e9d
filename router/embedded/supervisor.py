"""The supervisor: a process beside each program that uses the embedded PostgreSQL.

The program holds the other end of the supervisor's standard input. It writes one line to it, and
nothing after that. When that end closes (the program stopped, crashed or was killed), the
supervisor exits; the last supervisor of a data folder also stops the server. While the program
runs, a server that ends is started again.

Two lock files in the data folder coordinate the supervisors. `turn.lock` is held while a server is
started or shut down. `users.lock` is shared by all supervisors while they run. The kernel releases
the locks of a process that is killed.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import fasteners  # type: ignore[import-untyped]

from router.embedded.binaries import Binaries, find_binaries
from router.embedded.cluster import make_cluster, read_password
from router.embedded.errors import EmbeddedPostgresError
from router.embedded.home import Home, make_data_folder, open_home
from router.embedded.server import Server

_LOOK_SECONDS = 0.1
_STEADY_SECONDS = 10.0  # a server that ran this long is not crashing in a loop
_LONGEST_PAUSE = 10.0
_log = logging.getLogger(__name__)


class Supervisor:
    """One program's share in the server of a data folder."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._asked = Path(order["folder"])
        self._turn = fasteners.InterProcessLock(self._asked / "turn.lock")
        self._users = fasteners.InterProcessReaderWriterLock(self._asked / "users.lock")
        self.home: Home
        self._binaries: Binaries
        self._server: Server

    def join(self) -> dict[str, Any]:
        """Bring the server up, or join the running one. Returns what the program must know."""
        make_data_folder(self._asked)
        with self._turn:
            self._users.acquire_read_lock()
            system_folder = Path(self._order["system_folder"])
            self.home = open_home(self._asked, system_folder)
            self.home.keep(self._asked / "turn.lock")
            self.home.keep(self._asked / "users.lock")
            self._binaries = find_binaries(self.home.account, system_folder)
            make_cluster(self.home, self._binaries)
            self._server = Server(
                self.home,
                self._binaries,
                listen_tcp=self._order["listen_tcp"],
                settings=self._order["settings"],
            )
            self._server.bring_up()
        return {
            "dsn": self._server.address.dsn(read_password(self.home)),
            "folder": str(self.home.folder),
            "bin_folder": str(self._binaries.folder),
        }

    def watch(self, gone: threading.Event, ending: threading.Event) -> None:
        """Start the server again each time it ends, until the program has gone.

        But not after this supervisor was told to end: then the machine, or the program's service,
        is being stopped, and the program is about to end.
        """
        pause, brought_up = 0.0, time.monotonic()
        while not gone.wait(_LOOK_SECONDS):
            if self._server.alive() or ending.is_set():
                continue
            pause = 0.0 if time.monotonic() - brought_up > _STEADY_SECONDS else pause * 2 + 0.1
            _log.warning("the server %s; starting it again", self._server.ended())
            if gone.wait(min(pause, _LONGEST_PAUSE)):
                return
            brought_up = time.monotonic()
            try:
                with self._turn:
                    self._server.bring_up()
            except (EmbeddedPostgresError, OSError) as error:
                _log.warning("it could not be started: %s", error)

    def leave(self) -> None:
        """Leave the server to the other programs that use it; stop it if there are none."""
        with self._turn:
            self._users.release_read_lock()
            if self._users.acquire_write_lock(blocking=False):
                self._server.shut_down()
                self._users.release_write_lock()


class _Notes(logging.Handler):
    """Collects log lines for the program, or writes them to the server's log."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[int, str]] = []
        self.log: Path | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.log is None:
            self.kept.append((record.levelno, record.getMessage()))
            return
        moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.created))
        with self.log.open("a") as file:
            file.write(f"{moment} [supervisor {os.getpid()}] {record.getMessage()}\n")


def main() -> int:
    """Read the order from stdin, answer on stdout, watch the server. Returns the exit code."""
    gone, ending = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    notes = _Notes()
    logging.basicConfig(level=logging.INFO, handlers=[notes])
    supervisor = Supervisor(json.loads(sys.stdin.buffer.readline()))
    try:
        answer = supervisor.join()
    except EmbeddedPostgresError as error:
        _answer({"error": error.as_json()})
        return 1
    _answer({**answer, "notes": notes.kept})
    notes.log = supervisor.home.log
    threading.Thread(target=_wait_for_end, args=(gone,), daemon=True).start()
    try:
        supervisor.watch(gone, ending)
        supervisor.leave()
    except Exception:  # nobody listens to this process any more: the log gets its last words
        _log.error("the supervisor failed: %s", traceback.format_exc())
        raise
    return 0


def _answer(answer: dict[str, Any]) -> None:
    """Write the one line that the program waits for, and close the pipe."""
    try:
        os.write(1, json.dumps(answer).encode() + b"\n")
    except BrokenPipeError:
        return  # the program has gone; the supervisor ends as well, at the end of its input
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _wait_for_end(gone: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    gone.set()


if __name__ == "__main__":
    sys.exit(main())
