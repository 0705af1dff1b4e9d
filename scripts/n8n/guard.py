"""Stands beside n8n and stops it when the program that wanted it has gone.

`python -m scripts.n8n.guard COMMAND…` starts the command in a process group of its own and prints
its pid. The one who started the guard holds the other end of its standard input: when that closes
(stopped, crashed, killed), the guard asks the group to end and, after a while, kills it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

_GRACE_SECONDS = 10.0


def main() -> int:
    """Guard the command of sys.argv; return its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the one who started us, too
    with (
        subprocess.Popen(  # noqa: S603 - the command is the starter's own
            sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
        ) as guarded
    ):
        signal.signal(signal.SIGTERM, lambda *_: _stop(guarded))
        os.write(1, f"{guarded.pid}\n".encode())
        threading.Thread(target=_wait_for_end, args=(guarded,), daemon=True).start()
        code = guarded.wait()
        _signal(guarded, signal.SIGKILL)  # what it may have left in its group
        return code


def _wait_for_end(guarded: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 1024):
        pass
    _stop(guarded)


def _stop(guarded: "subprocess.Popen[bytes]") -> None:
    _signal(guarded, signal.SIGTERM)
    threading.Timer(_GRACE_SECONDS, _signal, (guarded, signal.SIGKILL)).start()


def _signal(guarded: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(guarded.pid, number)


if __name__ == "__main__":
    sys.exit(main())
