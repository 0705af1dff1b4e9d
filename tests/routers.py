"""Routers for tests: one in the test's own loop, one as a process that can be killed."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import httpx
import uvicorn

from router.main import create_app
from router.settings import load_settings
from router.stopping import REQUESTS_GRACE

WEBHOOK_SECRET = "a-webhook-secret-for-tests"
CRON_SECRET = "a-cron-secret-for-the-tests"
API_KEY = "an-operators-key-for-tests"
ROOT = Path(__file__).parent.parent


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


class RouterProcess:
    """A router as a process of its own, on a port that stays the same when it is started again."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {**_bare_environment(), "N8N_ROUTER_URL": self.url, **env}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "router.main:app"),
                *("--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"),
                *("--timeout-graceful-shutdown", str(REQUESTS_GRACE)),
            ],
            cwd=ROOT,
            env=self._env,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    async def ready(self) -> None:
        """Wait until it serves."""
        async with httpx.AsyncClient() as client, asyncio.timeout(30):
            while True:
                try:
                    if (await client.get(f"{self.url}/health/live")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                if self._process is None or self._process.poll() is not None:
                    raise RuntimeError(f"the router did not start:\n{self.log()}")
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Kill -9: it can tell nobody anything."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, as a platform stops it. Returns its exit code."""
        self._signal(signal.SIGTERM)
        assert self._process is not None
        return self._process.returncode

    def terminate(self) -> None:
        """SIGTERM, without waiting for the end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self, within: float = 40) -> int:
        assert self._process is not None
        return self._process.wait(timeout=within)

    def twin(self) -> "RouterProcess":
        """Another router with the same configuration, not started."""
        return RouterProcess(self._env)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._log.close()

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=40)


def _bare_environment() -> dict[str, str]:
    """Only what a process needs: no configuration of the machine may leak into a test."""
    return {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
    }
