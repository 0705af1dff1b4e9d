"""Programs forked from one process that has loaded their libraries: for tests that start many.

A router spends two seconds of CPU on loading its libraries. A test that kills routers and starts
them again is not about that, so it is done once for all tests of a run. Everything else is as in a
process of its own: configuration, files, signals, exit code. Only the hashes of texts are the same
in all forks of a run, and so is the order of a set of texts. How programs are loaded is tested with
real processes.

There are two ways to ask for a fork: `fork`, for what needs the process id of the program, and
`Forks.python`, a program to be called like a `python`, from whatever starts processes.
"""

import atexit
import functools
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from loopback.routers import RouterProcess, bare_environment
from tests import stand_in

_ROOT = Path(__file__).parent.parent
_LOADING_SECONDS = 120.0


class ForkedRouter(RouterProcess):
    """A router like any other, which starts in a tenth of the time."""

    def start(self) -> None:
        """Start it; `ready` waits until it serves."""
        arguments = ["--host", "127.0.0.1", "--port", str(self.port)]
        log = self._log.fileno()
        self._process = fork(
            *(forks().python, "router.serving", arguments),
            folder=_ROOT,
            environment=self._env,
            files=(0, log, log),
        )


class Fork:
    """A forked process, with what is needed of a `subprocess.Popen`; it is killed if let go."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        weakref.finalize(self, line.close)
        if not select.select([line], [], [], _LOADING_SECONDS)[0]:
            raise RuntimeError("nothing was forked")
        word, self.pid = _heard(line, 0)
        if word != "begun":
            raise RuntimeError("the process that forks has ended")

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        if not select.select([self._line], [], [], 0)[0]:
            return None
        _, code = _heard(self._line, socket.MSG_PEEK)  # it stays there, for whoever asks next
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and nobody has told us yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        select.select([self._line], [], [], timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return code


def fork(
    python: Path,
    module: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    files: tuple[int, int, int],
) -> Fork:
    """Have a module run as a fork of what stands behind `python`."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pairs = [f"{name}={value}" for name, value in environment.items()]
    asked = [module, str(python), str(folder), "", str(len(arguments)), *arguments, *pairs]
    with suppress(ConnectionError):  # then there is nothing to be heard, either
        line.connect(str(python.with_name("door")))
        socket.send_fds(line, [os.fsencode("\0".join(asked))], list(files))
    return Fork(line)


def _heard(line: socket.socket, flags: int) -> tuple[str, int]:
    said = b""
    with suppress(OSError):  # it has ended, and had not read all
        said = line.recv(100, flags)
    word, number = (said or b"ended -9").split()
    return word.decode(), int(number)


class Forks:
    """The process that is forked, from outside; it ends with this one, and all forks with it.

    `loads` are the modules that it loads. The names of those that `python` has run by a fork begin
    with one of `forked`; the rest is run by the real Python.
    """

    def __init__(self, loads: Sequence[str], forked: Sequence[str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="forks-"))
        self.python = self._folder / "python"
        self.python.write_text(f"#!{sys.executable} -IS\n{Path(stand_in.__file__).read_text()}")
        self.python.chmod(0o755)
        (self._folder / "forked").write_text("\n".join(forked))
        self._lifeline, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(str(self._folder / "door"))
            door.listen(128)
            kept = [each.fileno() for each in (theirs, door)]
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.forking", *map(str, kept)),
                    *(str(self._folder), *loads),
                ],
                pass_fds=kept,
                stdin=subprocess.DEVNULL,
                cwd=_ROOT,
                env=bare_environment(),  # the SDKs read theirs while they are loaded
            )

    def end(self) -> None:
        """End all."""
        self._lifeline.close()
        self._process.wait(timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache
def forks() -> Forks:
    """What has loaded all of the router, the doubles and the benchmarks."""
    benchmarks = [f"benchmarks.{file.stem}" for file in (_ROOT / "benchmarks").glob("[a-z]*.py")]
    return _begun(
        *("anthropic", "httpx2", "openai", "uvicorn", "router.app", "router.serving.server"),
        *("router.workers", "loopback.evolution", *benchmarks, "tests.benchmarks.forked_servers"),
        forked=("benchmarks.", "router.serving", "uvicorn"),
    )


@functools.cache
def libraries() -> Forks:
    """What has loaded libraries alone: commands come from the folder in which they are run."""
    return _begun(
        *("aiohttp", "asyncpg", "cryptography.hazmat.primitives.ciphers.aead", "fastapi"),
        *("cryptography.hazmat.primitives.kdf.hkdf", "holidays.countries", "httpx", "jwt"),
        *("limits.aio.strategies", "orjson", "psutil", "pydantic_settings", "re2", "segno"),
        forked=("scripts.",),
    )


def _begun(*loads: str, forked: Sequence[str]) -> Forks:
    begun = Forks(loads, forked)
    atexit.register(begun.end)
    return begun
