"""The cost of the limits on connections: the same webhooks, served in three ways, in one run.

`plain` is unchanged uvicorn (httptools, no limits), `router` is `python -m router.serving`, and
`h11` is uvicorn with h11, which has its own limit on heads. Each gets the same load in turn,
several times, and the best result of each counts, because other programs use the machine as well.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.costs import psql
from benchmarks.http_load import Load
from benchmarks.ingest import SECRET, configuration
from benchmarks.serving import PLAIN, load, serving
from router.embedded.ports import free_port
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

_WAYS: dict[str, Sequence[str]] = {
    "plain": (*PLAIN, "router.main:app"),
    "router": ("router.serving",),
    "h11": (*PLAIN, "router.main:app", "--http", "h11"),
}


def main() -> None:
    """Measure and print. Exits with a message and 1 if anything was refused or lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each load (2000)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds, of which the best counts (5)"
    )
    parser.add_argument("--connections", type=int, default=20, help="at once (20)")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridflow-bench-")))
        folder.chmod(0o755)
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        asyncio.run(migrate(postgres.dsn))
        psql(
            postgres,
            "insert into tenants (instance_name, evo_server_url, debounce_seconds)"
            " values ('bench', 'http://127.0.0.1:1', 600)",
        )
        best: dict[str, Load] = {}
        urls = {
            name: stack.enter_context(serving(way, configuration(postgres), free_port()))
            for name, way in _WAYS.items()
        }
        for number in range(given.rounds + 1):  # the first one warms up
            for name, url in urls.items():
                done = load(
                    f"{url}/webhook/bench",
                    f"X-Webhook-Secret: {SECRET}",
                    connections=given.connections,
                    total=given.requests,
                )
                if number and done.per_second > (best[name].per_second if name in best else 0):
                    best[name] = done
    print(f"{'way':>10}{'webhooks':>12}{'taken':>10}{'per second':>14}{'of plain':>12}")
    for name, done in best.items():
        ratio = done.per_second / best["plain"].per_second
        print(
            f"{name:>10}{done.requests:>12}{done.taken:>10}{done.per_second:>14.0f}{ratio:>12.2f}"
        )


if __name__ == "__main__":
    main()
