"""Runs beside n8n, and stops it when the program that started it has gone.

`python scripts/n8n/supervisor.py COMMAND…` starts the command in a process group of its own and
prints its pid. The program that started the supervisor holds the other end of its standard input.
When that end closes (the program stopped, crashed or was killed), the supervisor terminates the
group, and kills it after a while.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

_GRACE_SECONDS = 10.0


def main() -> int:
    """Supervise the command of sys.argv; return its exit code."""
    # Ctrl-C and a closed terminal also reach the program that started us, and we see it end.
    for name in ("SIGINT", "SIGHUP", "SIGQUIT"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    with (
        subprocess.Popen(  # noqa: S603 - the command comes from our own program
            sys.argv[1:],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            start_new_session=True,
            close_fds=False,  # n8n inherits what we inherited
        ) as supervised
    ):
        signal.signal(signal.SIGTERM, lambda *_: _stop(supervised))
        os.write(1, f"{supervised.pid}\n".encode())
        threading.Thread(target=_wait_for_end, args=(supervised,), daemon=True).start()
        code = supervised.wait()
        _signal(supervised, signal.SIGKILL)  # processes that it may have left in its group
        return code


def _wait_for_end(supervised: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 1024):
        pass
    _stop(supervised)


def _stop(supervised: "subprocess.Popen[bytes]") -> None:
    _signal(supervised, signal.SIGTERM)
    threading.Timer(_GRACE_SECONDS, _signal, (supervised, signal.SIGKILL)).start()


def _signal(supervised: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(supervised.pid, number)


if __name__ == "__main__":
    sys.exit(main())
