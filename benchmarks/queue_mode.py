"""n8n in queue mode without Docker: Redis and workers beside the n8n that gets the webhooks."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from router.embedded.ports import free_port
from scripts.n8n.installation import Installation
from scripts.n8n.server import N8nHome, process_environment

_CONCURRENCY = 10
_READY = 180.0


@contextmanager
def queue_mode(
    installation: Installation, home: N8nHome, folder: Path, workers: int
) -> Iterator[N8nHome]:
    """Yield the home of an n8n whose executions run in `workers` processes, through Redis.

    `redis-server` must be installed (Debian: apt-get install redis-server).
    """
    redis, port = shutil.which("redis-server"), free_port()
    if redis is None:
        raise SystemExit("there is no redis-server: apt-get install redis-server")
    queue = {
        "EXECUTIONS_MODE": "queue",
        "QUEUE_BULL_REDIS_HOST": "127.0.0.1",
        "QUEUE_BULL_REDIS_PORT": str(port),
    }
    queued = replace(home, settings={**home.settings, **queue})
    with ExitStack() as stack:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
        stack.enter_context(_process([redis, *options], {}, folder, "redis"))
        for number in range(workers):
            stack.enter_context(_worker(installation, queued, folder, number))
        yield queued


@contextmanager
def _worker(installation: Installation, home: N8nHome, folder: Path, number: int) -> Iterator[None]:
    own = {"N8N_RUNNERS_BROKER_PORT": str(free_port()), "QUEUE_WORKER_PORT": str(free_port())}
    environment = process_environment(installation, {**home.environment(), **own})
    command = installation.command("worker", f"--concurrency={_CONCURRENCY}")
    name = f"worker-{number}"
    with _process(command, environment, folder, name):
        until = time.monotonic() + _READY
        while "n8n worker is now ready" not in (folder / f"{name}.log").read_text():
            if time.monotonic() > until:
                raise SystemExit(f"{name} was not ready within {_READY:g} s")
            time.sleep(0.2)
        yield


@contextmanager
def _process(
    command: list[str], environment: Mapping[str, str], folder: Path, name: str
) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=dict(environment), cwd=folder, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
