"""The server with which `make run`, the Procfile, the image and the tests serve the router."""

import os
import socket
from contextlib import suppress
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from router.configuration.settings import Settings
from router.feed.opening import Streams
from router.http.callers import Callers
from router.http.services import find
from router.logs.setup import configure_logging
from router.running.lasting import lasting
from router.running.stopping import REQUESTS_GRACE
from router.serving.bounds import Bounds
from router.serving.connection import Connection
from router.serving.door import Door
from router.sharing.connections import connections_for, open_files

_BACKLOG = 2048
_DID_NOT_START = 3  # uvicorn's exit code for it


class CannotListen(Exception):
    """The port is not available. The text says why, and the fix."""


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else starts, so that early callers wait and are not refused.

    Raises CannotListen.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol's number: without it asyncio leaves Nagle's delay on, 40 ms for every
    # answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows it would let two programs have the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(
            f"cannot listen on port {port} ({error.strerror}): stop what uses it, or set API_PORT"
            " (PORT, where it is set, wins over it)"
        ) from error
    return listener


def make_door(settings: Settings) -> Door:
    """Return the door for this configuration."""
    connections = connections_for(settings.max_connections, open_files())
    bounds = Bounds(
        connections=connections,
        per_address=min(settings.max_connections_per_address, max(1, connections // 2)),
    )
    return Door(bounds, Callers(settings.trusted_proxies))


class Server(uvicorn.Server):
    """uvicorn's server, which waits for unfinished answers. Streams never finish: it ends them."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then shut down."""
        await find({"app": self.config.app}, Streams).stop()
        await super().shutdown(sockets)


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how uvicorn is to serve the application."""
    connection = partial(Connection, door=make_door(settings))
    return uvicorn.Config(
        app,
        http=cast("Any", connection),
        ws="none",
        log_config=None,
        access_log=settings.log_level == "debug",
        server_header=False,
        proxy_headers=False,  # TRUSTED_PROXIES says which proxies to believe
        timeout_graceful_shutdown=REQUESTS_GRACE,
    )


def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> int:
    """Serve until stopped. Returns the exit code."""
    configure_logging(settings)
    server = Server(server_config(app, settings))
    lasting.begin()  # and later what `router.workers` loads in threads
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return 0 if server.started else _DID_NOT_START
