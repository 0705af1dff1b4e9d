"""A proxy before n8n that waits for an answer no longer than it likes, and then says so itself."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

# What nginx 1.22.1 answers when proxy_read_timeout is over, byte for byte.
_PAGE = (
    b"<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body>\r\n"
    b"<center><h1>504 Gateway Time-out</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
_CUT = (
    b"HTTP/1.1 504 Gateway Time-out\r\nServer: nginx/1.22.1\r\nContent-Type: text/html\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(_PAGE)
)


class CuttingProxy:
    """Passes on to `url` what comes, and cuts after `seconds` in which nothing was answered."""

    def __init__(self, url: str, seconds: float) -> None:
        self._to = urlsplit(url)
        self._seconds = seconds
        self.cut = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1")
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        near, out = await asyncio.open_connection(self._to.hostname, self._to.port)
        asking = asyncio.create_task(_copy(reader, out))  # it ends when who asks has gone
        answering = asyncio.create_task(_copy(near, back, begun := asyncio.Event()))
        try:
            both = (asking, answering)
            await asyncio.wait(both, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if begun.is_set():
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            elif not asking.done() and not answering.done():
                self.cut += 1
                back.write(_CUT + _PAGE)
        finally:
            asking.cancel()
            answering.cancel()
            out.close()
            back.close()


async def _copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, begun: asyncio.Event | None = None
) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            if begun is not None:
                begun.set()
            sink.write(data)
            await sink.drain()
