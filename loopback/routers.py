"""Runs the router as a separate process that can be killed, stopped and started again."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import httpx

from router.embedded.ports import free_port

_PROJECT = Path(__file__).resolve().parents[1]
_START_SECONDS = 180.0
_END_SECONDS = 120.0


class Running(Protocol):
    """What is needed of a `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...  # noqa: D102

    def poll(self) -> int | None: ...  # noqa: D102
    def send_signal(self, sig: int, /) -> None: ...  # noqa: D102
    def wait(self, timeout: float | None = None) -> int: ...  # noqa: D102


class RouterProcess:
    """A router as a separate process, on a port that stays the same when it is restarted."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {**bare_environment(), "N8N_ROUTER_URL": self.url, **env}
        self._process: Running | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the router runs

    @property
    def pid(self) -> int:
        """The router's process id, also after it has ended."""
        return self._started().pid

    def start(self) -> None:
        """Start the router; `ready` waits until it serves."""
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "router.serving"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
            ],
            cwd=_PROJECT,
            env=self._env,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    async def ready(self) -> None:
        """Wait until it serves."""
        async with httpx.AsyncClient() as client, asyncio.timeout(_START_SECONDS):
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
        """Kill -9: it can report nothing."""
        self._started().send_signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Stop it by SIGTERM, like a platform. Returns its exit code."""
        self.terminate()
        return self.wait()

    def terminate(self) -> None:
        """Send SIGTERM without waiting for the end."""
        self._started().send_signal(signal.SIGTERM)

    def freeze(self) -> None:
        """Send SIGSTOP: the process lives, but does nothing."""
        self._started().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT: it goes on where it was, without knowing that time has passed."""
        self._started().send_signal(signal.SIGCONT)

    def wait(self, within: float = _END_SECONDS) -> int:
        """Wait until it has ended. Returns its exit code."""
        return self._started().wait(timeout=within)

    def twin(self) -> "RouterProcess":
        """Return another router with the same configuration, not started."""
        return type(self)(self._env)

    def close(self) -> None:
        """End it, whatever its state."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._log.close()

    def log(self) -> str:
        """Return what it has written so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _started(self) -> Running:
        if self._process is None:
            raise RuntimeError("the router was never started")
        return self._process


def bare_environment() -> dict[str, str]:
    """Return only the variables that a process needs, without this machine's configuration."""
    return {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
    }
