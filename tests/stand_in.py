"""Stands where a `python` is expected, and has a fork do what it is asked for (`tests.forks`).

Like a `python -m MODULE`, from outside: files, signals, exit code. Only what needs the process id
of the program itself must ask in another way. Whatever is not to be forked is run by the Python
that runs this, which starts without `site`, and imports little: 20 ms, and pathlib doubles them.
"""

import os
import signal
import struct
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
from types import FrameType

_PASSED_ON = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
    signal.SIGCONT,
)


def stand_in(folder: str, arguments: list[str]) -> None:
    """Be the fork that the process behind this folder makes, as far as anybody sees."""
    module, *rest = arguments
    this = os.getpid()
    leads = os.getsid(0) == this
    line = socket(AF_UNIX, SOCK_SEQPACKET)
    line.connect(f"{folder}/door")
    environment = [f"{name}={value}" for name, value in os.environ.items()]
    asked = [
        *(module, f"{folder}/python", os.getcwd(), "leads" if leads else "", str(len(rest))),  # noqa: PTH109
        *(*rest, *environment),
    ]
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)  # until it is known to whom
    files = [(SOL_SOCKET, SCM_RIGHTS, struct.pack("3i", 0, 1, 2))]
    line.sendmsg([os.fsencode("\0".join(asked))], files)
    for file in range(3):
        os.close(file)
    word, number = _heard(line, "ended -9")
    if word == "begun":

        def pass_on(sent: int, _: FrameType | None) -> None:
            try:  # noqa: SIM105
                (os.killpg if leads else os.kill)(number, sent)
            except ProcessLookupError:
                pass  # it has ended, which is about to be told

        for each in _PASSED_ON:
            signal.signal(each, pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        _, code = _heard(line, "ended -9")
    else:
        code = number
    if code >= 0:
        os._exit(code)
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(this, -code)


def _heard(line: socket, otherwise: str) -> tuple[str, int]:
    try:
        said = line.recv(100).decode() or otherwise
    except ConnectionResetError:
        said = otherwise
    word, number = said.split()
    return word, int(number)


if __name__ == "__main__":
    _folder = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
    with open(f"{_folder}/forked") as _file:  # noqa: PTH123
        _forked = tuple(_file.read().split())
    if len(sys.argv) > 2 and sys.argv[1] == "-m" and sys.argv[2].startswith(_forked):
        stand_in(_folder, sys.argv[2:])
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
