"""Runs a loopback program as a process of its own."""

import signal
import sys

from loopback.server import LoopbackServer


def serve(program: LoopbackServer) -> int:
    """Serve until SIGINT or SIGTERM; the first line on stdout is the program's address."""
    signals = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with program:
        sys.stdout.write(f"{program.url}\n")
        sys.stdout.flush()
        signal.sigwait(signals)
    return 0
