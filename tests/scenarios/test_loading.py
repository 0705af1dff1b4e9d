"""What takes long to load is loaded beside the event loop, which serves meanwhile."""

import asyncio
import threading
from pathlib import Path

import pytest

from router.llm.loading import InThread
from tests.routers import RouterProcess, environment
from tests.scenarios.stage import set_stage

# Python imports this by itself when it starts: it writes down what an event loop has to wait for.
WITNESS = """
import asyncio, sys, threading

class Witness:
    @staticmethod
    def find_spec(name, path=None, target=None):
        in_loop = asyncio._get_running_loop() is not None
        if in_loop and threading.current_thread() is threading.main_thread():
            with open({path!r}, "a") as seen:
                seen.write(name + "\\n")

sys.meta_path.insert(0, Witness)
"""


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
async def test_once_the_router_serves_its_event_loop_imports_nothing(
    database_url: str, evolution, llm, tmp_path: Path, provider: str
):
    seen = tmp_path / "seen"
    seen.touch()
    (tmp_path / "sitecustomize.py").write_text(WITNESS.format(path=str(seen)))
    router = RouterProcess(
        environment(
            database_url,
            PYTHONPATH=str(tmp_path),
            LLM_PROVIDER=provider,
            ANTHROPIC_BASE_URL=llm.url,
            OPENAI_API_KEY="sk-for-nobody",
            OPENAI_BASE_URL="http://127.0.0.1:9/v1",
            LLM_FALLBACK_PROVIDER="anthropic",
            LLM_TIMEOUT="20",
            TURN_LEASE_SECONDS="60",
        )
    )
    try:
        router.start()
        await router.ready()
        at_start = seen.read_text().splitlines()
        assert "uvicorn.lifespan" in at_start  # the witness sees
        async with set_stage(database_url, router.url, evolution, llm) as stage:
            await stage.maria.writes("oi")
            await stage.maria.answered()
            await stage.turns_end()
        assert seen.read_text().splitlines()[len(at_start) :] == []
    finally:
        router.close()


async def test_a_thing_is_made_once_in_another_thread():
    made_in: list[int] = []

    def make() -> str:
        made_in.append(threading.get_ident())
        return "made"

    thing = InThread(make)
    assert thing.made is None
    thing.begin()
    assert await asyncio.gather(thing.get(), thing.get()) == ["made", "made"]
    assert thing.made == "made"
    assert len(made_in) == 1
    assert made_in[0] != threading.get_ident()


async def test_who_gives_up_waiting_stops_nothing():
    go = threading.Event()
    thing = InThread(lambda: go.wait(20))
    impatient = asyncio.create_task(thing.get())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    go.set()
    assert await thing.get()


async def test_what_failed_is_tried_again():
    tries: list[int] = []

    def make() -> int:
        tries.append(1)
        return 1 // (len(tries) - 1)

    thing = InThread(make)
    with pytest.raises(ZeroDivisionError):
        await thing.get()
    assert await thing.get() == 1
