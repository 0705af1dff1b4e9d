"""Routers for tests: one in the test's own loop, one as a process that can be killed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import uvicorn

from loopback.routers import RouterProcess
from router.main import create_app
from router.settings import load_settings
from router.stopping import REQUESTS_GRACE

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
    "environment",
    "running_router",
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
        **more,
    }


class _Server(uvicorn.Server):
    """A server inside a test leaves the signals to pytest."""

    @staticmethod
    def capture_signals():
        return nullcontext()


@asynccontextmanager
async def running_router(env: Mapping[str, str]) -> AsyncIterator[str]:
    """A router in this loop, served over real HTTP. Gives its URL."""
    # With the protocol's number: else asyncio leaves Nagle's delay on, 40 ms for every answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(load_settings({"N8N_ROUTER_URL": url, **env}, env_file=None))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=REQUESTS_GRACE,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(20):
            while not server.started:
                if serving.done():
                    serving.result()
                    raise RuntimeError("the router did not start")
                await asyncio.sleep(0.01)
        yield url
    finally:
        server.should_exit = True
        await serving
        listener.close()
