"""Servers of a tenant that means harm: each does the same with every connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from loopback.connections import Talk, serving


@asynccontextmanager
async def server(answer: Talk) -> AsyncIterator[str]:
    """Serve `answer` on loopback, once the head of a request is there; give the address."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(reader, writer)

    async with serving(talk) as port:
        yield f"http://127.0.0.1:{port}"


def saying(head: bytes, body: bytes = b"", status: bytes = b"201 Created") -> Talk:
    """Return an answer as it is."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begin = b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n"
        writer.write(begin + head + b"\r\n\r\n" + body)
        await writer.drain()

    return answer


def repeating(body_of: Callable[[bytes], bytes], status: bytes = b"201 Created") -> Talk:
    """Return an answer that is made of the request's body, a JSON object."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = bytearray()
        while not asked.endswith(b"}"):
            piece = await reader.read(65536)
            asked += piece or b"}"
        body = body_of(bytes(asked))
        await saying(b"Content-Length: %d" % len(body), body, status)(reader, writer)

    return answer


def without_end(head: bytes, piece: bytes, pause: float = 0.0) -> Talk:
    """Return an answer whose last piece comes again and again."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing for as long as anybody listens."""
    await reader.read()
