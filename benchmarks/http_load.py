"""A load of prepared POSTs over keep-alive connections, cheap enough to share two cores.

Run as a process of its own (`python -m benchmarks.http_load`), so that it does not share an
interpreter with what it measures.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it; times in milliseconds."""

    connections: int
    requests: int
    failed: int
    per_second: float
    p50: float
    p99: float


def webhook(number: int, contacts: int, instance: str) -> bytes:
    """Return an Evolution `messages.upsert` of a text, unlike any other."""
    return json.dumps(
        {
            "event": "messages.upsert",
            "instance": instance,
            "data": {
                "key": {
                    "remoteJid": f"55119{number % contacts:08}@s.whatsapp.net",
                    "fromMe": False,
                    "id": f"AC{time.time_ns():016X}{number:014X}",
                },
                "pushName": "Maria Cliente",
                "status": "DELIVERY_ACK",
                "message": {"conversation": f"oi, qual o preço? ({number})"},
                "messageType": "conversation",
                "messageTimestamp": int(time.time()),
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


async def run_load(url: str, header: str, connections: int, total: int, contacts: int) -> Load:
    """Send `total` webhooks to `url`; failed are those not answered with 200.

    `header` goes with each: "Name: value".
    """
    target = urlsplit(url)
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n{header}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    instance = target.path.rsplit("/", 1)[-1]
    bodies = (webhook(number, contacts, instance) for number in range(total))
    requests = iter([head + str(len(body)).encode() + b"\r\n\r\n" + body for body in bodies])
    times: list[float] = []
    failed = 0

    async def one_connection() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        for request in requests:
            began = time.perf_counter()
            writer.write(request)
            failed += await _status(reader) != 200
            times.append(1000 * (time.perf_counter() - began))
        writer.close()
        await writer.wait_closed()

    began = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(connections)))
    seconds = time.perf_counter() - began
    times.sort()
    return Load(
        connections=connections,
        requests=total,
        failed=failed,
        per_second=total / seconds,
        p50=times[len(times) // 2],
        p99=times[int(len(times) * 0.99)],
    )


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(next(_content_length(head)))
    return int(head[9:12])


def _content_length(head: bytes) -> Iterator[int]:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            yield int(line.split(b":", 1)[1])


def main() -> None:
    """Run one load and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--header", required=True, help='what authenticates: "Name: value"')
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--total", type=int, default=1000)
    parser.add_argument("--contacts", type=int, default=500)
    given = parser.parse_args()
    load = asyncio.run(
        run_load(given.url, given.header, given.connections, given.total, given.contacts)
    )
    json.dump(asdict(load), sys.stdout)


if __name__ == "__main__":
    main()
