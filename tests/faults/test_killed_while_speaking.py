"""kill -9 of the router while a reply is said by voice: it is said once, aloud or in writing."""

from collections.abc import AsyncIterator, Iterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution, failures
from loopback.tts import Tts
from tests.forks import ForkedRouter
from tests.routers import RouterProcess, environment
from tests.scenarios.stage import Stage, set_stage

REPLY = "Temos bolo de cenoura hoje!"


@pytest.fixture
def tts() -> Iterator[Tts]:
    with Tts() as tts:
        yield tts


@pytest.fixture
def router(database_url: str, llm: Anthropic, tts: Tts) -> Iterator[RouterProcess]:
    process = ForkedRouter(
        environment(
            database_url,
            ANTHROPIC_BASE_URL=llm.url,
            TTS_BASE_URL=tts.base_url,
            TURN_LEASE_SECONDS="6.5",
            SEND_SETTLE_SECONDS="2",
        )
    )
    yield process
    process.close()


@pytest.fixture
async def stage(
    router: RouterProcess, database_url: str, evolution: Evolution, llm: Anthropic
) -> AsyncIterator[Stage]:
    llm.answers_always(REPLY)
    router.start()
    await router.ready()
    async with set_stage(database_url, router.url, evolution, llm) as stage:
        await stage.change(voice_replies="always")
        yield stage


async def ends_well(stage: Stage) -> None:
    await stage.maria.answered()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"], turn["reply"]) == ("sent", False, [REPLY])
    assert len(stage.maria.replies) == 1
    assert len(stage.llm.requests) == 1
    assert not await stage.paused()
    said = await stage.sql("select body from messages where from_me and send_state = 'sent'")
    assert said == [{"body": REPLY}]


async def test_killed_while_the_voice_is_made(stage: Stage, router: RouterProcess, tts: Tts):
    gate = tts.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    router.kill()
    tts.heal()
    router.start()
    await ends_well(stage)
    assert len(stage.shop.calls("sendWhatsAppAudio")) == 1
    assert stage.shop.calls("sendText") == []


@pytest.mark.parametrize("left", [True, False])
async def test_killed_while_the_voice_is_sent(
    stage: Stage, router: RouterProcess, tts: Tts, left: bool
):
    """The next router has no voice: had it not found out what became of it, it would write."""
    gate = stage.shop.hold("sendWhatsAppAudio")
    if not left:
        stage.shop.fail("sendWhatsAppAudio", failures.CUT)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    router.kill()
    tts.fail(tts.broken(), times=None)
    gate.open()
    router.start()
    await ends_well(stage)
    assert len(stage.shop.calls("sendText")) == (0 if left else 1)
