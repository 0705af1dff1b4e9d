"""`python -m benchmarks.faults --seed 1 --conversations 10000`: play, judge, print.

The exit code is 1 if any promise was broken. `--only N` plays one conversation of the seed again,
`--times` times (the interleaving differs each time). `--write` writes the numbers to the guide.
"""

import argparse
import asyncio
import logging
import sys

from benchmarks.faults.play import Order, play
from benchmarks.faults.report import text_of, write_table


def main() -> int:
    """Play a run. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--conversations", type=int, default=500)
    parser.add_argument("--tenants", type=int, default=24)
    parser.add_argument("--at-once", type=int, default=200, help="conversations at the same time")
    parser.add_argument("--per-second", type=float, default=10, help="how many begin per second")
    parser.add_argument("--only", type=int, help="the number of one conversation, to play it again")
    parser.add_argument("--times", type=int, default=1, help="with --only: how often")
    parser.add_argument("--flows", action="store_true", help="n8n is asked for the replies")
    parser.add_argument("--no-disasters", action="store_true", help="let nothing die or stop")
    parser.add_argument(
        "--beyond",
        action="store_true",
        help="also sends that take longer than SEND_TIMEOUT + SEND_SETTLE_SECONDS",
    )
    parser.add_argument("--write", action="store_true", help="write the table into the guide")
    parser.add_argument("--stories", type=int, default=12, help="how many to print")
    parser.add_argument("--logs", action="store_true", help="print what the routers wrote")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("benchmarks.faults").setLevel(logging.INFO)
    order = Order(
        seed=given.seed,
        conversations=given.conversations,
        tenants=given.tenants,
        at_once=given.at_once,
        per_second=given.per_second,
        beyond=given.beyond,
        flows=given.flows,
        disasters=not given.no_disasters,
        only=given.only,
        times=given.times,
    )
    outcome = asyncio.run(play(order))
    if given.logs:
        print("\n".join(outcome.router_logs))
    print(text_of(outcome, stories=given.stories))
    if given.write:
        write_table(outcome)
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
