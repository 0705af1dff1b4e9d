"""Routers forked from one process that has loaded the router: for tests that start many.

A router spends two seconds of CPU on loading its libraries. A test that kills routers and starts
them again is not about that, so `ForkedRouter` does it once for all tests of a run. Everything else
is as in a process of its own: configuration, log, signals, exit code. How a router is loaded and
how it ends are tested with `RouterProcess`.
"""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from loopback.routers import RouterProcess
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

    pid: int
    returncode: int | None = None
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


class _Forks:
    """The process that is forked, from outside; it ends with this one, and all forks with it."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
            )
        self._known: dict[int, _Fork] = {}
        self._begun: list[_Fork] = []
        self._has_begun = threading.Condition()
        self._one_by_one = threading.Lock()
        threading.Thread(target=self._hear, name="forked routers", daemon=True).start()

    def begin(self, arguments: list[str], env: Mapping[str, str], log: int) -> _Fork:
        """Fork a router that writes into the file `log`."""
        asked = json.dumps({"arguments": arguments, "env": dict(env)}).encode()
        with self._one_by_one, self._has_begun:
            socket.send_fds(self._line, [asked], [log])
            if not self._has_begun.wait_for(lambda: self._begun, _LOADING_SECONDS):
                raise RuntimeError("no router was forked")
            return self._begun.pop()

    def end(self) -> None:
        """End all."""
        self._line.shutdown(socket.SHUT_RDWR)
        self._process.wait(timeout=10)

    def _hear(self) -> None:
        while said := self._line.recv(_LONGEST):
            told = json.loads(said)
            with self._has_begun:
                if "begun" in told:
                    fork = self._known[told["begun"]] = _Fork(told["begun"])
                    self._begun.append(fork)
                    self._has_begun.notify_all()
                else:
                    fork = self._known.pop(told["ended"])
                    fork.returncode = told["code"]
                    fork.has_ended.set()


@functools.cache
def _forks() -> _Forks:
    forks = _Forks()
    atexit.register(forks.end)
    return forks
