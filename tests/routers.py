"""Routers for tests: one in the test's own loop, one as a process that can be killed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from fastapi import FastAPI

from loopback.routers import RouterProcess
from router.app import create_app
from router.configuration.settings import Settings, load_settings
from router.serving.server import Server, server_config

WEBHOOK_SECRET = "a-webhook-secret-for-tests"
CRON_SECRET = "a-cron-secret-for-the-tests"
API_KEY = "an-operators-key-for-tests"
ROOT = Path(__file__).parent.parent

__all__ = [
    "API_KEY",
    "CRON_SECRET",
    "ROOT",
    "WEBHOOK_SECRET",
    "RouterProcess",
    "door",
    "environment",
    "running_router",
    "serving",
    "url_of",
]


def environment(database_url: str, **more: str) -> dict[str, str]:
    """The configuration of a router under test: quick where a person would wait."""
    return {
        "DATABASE_URL": database_url,
        "EVOLUTION_WEBHOOK_SHARED_SECRET": WEBHOOK_SECRET,
        "CRON_SECRET": CRON_SECRET,
        "API_KEYS": f"tests:{API_KEY}",
        "ALLOWED_NETWORKS": "127.0.0.0/8",
        "ANTHROPIC_API_KEY": "sk-ant-for-the-loopback",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",  # no test asks the real one; nobody is there
        "LLM_PROVIDER": "anthropic",
        "DEBOUNCE_SECONDS": "0.3",
        "DEBOUNCE_CAP_SECONDS": "3",
        "LLM_TIMEOUT": "5",
        "LLM_ATTEMPTS": "1",
        "LLM_MAX_TOKENS": "8000",
        "TURN_LEASE_SECONDS": "11",
        "RETRY_BASE_SECONDS": "0.2",
        "SEND_TIMEOUT": "2",
        "SEND_SETTLE_SECONDS": "3",
        "POLL_SECONDS": "0.5",
        "TYPING_SECONDS": "0",
        "LOOK_AT_MEDIA": "false",  # where that is the question, a test says so
        "MEDIA_WAIT_SECONDS": "100",  # as long as a busy machine may need for ten pictures
        **more,
    }


class _Server(Server):
    """A server inside a test leaves the signals to pytest."""

    @staticmethod
    def capture_signals():
        return nullcontext()


@asynccontextmanager
async def running_router(env: Mapping[str, str]) -> AsyncIterator[str]:
    """A router in this loop, served over real HTTP. Gives its URL."""
    with door() as listener:
        url = url_of(listener)
        settings = load_settings({"N8N_ROUTER_URL": url, **env}, env_file=None)
        async with serving(create_app(settings), settings, listener):
            yield url


def door() -> socket.socket:
    """Return a socket to be served on, at a free port."""
    # With the protocol's number: else asyncio leaves Nagle's delay on, 40 ms for every answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def serving(app: FastAPI, settings: Settings, listener: socket.socket) -> AsyncIterator[None]:
    """Serve a router in this loop, as `python -m router.serving` does."""
    server = _Server(server_config(app, settings))
    served = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(20):
            while not server.started:
                if served.done():
                    served.result()
                    raise RuntimeError("the router did not start")
                await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await served
