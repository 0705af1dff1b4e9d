"""Routers forked from one process that has loaded the router: for tests that start many.

A router spends two seconds of CPU on loading its libraries. A test that kills routers and starts
them again is not about that, so `ForkedRouter` does it once for all tests of a run. Everything else
is as in a process of its own: configuration, log, signals, exit code. Only the hashes of texts are
the same in all routers of a run, and so is the order of a set of texts. How a router is loaded and
how it ends are tested with `RouterProcess`.
"""

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from loopback.routers import RouterProcess, bare_environment
from tests.routers import ROOT

_LONGEST = 1 << 20  # bytes of one message
_LOADING_SECONDS = 120.0


class ForkedRouter(RouterProcess):
    """A router like any other, which starts in a tenth of the time."""

    def start(self) -> None:
        """Start it; `ready` waits until it serves."""
        arguments = ["--host", "127.0.0.1", "--port", str(self.port)]
        self._process = _forks().begin(arguments, self._env, self._log.fileno())


@dataclass
class _Fork:
    """A forked process, with what `RouterProcess` uses of `subprocess.Popen`."""

    pid: int = 0
    returncode: int | None = None
    has_begun: threading.Event = field(default_factory=threading.Event)
    has_ended: threading.Event = field(default_factory=threading.Event)

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and nobody has told us yet
                os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        if not self.has_ended.wait(timeout) or self.returncode is None:
            raise subprocess.TimeoutExpired("a forked router", timeout)
        return self.returncode

    def begins(self, pid: int) -> None:
        self.pid = pid
        self.has_begun.set()

    def ends(self, code: int) -> None:
        self.returncode = code
        self.has_begun.set()
        self.has_ended.set()


class _Forks:
    """The process that is forked, from outside; it ends with this one, and all forks with it."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env=bare_environment(),  # the SDKs read theirs while they are loaded
            )
        self._asked: deque[_Fork] = deque()  # they begin in this order
        self._known: dict[int, _Fork] = {}
        self._one_by_one = threading.Lock()
        threading.Thread(target=self._hear, name="forked routers", daemon=True).start()

    def begin(self, arguments: list[str], env: Mapping[str, str], log: int) -> _Fork:
        """Fork a router that writes into the file `log`."""
        asked = json.dumps({"arguments": arguments, "env": dict(env)}).encode()
        fork = _Fork()
        with self._one_by_one:
            self._asked.append(fork)
            try:
                socket.send_fds(self._line, [asked], [log])
            except (BrokenPipeError, ConnectionResetError):
                fork.ends(-signal.SIGKILL)
        if not fork.has_begun.wait(_LOADING_SECONDS):
            raise RuntimeError("no router was forked")
        if not fork.pid:
            raise RuntimeError("the process that forks routers has ended")
        return fork

    def end(self) -> None:
        """End all."""
        self._line.shutdown(socket.SHUT_RDWR)
        self._process.wait(timeout=10)

    def _hear(self) -> None:
        with suppress(ConnectionResetError):  # the process has ended, and had not read all
            while said := self._line.recv(_LONGEST):
                told = json.loads(said)
                if "begun" in told:
                    fork = self._known[told["begun"]] = self._asked.popleft()
                    fork.begins(told["begun"])
                else:
                    self._known.pop(told["ended"]).ends(told["code"])
        for fork in (*self._known.values(), *self._asked):
            fork.ends(-signal.SIGKILL)


@functools.cache
def _forks() -> _Forks:
    forks = _Forks()
    atexit.register(forks.end)
    return forks
