"""Forked routers are as processes of their own, and end with the tests."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import psutil
import pytest

from loopback.routers import bare_environment
from tests.forks import ForkedRouter
from tests.routers import ROOT, environment

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


async def test_what_this_machine_configures_is_not_loaded():
    router = ForkedRouter(environment(NOWHERE))
    try:
        router.start()
        forking = psutil.Process(router.pid).parent()
        assert forking is not None
        assert not forking.environ().keys() - bare_environment().keys()
    finally:
        router.close()


async def test_none_outlives_the_process_that_asked_for_it():
    async with asking("router.start(); print(router.pid, flush=True)") as program:
        await program.stdout.readline()
        program.kill()
        await nothing_is_left_of(program)


async def test_one_that_was_asked_for_by_a_process_that_was_killed_then_ends_too():
    is_killed_soon = "signal.setitimer(signal.ITIMER_REAL, 0.2); router.start()"
    async with asking(is_killed_soon) as program:
        await nothing_is_left_of(program)


async def test_none_outlives_the_process_that_forks_and_who_waits_is_told():
    kills = (
        "router.start(); psutil.Process(router.pid).parent().kill();"
        " print(router.wait(), flush=True); router.start()"
    )
    async with asking(kills) as program:
        said, complained = await program.communicate()
        assert said == b"-9\n"
        assert b"RuntimeError: the process that forks has ended" in complained
        await nothing_is_left_of(program)


@asynccontextmanager
async def asking(then: str) -> AsyncIterator[Any]:
    """A program with a router that is not started, in a session of its own. It waits for its end.

    Whatever is left of it in the end is killed.
    """
    code = (
        "import psutil, signal, sys; from tests.forks import ForkedRouter;"
        f" router = ForkedRouter({environment(NOWHERE)!r}); {then}; sys.stdin.read()"
    )
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        await program.communicate()


async def nothing_is_left_of(program: asyncio.subprocess.Process) -> None:
    """Wait until no process of its session runs."""
    async with asyncio.timeout(60):
        while any(map(partial(is_of, program.pid), psutil.pids())):
            await asyncio.sleep(0.1)


def is_of(session: int, pid: int) -> bool:
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        return os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
