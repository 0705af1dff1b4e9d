"""However the router is started, it ends within the ten seconds that platforms grant."""

import asyncio
import re
from pathlib import Path

import pytest
import yaml
from fastapi import FastAPI

from router.configuration.settings import load_settings
from router.running.stopping import ENDING_SECONDS, REQUESTS_GRACE, STOP_SECONDS, end_tasks, within
from router.serving.server import server_config

ROOT = Path(__file__).resolve().parents[2]


def test_requests_and_the_ending_have_less_than_ten_seconds():
    assert REQUESTS_GRACE + ENDING_SECONDS <= 9
    assert STOP_SECONDS < ENDING_SECONDS


def test_uvicorn_waits_for_requests_as_long_as_the_router_reckons_with():
    settings = load_settings({}, env_file=None)
    config = server_config(FastAPI(), settings)
    assert config.timeout_graceful_shutdown == REQUESTS_GRACE
    assert not config.proxy_headers


@pytest.mark.parametrize("name", ["Procfile", "Dockerfile", "DEPLOYMENT.md"])
def test_everything_serves_the_same_way(name: str):
    said = re.sub(r'[",]', "", (ROOT / name).read_text())
    assert "python -m router.serving" in said
    assert "uvicorn router.main" not in said


def test_compose_grants_the_routers_more_than_they_need():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("router", "routers"):
        assert int(services[name]["stop_grace_period"].rstrip("s")) >= 10
        assert services[name]["init"]  # a process 1 does not die of the signal that it raises


async def test_a_task_that_takes_no_notice_of_its_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("router.running.stopping._GIVING_BACK", 0.01)
    deaf = asyncio.Event()

    async def stubborn() -> None:
        while not deaf.is_set():
            try:
                await deaf.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn())
    await end_tasks([task], 0.01)
    assert not task.done()
    deaf.set()
    await task


async def test_a_step_that_hangs_or_fails_keeps_nothing_else_up():
    async def fails() -> None:
        raise ZeroDivisionError

    await within(asyncio.Event().wait, 0.01, "a step that hangs")  # type: ignore[arg-type]
    await within(fails, 5, "a step that fails")
