"""Which process serves a cluster. A PID file alone is not trusted: the process itself is checked.

A PID file may name a process that is gone, a zombie, or another program that has this number now.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class LockFile:
    """What a server wrote to `postmaster.pid` (PostgreSQL's pidfile.h describes the lines)."""

    pid: int
    port: int | None
    socket_folder: Path | None
    host: str
    ready: bool

    @classmethod
    def read(cls, cluster: Path) -> Self | None:
        """Return the content of the file; None if it is missing or cannot be read."""
        try:
            lines = (cluster / "postmaster.pid").read_text(errors="replace").splitlines()
            pid = abs(int(lines[0]))  # negative: a single-user server
        except (OSError, ValueError, IndexError):
            return None
        port, folder, host, _, status = (line.strip() for line in [*lines, *[""] * 8][3:8])
        return cls(
            pid=pid,
            port=int(port) if port.isdecimal() else None,
            socket_folder=Path(folder) if folder else None,
            host=host,
            ready=status == "ready",
        )


class Postmaster:
    """A running server process; it may be a child of this process or not."""

    def __init__(self, process: psutil.Process, child: "subprocess.Popen[bytes] | None") -> None:
        self._process = process
        self._child = child

    @classmethod
    def of_child(cls, child: "subprocess.Popen[bytes]") -> Self:
        """Return the server that was just launched."""
        return cls(psutil.Process(child.pid), child)

    @classmethod
    def on_cluster(cls, cluster: Path, pid: int) -> Self | None:
        """Return the process `pid` if it runs and is a PostgreSQL server on `cluster`."""
        try:
            process = psutil.Process(pid)
            found = cls(process, None)
            return found if found.alive() and _works_in(process, cluster) else None
        except psutil.Error:
            return None

    @property
    def pid(self) -> int:
        """The number of the process."""
        return int(self._process.pid)

    def alive(self) -> bool:
        """Whether it still runs: not gone, not a zombie, not another process with its number."""
        if self._child is not None:
            return self._child.poll() is None
        try:
            running = self._process.is_running()
            return bool(running and self._process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def ended(self) -> str:
        """Return how it ended, as far as that is known."""
        code = self._child.returncode if self._child is not None else None
        return "ended" if code is None else f"ended with code {code}"

    def send(self, signal: int) -> None:
        """Send a signal, if it still runs."""
        try:
            self._process.send_signal(signal)
        except psutil.Error:
            return


def _works_in(process: psutil.Process, cluster: Path) -> bool:
    """Whether it is a PostgreSQL server: its working directory is its cluster (ChangeToDataDir)."""
    if not process.name().lower().startswith("postgres"):
        return False
    try:
        return cluster.samefile(process.cwd())
    except (psutil.AccessDenied, OSError):
        return str(cluster) in process.cmdline()
