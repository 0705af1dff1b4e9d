"""Serves an ASGI application on 127.0.0.1, in a thread with an event loop of its own.

uvicorn does the HTTP. Starting and stopping are done here, because a loopback program must also cut
connections, hang, disappear in the middle of a call, and come back on its port.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

HOST = "127.0.0.1"
_NEVER = 86_400  # idle connections stay open: closing one would race with its next request

_FOREIGN = PlainTextResponse("/_control is for programs on this machine, not for pages\n", 403)

Scope = MutableMapping[str, Any]
Asgi = Callable[
    [Scope, Callable[[], Awaitable[Scope]], Callable[[Scope], Awaitable[None]]], Awaitable[None]
]


class _Connection(H11Protocol):
    """Gives the application its transport, as `scope["state"]["transport"]`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # asyncio does this only for sockets that were made with the protocol's number. Without it,
        # every answer waits 40 ms for the client's acknowledgement of its head.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class LoopbackServer:
    """Serves `app` from `start()` to `stop()`; may be started again, on the same port.

    Port 0 picks a free port at the first start. `stop` works like a killed process: all connections
    are cut, and all tasks are cancelled.
    """

    def __init__(self, app: Asgi, *, port: int = 0) -> None:
        self._app = app
        self.port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event
        self._spawned: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its URL, `http://127.0.0.1:port`, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the server is started."""
        return self._thread is not None

    def start(self) -> Self:
        """Start, and return when connections are accepted. Raises OSError if the port is taken."""
        if self._thread is not None:
            return self
        listener = socket.create_server((HOST, self.port), backlog=512)
        self.port = listener.getsockname()[1]
        ready = threading.Event()

        def run() -> None:
            try:
                asyncio.run(self._serve(listener, ready))
            finally:
                ready.set()

        name = f"{type(self).__name__} on {self.port}"
        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def stop(self) -> None:
        """Stop; return when the port is free, no connection is open and the thread has ended."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stop()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Run `work` in the server's event loop, from any thread. False: the server is stopped."""
        loop = self._loop
        if loop is None:
            return False

        def begin() -> None:
            task = loop.create_task(work())
            self._spawned.add(task)
            task.add_done_callback(self._spawned.discard)

        try:
            loop.call_soon_threadsafe(begin)
        except RuntimeError:  # it is just stopping
            return False
        return True

    async def opened(self) -> None:
        """Start what runs with the server, in its event loop. For subclasses."""

    async def closed(self) -> None:
        """Stop what `opened` started. For subclasses."""

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        state = ServerState()
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            timeout_keep_alive=_NEVER,
        )
        config.load()
        server = await self._loop.create_server(
            lambda: _Connection(config=config, server_state=state, app_state={}), sock=listener
        )
        await self.opened()
        ready.set()
        await self._stopping.wait()
        # A connection that is accepted at this moment gets its transport two passes of the loop
        # later. A closed server gives it none: asyncio leaves its socket open then (3.11, 3.12).
        self._loop.remove_reader(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
        for connection in tuple(state.connections):
            connection.transport.abort()
        await _end(self._spawned)
        await _end(state.tasks)
        await self.closed()
        await server.wait_closed()

    async def _answer(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Scope]],
        send: Callable[[Scope], Awaitable[None]],
    ) -> None:
        if scope["path"].startswith("/_control") and not _is_for_programs(scope):
            await _FOREIGN(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
        except ClientDisconnect:
            pass  # the client stopped, or timed out, before its body had arrived


def _is_for_programs(scope: Scope) -> bool:
    """Whether it is no browser: any site's page could call 127.0.0.1, also by another name."""
    headers = Headers(scope=scope)
    host = headers.get("host", "").partition(":")[0]
    is_browsers = "origin" in headers or "sec-fetch-site" in headers
    return host in (HOST, "localhost") and not is_browsers


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    ending = set(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
