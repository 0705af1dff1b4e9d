"""The process that `tests.forks` forks: `python -m tests.forking LIFELINE DOOR FOLDER MODULE…`.

It has loaded each MODULE and runs nothing: no thread, no event loop, since neither survives a
fork. It ends when nobody holds the other end of LIFELINE any more, and all forks end with it,
however it ends. Who connects to DOOR asks for one fork, and is told when it begins and ends; if
they end first, it is killed.
"""

import atexit
import ctypes
import gc
import importlib
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

_LONGEST = 1 << 20  # bytes of one message
_TELL_WHEN_PARENT_DIES = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True)
class _Asked:
    """A program that is asked for. `python` is what it takes for its interpreter."""

    module: str
    python: str
    folder: str
    leads: bool
    arguments: Sequence[str]
    environment: Sequence[str]

    @classmethod
    def read(cls, said: bytes) -> "_Asked":
        module, python, folder, leads, number, *rest = os.fsdecode(said).split("\0")
        split = int(number)
        return cls(module, python, folder, leads == "leads", rest[:split], rest[split:])


@dataclass(slots=True)
class _Forking:
    """Everything that a fork must not keep."""

    lifeline: socket.socket
    door: socket.socket
    woken: int
    wakes: int
    lines: dict[int, socket.socket] = field(default_factory=dict)
    """Who asked, by the number of the file."""
    forks: dict[int, tuple[socket.socket, bool]] = field(default_factory=dict)
    """By process id: who asked for it, and whether it leads a session."""

    def serve(self) -> None:
        """Fork for all who ask, until the lifeline ends. In the forks: raises SystemExit."""
        this = os.getpid()
        while True:
            listened = [self.lifeline.fileno(), self.door.fileno(), self.woken, *self.lines]
            ready, _, _ = select.select(listened, [], [])
            if self.lifeline.fileno() in ready:
                return
            if self.woken in ready:
                os.read(self.woken, 4096)
                self._tell_ended()
            if self.door.fileno() in ready:
                line, _ = self.door.accept()
                self.lines[line.fileno()] = line
            for number in ready:
                if number in self.lines and (fork := self._hear(self.lines[number], this)):
                    _become(*fork)

    def _hear(self, line: socket.socket, this: int) -> tuple[_Asked, list[int]] | None:
        """Take what was asked, or that who asked is gone. Returns what was asked in the fork."""
        said, files = b"", []
        with suppress(ConnectionResetError):
            said, files, _, _ = socket.recv_fds(line, _LONGEST, 3)
        if not said:
            self._hung_up(line)
            return None
        asked = _Asked.read(said)
        stands, is_ready = os.pipe()
        if (pid := os.fork()) == 0:
            _end_with(this)
            self._leave()
            if asked.leads:
                os.setsid()
            os.close(stands)
            os.close(is_ready)
            return asked, files
        for each in (*files, is_ready):
            os.close(each)
        os.read(stands, 1)  # until it is one that signals can be sent to, also as a group
        os.close(stands)
        self.forks[pid] = (line, asked.leads)
        _tell(line, f"begun {pid}")
        return None

    def _hung_up(self, line: socket.socket) -> None:
        for pid, (asker, leads) in self.forks.items():
            if asker is line:
                with suppress(ProcessLookupError):
                    (os.killpg if leads else os.kill)(pid, signal.SIGKILL)
        del self.lines[line.fileno()]
        line.close()

    def _tell_ended(self) -> None:
        with suppress(ChildProcessError):  # there are no others
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = ended
                line, _ = self.forks.pop(pid)
                if line.fileno() in self.lines:
                    _tell(line, f"ended {os.waitstatus_to_exitcode(status)}")
                    del self.lines[line.fileno()]
                    line.close()

    def _leave(self) -> None:
        """Keep no file and no signal of the process that was forked."""
        signal.set_wakeup_fd(-1)
        os.close(self.wakes)
        os.close(self.woken)
        for each in (self.lifeline, self.door, *self.lines.values()):
            each.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _tell(line: socket.socket, message: str) -> None:
    with suppress(BrokenPipeError):  # who asked is gone: the next look at the line says so
        line.send(message.encode())


def _end_with(parent: int) -> None:
    """Be killed when the parent ends, also by kill -9."""
    ctypes.CDLL(None).prctl(_TELL_WHEN_PARENT_DIES, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os.kill(os.getpid(), signal.SIGKILL)


def _become(asked: _Asked, files: list[int]) -> None:
    """Be as a process that was just started. Raises SystemExit, or what the program raises."""
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.chdir(asked.folder)
    os.environ.clear()
    for name, _, value in (each.partition("=") for each in asked.environment):
        os.environ[name] = value
    time.tzset()
    tempfile.tempdir = None  # it depends on the environment
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.executable = asked.python
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [asked.folder, *filter(None, given)]
    sys.argv = [asked.module, *asked.arguments]
    if not hasattr(sys.modules.get(asked.module), "__path__"):
        sys.modules.pop(asked.module, None)  # it runs as __main__, whoever has imported it
    try:
        runpy.run_module(asked.module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        _codes.append(ended.code or 0)
        raise
    _codes.append(0)
    sys.exit()


_codes: list[int] = []
"""How this fork ends, if Python has nothing to say of it."""


def _end_at_once() -> None:
    """End as the last thing that is done at exit.

    Else all that was ever loaded is taken apart, and each fork copies it for that: 0.1 s.
    """
    if _codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_codes[0] & 0xFF)


def _main(lifeline: str, door: str, folder: str, *modules: str) -> None:
    atexit.register(_end_at_once)  # before all others, so that it comes after them
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests', who end this
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # else each fork would copy all it looks at
    opened, listening = (socket.socket(fileno=int(each)) for each in (lifeline, door))
    _Forking(opened, listening, woken, wakes).serve()
    shutil.rmtree(folder, ignore_errors=True)  # whoever asked may have been killed


if __name__ == "__main__":
    _main(*sys.argv[1:])
