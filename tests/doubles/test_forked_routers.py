"""Forked routers are as processes of their own, and end with the tests."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.forked_routers import ForkedRouter
from tests.routers import environment

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


async def test_each_has_its_own_configuration_log_and_end():
    first, second = (
        ForkedRouter(environment(NOWHERE, LOG_LEVEL=level)) for level in ("INFO", "ERROR")
    )
    try:
        for router in (first, second):
            router.start()
            await router.ready()
        assert first.pid != second.pid
        first.kill()
        assert first.wait() == -9
        assert "cannot connect" in first.log()
        assert second.stop() == -15
        assert second.log() == ""
    finally:
        first.close()
        second.close()


async def test_one_that_cannot_start_says_why():
    router = ForkedRouter(environment(NOWHERE, POLL_SECONDS="soon"))
    router.start()
    with pytest.raises(RuntimeError, match="POLL_SECONDS"):
        await router.ready()
    assert router.wait() == 1
    router.close()


async def test_none_outlives_the_process_that_asked_for_it():
    asked = (
        "import asyncio, sys; from tests.forked_routers import ForkedRouter;"
        f" router = ForkedRouter({environment(NOWHERE)!r}); router.start();"
        " asyncio.run(router.ready()); print(router.pid, flush=True); sys.stdin.read()"
    )
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", asked, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    pid = int(await program.stdout.readline())
    program.kill()
    await program.wait()
    async with asyncio.timeout(20):
        while Path(f"/proc/{pid}/stat").exists():  # noqa: ASYNC240
            await asyncio.sleep(0.01)
