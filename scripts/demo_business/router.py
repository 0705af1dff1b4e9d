"""The router of the demo business. `scripts.serve` starts it and tells it what to serve.

The first line of its standard input is the order, in JSON. When that input ends, the program that
started it is gone, and the router ends as well.
"""

import os
import signal
import socket
import sys
import threading
from typing import Any

import orjson

from router.app import create_app
from router.configuration.demo import Demo
from router.configuration.settings import load_settings
from router.serving.server import serve


def main() -> int:
    """Serve until stopped. Returns the exit code."""
    order: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())
    settings = load_settings()
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    with socket.socket(fileno=order["listener"]) as listener:
        return serve(create_app(settings, Demo(**order["demo"])), settings, listener)


def _end_with_the_starter() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
