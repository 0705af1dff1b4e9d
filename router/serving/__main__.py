"""Serve the router: `python -m router.serving`, on all addresses of this machine and API_PORT.

It changes no schema and makes no secrets. `make run` does both.
"""

import argparse
import sys

from router.app import create_app
from router.configuration.settings import ConfigurationError, load_settings
from router.serving.server import CannotListen, listen, serve


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m router.serving", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on (0.0.0.0)")  # nosec B104  # noqa: S104 - Evolution must reach it
    parser.add_argument("--port", type=int, help="instead of API_PORT")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        with listen(given.host, given.port or settings.api_port) as listener:
            return serve(create_app(settings), settings, listener)
    except (CannotListen, ConfigurationError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
