"""A load of prepared POSTs over keep-alive connections, cheap enough for two shared cores.

It runs as a process of its own (`python -m benchmarks.http_load`), so that it does not share an
interpreter with the server that it measures.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from urllib.parse import SplitResult, urlsplit

LOST = "lost"
_PATIENCE = 60.0  # seconds after which a missing answer counts as lost


@dataclass(frozen=True, slots=True)
class Load:
    """The result: how often each status was answered, or "lost"; times in milliseconds."""

    connections: int
    requests: int
    answers: dict[str, int]
    per_second: float
    p50: float
    p99: float

    @property
    def taken(self) -> int:
        """The number of answers with 200."""
        return self.answers.get("200", 0)

    def told(self) -> str:
        """Return the results of the other requests in words."""
        others = {answer: n for answer, n in sorted(self.answers.items()) if answer != "200"}
        ways = (
            f"got no answer ({n})" if answer == LOST else f"were answered with {answer} ({n})"
            for answer, n in others.items()
        )
        return ", ".join(ways) or "were not sent"


class Line:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> str:
        """Send a request; return the answer's status. Raises OSError and IncompleteReadError."""
        async with asyncio.timeout(_PATIENCE):
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            await self._reader.readexactly(_content_length(head))
        return head[9:12].decode("ascii")

    async def close(self) -> None:
        """Close it, whatever its state."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def webhook(number: int, contacts: int, instance: str) -> bytes:
    """Return a unique `messages.upsert` of Evolution, with a text."""
    return webhook_of(
        f"55119{number % contacts:08}", f"oi, qual o preço? ({number})", instance, number
    )


def webhook_of(phone: str, text: str, instance: str, number: int, *, ago: float = 0.0) -> bytes:
    """Return a `messages.upsert` with a text from `ago` seconds ago; `number` makes its id."""
    return json.dumps(
        {
            "event": "messages.upsert",
            "instance": instance,
            "data": {
                "key": {
                    "remoteJid": f"{phone}@s.whatsapp.net",
                    "fromMe": False,
                    "id": f"AC{time.time_ns():016X}{number:014X}",
                },
                "pushName": "Maria Cliente",
                "status": "DELIVERY_ACK",
                "message": {"conversation": text},
                "messageType": "conversation",
                "messageTimestamp": int(time.time() - ago),
                "instanceId": "d4ca7964-4f33-4e37-a3ba-3cbf39a979a2",
                "source": "android",
            },
            "destination": "http://127.0.0.1/webhook",
            "date_time": "2026-11-23T04:37:15.294Z",
            "sender": "5511888880001@s.whatsapp.net",
            "server_url": "http://127.0.0.1:8080",
            "apikey": "token",
        }
    ).encode()


async def run_load(
    url: str, header: str, connections: int, total: int, contacts: int, first: int = 0
) -> Load:
    """Send `total` webhooks to `url`, from number `first` on, each with this `header`.

    The result of each one, good or bad, is counted once, and then the next is sent.
    """
    target = urlsplit(url)
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n{header}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    instance = target.path.rsplit("/", 1)[-1]
    bodies = (webhook(number, contacts, instance) for number in range(first, first + total))
    requests = iter([head + str(len(body)).encode() + b"\r\n\r\n" + body for body in bodies])
    times: list[float] = []
    answers: Counter[str] = Counter()

    async def one_connection() -> None:
        line: Line | None = None
        for request in requests:
            began = time.perf_counter()
            try:
                if line is None:
                    line = await connect(target)
                answer = await line.ask(request)
            except (OSError, asyncio.IncompleteReadError):
                answer = LOST
                if line is not None:
                    await line.close()
                line = None
            # In one step: with an await in between, connections would overwrite each other's
            # counts.
            answers[answer] += 1
            times.append(1000 * (time.perf_counter() - began))
        if line is not None:
            await line.close()

    began = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(connections)))
    seconds = time.perf_counter() - began
    times.sort()
    return Load(
        connections=connections,
        requests=total,
        answers=dict(answers),
        per_second=total / seconds,
        p50=times[len(times) // 2],
        p99=times[int(len(times) * 0.99)],
    )


async def connect(target: SplitResult) -> Line:
    """Open a connection to the host of a URL."""
    return Line(*await asyncio.open_connection(target.hostname, target.port))


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":", 1)[1])
    return 0


def main() -> None:
    """Run one load and print it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_load", description=__doc__)
    parser.add_argument("url", help="the target; its last part is the instance")
    parser.add_argument(
        "--header", required=True, help='the header that authenticates, as "Name: value"'
    )
    parser.add_argument("--connections", type=int, default=1, help="at once (1)")
    parser.add_argument("--total", type=int, default=1000, help="webhooks (1000)")
    parser.add_argument("--contacts", type=int, default=500, help="contacts who write them (500)")
    parser.add_argument("--first", type=int, default=0, help="number of the first webhook (0)")
    given = parser.parse_args()
    load = asyncio.run(
        run_load(
            *(given.url, given.header, given.connections),
            *(given.total, given.contacts, given.first),
        )
    )
    json.dump(asdict(load), sys.stdout)


if __name__ == "__main__":
    main()
