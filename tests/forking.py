"""The process that `tests.forked_routers` forks: `python -m tests.forking SOCKET`.

It has loaded the router and runs nothing: no thread, no event loop, since neither survives a fork.
It ends when nobody asks any more, and all forks end with it, however it ends.
"""

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress

import anthropic
import openai

from router.serving.__main__ import main

__all__ = ["anthropic", "openai"]  # loaded here, so that no fork has to

_LONGEST = 1 << 20  # bytes of one message
_TELL_WHEN_PARENT_DIES = 1  # PR_SET_PDEATHSIG


def serve(line: socket.socket) -> None:
    """Fork a router for each message, and tell of each that begins or ends, until nobody asks.

    Returns in the forks only by SystemExit.
    """
    woken, wakes = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests', who end this
    this = os.getpid()
    while True:
        ready, _, _ = select.select([line.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ended(line)
        if line.fileno() not in ready:
            continue
        said, files, _, _ = socket.recv_fds(line, _LONGEST, 1)
        if not said:
            return
        (log,) = files
        if (pid := os.fork()) == 0:
            _end_with(this)
            line.close()
            os.close(woken)
            _become_router(json.loads(said), log)
        os.close(log)
        _tell(line, {"begun": pid})


def _tell_ended(line: socket.socket) -> None:
    with suppress(ChildProcessError):  # there are no others
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            pid, status = ended
            _tell(line, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _tell(line: socket.socket, message: dict[str, int]) -> None:
    with suppress(BrokenPipeError):  # who asked was killed: the next look at the line ends this
        line.send(json.dumps(message).encode())


def _end_with(parent: int) -> None:
    """Be killed when the parent ends, also by kill -9."""
    ctypes.CDLL(None).prctl(_TELL_WHEN_PARENT_DIES, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os.kill(os.getpid(), signal.SIGKILL)


def _become_router(asked: dict[str, object], log: int) -> None:
    """Be as a process that was just started: signals, files, environment. Raises SystemExit."""
    wakes = signal.set_wakeup_fd(-1)
    os.close(wakes)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    environment, arguments = asked["env"], asked["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.exit(main(arguments))


if __name__ == "__main__":
    gc.collect()
    gc.freeze()  # else each fork would copy all it looks at
    with suppress(ConnectionResetError):  # who asked was killed, and had not read all
        serve(socket.socket(fileno=int(sys.argv[1])))
