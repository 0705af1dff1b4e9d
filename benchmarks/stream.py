"""How soon followers see a change: `python -m benchmarks.stream`.

Some browsers follow one tenant of one router (`GET /api/stream`), while webhooks come in that each
change something there. The measured time is from before a webhook is posted until a follower gets
the event of its conversation, for every follower. The followers are a process of their own. The
output has these times, and the CPU and memory of the router and of PostgreSQL. If a follower misses
a change, or a stream is cut, the benchmark exits with a message and 1.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.costs import memory, psql, spent
from benchmarks.http_load import connect, webhook_of
from benchmarks.ingest import SECRET, configuration
from benchmarks.serving import ROOT, serving_process
from router.embedded.ports import free_port
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

_OF_A_KEY = 100  # the most streams per key
_OPENING = 20  # at once
_QUIET = 3.0  # seconds without an event after which no more events are expected
_TENANT = (
    "insert into tenants (instance_name, evo_server_url, debounce_seconds)"
    " values ('bench', 'http://127.0.0.1:1', 600)"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What all followers have seen: how many changes, of how many; times in milliseconds."""

    followers: int
    changes: int
    seen: int
    cut: int
    p50: float
    p99: float
    worst: float
    seconds: float
    cpu: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--followers", type=int, default=1000, help="who look (1000)")
    parser.add_argument("--rate", type=int, default=100, help="changes per second (100)")
    parser.add_argument("--seconds", type=int, default=20, help="seconds (20)")
    parser.add_argument("--follow", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.follow is None:
        _measure(given)
        return
    seen = asyncio.run(_follow(given.follow, given.followers, given.rate, given.seconds))
    json.dump(asdict(seen), sys.stdout)


def _measure(given: argparse.Namespace) -> None:
    with _router(given.followers) as (url, pid, postgres):
        began = spent([pid], postgres, "postgres")
        command = [
            *(sys.executable, "-m", "benchmarks.stream", "--follow", url),
            *("--followers", str(given.followers), "--rate", str(given.rate)),
            *("--seconds", str(given.seconds)),
        ]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"the followers' process ended with {done.returncode}")
        seen = Seen(**json.loads(done.stdout))
        cost, held = spent([pid], postgres, "postgres").since(began), memory(pid)
        recorded = int(psql(postgres, "select count(*) from messages"))
    _report(seen, cost.routers / seen.seconds, cost.postgres / seen.seconds, held)
    if seen.cut or seen.seen != seen.changes * seen.followers or recorded != seen.changes:
        raise SystemExit(
            f"{seen.followers} followers of {recorded} changes were to see each; they saw"
            f" {seen.seen} in all, and {seen.cut} were cut off"
        )


@contextmanager
def _router(followers: int) -> Iterator[tuple[str, int, EmbeddedPostgres]]:
    with tempfile.TemporaryDirectory(prefix="hybridflow-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with EmbeddedPostgres(folder / "postgres", listen_tcp=True) as postgres:
            asyncio.run(migrate(postgres.dsn))
            psql(postgres, _TENANT)
            wanted = configuration(postgres) | {"API_KEYS": _keys(followers)}
            with serving_process(("router.serving",), wanted, free_port()) as (url, pid):
                yield url, pid, postgres


def _keys(followers: int) -> str:
    return ",".join(f"{_name(each)}:{_key(each)}" for each in range(0, followers, _OF_A_KEY))


def _name(follower: int) -> str:
    return f"bench-{follower // _OF_A_KEY}"


def _key(follower: int) -> str:
    return f"a-key-of-the-benchmark-{follower // _OF_A_KEY:05}"


class Watch:
    """When each conversation's webhook was posted, and how long after that each event came.

    All followers of a router get the same bytes, so each piece is parsed once, and counts for all.
    """

    def __init__(self) -> None:
        self.posted: list[float] = []
        self.times = array("d")
        self.seen = 0
        self.last_at = 0.0
        self._known: dict[bytes, tuple[int, ...]] = {}

    def take(self, event: bytes) -> None:
        """Count an event that a follower got."""
        sessions = self._known.get(event)
        if sessions is None:
            sessions = self._known[event] = _sessions_in(event)
        now = time.perf_counter()
        for session in sessions:
            self.times.append(now - self.posted[session - 1])
        self.seen += len(sessions)
        self.last_at = now


def _sessions_in(event: bytes) -> tuple[int, ...]:
    """Return the conversations whose first message an event reports."""
    if b'"kind":"message"' not in event:
        return ()
    line = next(line for line in event.split(b"\n") if line.startswith(b"data: "))
    return (int(json.loads(line[6:])["session_id"]),)


async def _follow(url: str, followers: int, rate: int, seconds: int) -> Seen:
    watch, ready = Watch(), asyncio.Semaphore(0)
    streams = []
    for number in range(followers):
        streams.append(asyncio.create_task(_stream(url, number, watch, ready)))
        if number >= _OPENING:
            await ready.acquire()
    for _ in range(min(followers, _OPENING)):
        await ready.acquire()
    began, used = time.perf_counter(), time.process_time()
    await _post(url, rate, seconds, watch)
    wanted = len(watch.posted) * followers
    while watch.seen < wanted and time.perf_counter() - max(watch.last_at, began) < _QUIET:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    lasted, spent_here = time.perf_counter() - began, time.process_time() - used
    cut = sum(each.done() for each in streams)
    for each in streams:
        each.cancel()
    times = sorted(watch.times) or [0.0]
    return Seen(
        followers=followers,
        changes=len(watch.posted),
        seen=watch.seen,
        cut=cut,
        p50=1000 * times[len(times) // 2],
        p99=1000 * times[int(len(times) * 0.99)],
        worst=1000 * times[-1],
        seconds=lasted,
        cpu=spent_here / lasted,
    )


async def _stream(url: str, follower: int, watch: Watch, ready: asyncio.Semaphore) -> None:
    """Follow until it is cut off."""
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    writer.write(
        f"GET /api/stream?tenant_id=1 HTTP/1.1\r\nHost: {target.netloc}\r\n"
        f"X-API-Key: {_key(follower)}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"a stream was answered with {head[9:12].decode()}")
    await reader.readuntil(b"event: ready")
    ready.release()
    try:
        while True:
            watch.take(await reader.readuntil(b"\n\n"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return


async def _post(url: str, rate: int, seconds: int, watch: Watch) -> None:
    """Post a webhook of a new contact at each tick, each after the one before is done."""
    target = urlsplit(url)
    line = await connect(target)
    head = (
        f"POST /webhook/bench HTTP/1.1\r\nHost: {target.netloc}\r\nX-Webhook-Secret: {SECRET}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    began = time.perf_counter()
    for number in range(rate * seconds):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        body = webhook_of(f"55119{number:08}", f"oi ({number})", "bench", number)
        watch.posted.append(time.perf_counter())
        answer = await line.ask(head + str(len(body)).encode() + b"\r\n\r\n" + body)
        if answer != "200":
            raise SystemExit(f"a webhook was answered with {answer}")
    await line.close()


def _report(seen: Seen, router: float, postgres: float, held: float) -> None:
    cells: Mapping[str, str] = {
        "followers": f"{seen.followers}",
        "changes": f"{seen.changes}",
        "seen": f"{seen.seen}",
        "a_second": f"{seen.changes / seen.seconds:.0f}",
        "p50_ms": f"{seen.p50:.0f}",
        "p99_ms": f"{seen.p99:.0f}",
        "worst_ms": f"{seen.worst:.0f}",
        "router_cpu": f"{100 * router:.0f}%",
        "pg_cpu": f"{100 * postgres:.0f}%",
        "followers_cpu": f"{100 * seen.cpu:.0f}%",
        "router_mb": f"{held:.0f}",
    }
    print("".join(f"{name:>14}" for name in cells))
    print("".join(f"{cell:>14}" for cell in cells.values()))


if __name__ == "__main__":
    main()
