"""The server process of a home: join or launch it, wait until it is ready, stop it."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from router.embedded.account import launch, run
from router.embedded.address import ONLY_TCP, Address
from router.embedded.binaries import Binaries
from router.embedded.errors import EmbeddedPostgresError
from router.embedded.home import Home, clear_socket_folder, socket_folder
from router.embedded.postmaster import LockFile, Postmaster

_READY_SECONDS = 300.0  # recovery after a crash may take long
_LOOK_SECONDS = 0.02
_STOP_SECONDS = 60.0  # for each way of stopping it
_LOG_BYTES = 2_000_000
# Messages of a server for which waiting, or another port, is enough.
_PREDECESSOR_LEAVES = "pre-existing shared memory block"
_PORT_TAKEN = "could not create any TCP/IP sockets"
_log = logging.getLogger(__name__)


class Server:
    """The PostgreSQL server of one home. One process at a time may bring it up or shut it down."""

    def __init__(
        self, home: Home, binaries: Binaries, *, listen_tcp: bool, settings: Mapping[str, str]
    ) -> None:
        self._home = home
        self._binaries = binaries
        self._tcp = listen_tcp or ONLY_TCP
        self._settings = settings
        self._address: Address | None = None
        self._postmaster: Postmaster | None = None

    @property
    def address(self) -> Address:
        """Where it listens. After `bring_up` has returned, this never changes."""
        if self._address is None:
            raise AssertionError("the server has not been brought up")
        return self._address

    def bring_up(self) -> None:
        """Launch the server, or join a running one. Returns when it answers."""
        if self._join():
            return
        self._refuse_if_unseen()
        self._remove_stale_locks()
        self._rotate_log()
        self._launch_until_ready()

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._postmaster is not None and self._postmaster.alive()

    def ended(self) -> str:
        """Return how the server's process ended."""
        return self._postmaster.ended() if self._postmaster else "was never there"

    def shut_down(self) -> None:
        """Stop the server by PostgreSQL's fast shutdown: open transactions are rolled back."""
        lock = LockFile.read(self._home.cluster)
        running = Postmaster.on_cluster(self._home.cluster, lock.pid) if lock else None
        if running is not None:
            self._stop(running)
        if self._address is not None:
            clear_socket_folder(self._address.sockets)

    def _stop(self, postmaster: Postmaster) -> None:
        if sys.platform == "win32":
            pg_ctl = self._binaries.program("pg_ctl")
            run([pg_ctl, "stop", "-m", "fast", "-D", self._home.cluster], self._home.account)
            return
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            postmaster.send(how)
            patience = time.monotonic() + _STOP_SECONDS
            while time.monotonic() < patience:
                if not postmaster.alive():
                    return
                time.sleep(_LOOK_SECONDS)
            _log.warning("PostgreSQL does not stop on %s", how.name)

    def _join(self) -> bool:
        """Use the server that runs on the cluster, if there is one; wait until it is ready."""
        deadline = time.monotonic() + _READY_SECONDS
        while lock := LockFile.read(self._home.cluster):
            postmaster = Postmaster.on_cluster(self._home.cluster, lock.pid)
            if postmaster is None:
                return False
            if lock.port and lock.ready:
                self._refuse_if_without_tcp(lock)
                address = Address(lock.socket_folder or self._home.sockets, lock.port, self._tcp)
                if address.answers(self._binaries.program("pg_isready")):
                    self._postmaster, self._address = postmaster, address
                    return True
            if time.monotonic() > deadline:
                raise self._silent(f"process {lock.pid} runs on it, but does not answer", "")
            time.sleep(_LOOK_SECONDS)
        return False

    def _refuse_if_without_tcp(self, lock: LockFile) -> None:
        if self._tcp and not lock.host:
            raise EmbeddedPostgresError(
                f"the data folder {self._home.folder}",
                "its server runs already, and does not listen on TCP as is asked here",
                "Stop the other program that uses it first",
            )

    def _refuse_if_unseen(self) -> None:
        """Refuse if a server answers whose process is not seen: two would destroy the cluster."""
        usual = Address(self._home.sockets, tcp=False)
        if not ONLY_TCP and usual.answers(self._binaries.program("pg_isready")):
            raise EmbeddedPostgresError(
                f"the data folder {self._home.folder}",
                "a server whose process cannot be seen from here uses it, perhaps in a container",
                "Stop that one, or give each its own HYBRIDFLOW_DATA",
            )

    def _remove_stale_locks(self) -> None:
        """Remove the lock files of a server that is gone; `_join` has checked the process in them.

        PostgreSQL itself would treat any process with that number as the server's predecessor.
        """
        lock = LockFile.read(self._home.cluster)
        known = self._address.sockets if self._address else None
        if lock and lock.socket_folder and lock.socket_folder != known:
            clear_socket_folder(lock.socket_folder)
        (self._home.cluster / "postmaster.pid").unlink(missing_ok=True)
        for left in (known or self._home.sockets).glob(".s.PGSQL.*"):
            left.unlink(missing_ok=True)

    def _rotate_log(self) -> None:
        if self._home.log.exists() and self._home.log.stat().st_size > _LOG_BYTES:
            self._home.log.replace(self._home.log.with_name("server.log.1"))

    def _launch_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        again = self._address is not None
        address = self._prepare_address()
        while True:
            said_before = self._home.log.stat().st_size if self._home.log.exists() else 0
            child = self._launch(address)
            self._postmaster = Postmaster.of_child(child)
            if self._ready(child, address, deadline):
                self._address = address
                return
            said = self._home.log.read_bytes()[said_before:].decode(errors="replace")
            if child.poll() is None or time.monotonic() > deadline:
                self._stop(self._postmaster)
                raise self._silent("the server does not become ready", said)
            if _PORT_TAKEN in said and not again:
                address = address.with_free_port()
            elif _PREDECESSOR_LEAVES not in said:
                raise self._silent(f"the server {self.ended()} while it started", said)
            time.sleep(_LOOK_SECONDS)

    def _prepare_address(self) -> Address:
        if self._address is None:
            new = Address(socket_folder(self._home), tcp=self._tcp)
            return new.with_free_port() if self._tcp else new
        if not self._address.sockets.exists():
            self._address.sockets.mkdir(mode=0o700)
            self._home.lend(self._address.sockets)
        return self._address

    def _launch(self, address: Address) -> "subprocess.Popen[bytes]":
        settings = {
            **address.settings(),
            "logging_collector": "off",
            "log_destination": "stderr",
            **self._settings,
        }
        options = [part for pair in settings.items() for part in ("-c", "=".join(pair))]
        postgres = self._binaries.program("postgres")
        descriptor = os.open(self._home.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            self._home.keep(self._home.log)
            return launch(
                [postgres, "-D", self._home.cluster, *options], self._home.account, output=log
            )

    def _ready(self, child: "subprocess.Popen[bytes]", address: Address, deadline: float) -> bool:
        """Wait until this process answers; False if it ends first, or if it takes too long."""
        while child.poll() is None and time.monotonic() < deadline:
            lock = LockFile.read(self._home.cluster)
            is_child = lock is not None and lock.pid == child.pid
            if is_child and address.answers(self._binaries.program("pg_isready")):
                return True
            time.sleep(_LOOK_SECONDS)
        return False

    def _silent(self, fault: str, said: str) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(
            f"PostgreSQL {self._binaries.version} on the data folder {self._home.folder}",
            fault,
            f"Its own words are in {self._home.log}; most often the disk is full",
            said,
        )
