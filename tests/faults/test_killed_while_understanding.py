"""kill -9 of the router at every step of a media job: it is done, and answered once."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.evolution.contents import voice
from loopback.speech import SpeechService
from tests import files
from tests.forks import ForkedRouter
from tests.routers import RouterProcess, environment
from tests.scenarios.stage import Stage, set_stage

HEARD = "quero dois bolos de chocolate"


@pytest.fixture
def speech() -> Iterator[SpeechService]:
    with SpeechService() as speech:
        yield speech


@pytest.fixture
def router(database_url: str, llm: Anthropic, speech: SpeechService) -> Iterator[RouterProcess]:
    process = ForkedRouter(
        environment(
            database_url,
            ANTHROPIC_BASE_URL=llm.url,
            STT_BASE_URL=speech.base_url,
        )
    )
    yield process
    process.close()


@pytest.fixture
async def stage(
    router: RouterProcess, database_url: str, evolution: Evolution, llm: Anthropic
) -> AsyncIterator[Stage]:
    llm.answers_always("Certo!")
    router.start()
    await router.ready()
    async with set_stage(database_url, router.url, evolution, llm) as stage:
        yield stage


async def says(stage: Stage) -> None:
    sent = stage.maria.sends(voice())
    stage.shop.received[sent.wa_id] = files.sound()
    await sent


async def ends_well(stage: Stage, router: RouterProcess) -> None:
    """The next router does the job once its lease is over, well within what the turn waits."""
    router.start()
    await router.ready()
    await stage.maria.answered()
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == 1
    assert HEARD in str(stage.llm.requests[-1].messages[-1][1])
    (job,) = await stage.sql("select state, content, tokens from media_jobs")
    assert job == {"state": "done", "content": None, "tokens": 82}
    if len(stage.llm.requests) == 1:  # else a call that nobody heard the end of may have cost
        (spent,) = await stage.sql("select tokens from spending where session_id is null")
        assert spent["tokens"] == 82 + turn["tokens_in"] + turn["tokens_out"]


async def test_killed_while_the_sound_is_fetched(stage: Stage, router: RouterProcess):
    gate = stage.shop.hold("getBase64FromMediaMessage")
    await says(stage)
    await gate.reached()
    router.kill()
    stage.shop.heal()
    await ends_well(stage, router)


async def test_killed_while_it_is_listened_to(
    stage: Stage, router: RouterProcess, speech: SpeechService
):
    gate = speech.hold()
    await says(stage)
    await gate.reached()
    router.kill()
    speech.heal()
    await ends_well(stage, router)


async def test_killed_before_anybody_claimed_it(stage: Stage, router: RouterProcess):
    router.kill()
    sent = stage.maria.sends(voice())
    stage.shop.received[sent.wa_id] = files.sound()
    await sent.first_try()
    await ends_well(stage, router)


async def test_killed_when_it_was_heard_and_nobody_has_answered(
    stage: Stage, router: RouterProcess, speech: SpeechService
):
    gate = stage.llm.hold()
    await says(stage)
    await gate.reached()
    router.kill()
    stage.llm.heal()
    await ends_well(stage, router)
    assert len(speech.heard) == 1


def is_decoding(pid: int) -> bool:
    """Whether this process opens a file, and has told the system what it is to the router."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"decoder.py" in words and Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def decoder_of(router: RouterProcess) -> int:
    """The process in which the router has a file opened, stopped in the middle of that."""
    async with asyncio.timeout(20):
        while True:
            for pid in children_of(router.pid):
                if is_decoding(pid):
                    os.kill(pid, signal.SIGSTOP)
                    return pid
            await asyncio.sleep(0.002)


@pytest.mark.skipif(sys.platform != "linux", reason="only there the kernel is told")
async def test_killed_while_a_program_opens_the_file_which_ends_too(
    stage: Stage, router: RouterProcess
):
    await says(stage)
    pid = await decoder_of(router)
    try:
        router.kill()
        async with asyncio.timeout(5):
            while is_decoding(pid):
                await asyncio.sleep(0.01)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise
    await ends_well(stage, router)


@asynccontextmanager
async def caught_in_the_act(database_url: str, locked: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold what `locked` locks, until the block has seen the words wait for it, and has ended."""
    blocker = await asyncpg.connect(database_url)
    transaction = blocker.transaction()
    await transaction.start()
    try:
        await blocker.execute(locked)
        yield blocker
    finally:
        await transaction.rollback()
        await blocker.close()


WAITING = (
    "select pid from pg_stat_activity where datname = current_database()"
    " and wait_event_type = 'Lock' and query like '%finish_media_job%'"
)
BEFORE_THE_ROW = "select from sessions for update"
BEFORE_THE_COMMIT = (
    "insert into spending (tenant_id, session_id, day)"
    " values (1, null, (now() at time zone 'UTC')::date)"
)


@pytest.mark.parametrize(
    ("locked", "is_written"),
    [(BEFORE_THE_ROW, False), (BEFORE_THE_COMMIT, False), (BEFORE_THE_COMMIT, True)],
    ids=["before the row", "before the commit", "the commit is told to nobody"],
)
async def test_killed_while_the_words_are_written(
    stage: Stage,
    router: RouterProcess,
    speech: SpeechService,
    database_url: str,
    locked: str,
    is_written: bool,
):
    gate = speech.hold()
    await says(stage)
    await gate.reached()
    async with caught_in_the_act(database_url, locked):
        gate.open()
        (waiting,) = await stage.until(WAITING, bool)
        router.kill()
        if not is_written:
            await stage.sql("select pg_terminate_backend($1)", waiting["pid"])
    await ends_well(stage, router)
    assert len(speech.heard) == (1 if is_written else 2)
