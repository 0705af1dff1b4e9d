"""`python -m loopback.evolution --port 8080`: the loopback Evolution as a process of its own."""

import argparse

from loopback.evolution.program import GLOBAL_KEY, Evolution
from loopback.serving import serve


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m loopback.evolution", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): a free port")
    parser.add_argument("--key", default=GLOBAL_KEY, help="the global key (header apikey)")
    parser.add_argument("--instance", action="append", default=[], help="an instance to start with")
    given = parser.parse_args()
    evolution = Evolution(port=given.port, key=given.key, delay_scale=1.0)
    for name in given.instance:
        evolution.instance(name)
    return serve(evolution)


if __name__ == "__main__":
    raise SystemExit(main())
