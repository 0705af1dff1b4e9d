"""Keeps the demo's router running: if it is killed, it is started again."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from router.configuration.demo import Demo

_PROJECT = Path(__file__).resolve().parents[2]
_ENDING_SECONDS = 15.0
_STEADY_SECONDS = 1.0  # a router that ran this long does not crash at its start
_PAUSE = 1.0
_STOPS = (signal.SIGINT, signal.SIGTERM)

Start = Callable[[], Awaitable[asyncio.subprocess.Process]]


def starts_router(listener: socket.socket, demo: Demo, env: Mapping[str, str]) -> Start:
    """Return a function that starts a router on the socket, with these variables."""
    paths = os.pathsep.join(filter(None, (str(_PROJECT), os.environ.get("PYTHONPATH"))))
    order = orjson.dumps({"listener": listener.fileno(), "demo": asdict(demo)})

    async def start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scripts.demo_business.router"),
            env={**os.environ, **env, "PYTHONPATH": paths},
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # only this process gets a Ctrl-C
        )
        assert process.stdin is not None  # noqa: S101 - it was asked for
        process.stdin.write(order + b"\n")
        with suppress(ConnectionError):  # it has ended already, which the caller notices
            await process.stdin.drain()
        return process

    return start


async def keep_running(start: Start, over: Awaitable[object]) -> int | None:
    """Keep a router running, and start it again if it is killed.

    Returns its exit code when it ends by itself, 0 when this program is told to stop, and None when
    the demo is `over`; the router has ended then.
    """
    stopped = _told_to_stop()
    is_over = asyncio.ensure_future(over)
    try:
        while True:
            began = time.monotonic()
            process = await start()
            ended = asyncio.ensure_future(process.wait())
            what: set[asyncio.Future[Any]] = {ended, stopped, is_over}
            await asyncio.wait(what, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await _end(process, ended)
                return None if is_over.done() and not stopped.done() else 0
            if ended.result() >= 0:
                return ended.result()
            if time.monotonic() - began < _STEADY_SECONDS:
                await asyncio.wait(what - {ended}, timeout=_PAUSE)
    finally:
        is_over.cancel()
        stopped.cancel()
        for each in _STOPS:
            asyncio.get_running_loop().remove_signal_handler(each)


def _told_to_stop() -> "asyncio.Future[None]":
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not told.done():
            told.set_result(None)

    for each in _STOPS:
        loop.add_signal_handler(each, tell)
    return told


async def _end(process: asyncio.subprocess.Process, ended: "asyncio.Future[int]") -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    _, late = await asyncio.wait({ended}, timeout=_ENDING_SECONDS)
    if late:
        with suppress(ProcessLookupError):
            process.kill()
        await ended
