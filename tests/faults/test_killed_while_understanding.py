"""kill -9 of the router at every step of a media job: it is done, and answered once."""

from collections.abc import AsyncIterator, Iterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.evolution.contents import voice
from loopback.speech import SpeechService
from tests import files
from tests.routers import RouterProcess, environment
from tests.scenarios.stage import Stage, set_stage

HEARD = "quero dois bolos de chocolate"


@pytest.fixture
def speech() -> Iterator[SpeechService]:
    with SpeechService() as speech:
        yield speech


@pytest.fixture
def router(database_url: str, llm: Anthropic, speech: SpeechService) -> Iterator[RouterProcess]:
    process = RouterProcess(
        environment(
            database_url,
            ANTHROPIC_BASE_URL=llm.url,
            STT_BASE_URL=speech.base_url,
            MEDIA_WAIT_SECONDS="100",
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
    await stage.maria.answered(within=60)
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == 1
    assert HEARD in str(stage.llm.requests[-1].messages[-1][1])
    (job,) = await stage.sql("select state, content from media_jobs")
    assert job == {"state": "done", "content": None}


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
