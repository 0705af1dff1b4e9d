"""T1 to T12: what HybridFlow does where Evolution's own bots fail. Each is a conversation.

Where it makes a difference, it is held in voice notes or pictures too (`said`).
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution, contents
from loopback.pictures import pictures_in
from loopback.speech import SpeechService
from tests import files
from tests.n8n_server import TestN8n
from tests.scenarios.saying import PICTURES, VOICE, WRITTEN, Saying
from tests.scenarios.stage import BOTH_HANDLERS, NAMED, Stage, performance

pytestmark = BOTH_HANDLERS
SAID = pytest.mark.parametrize("said", [WRITTEN, VOICE], indirect=True)
SAID_OR_SHOWN = pytest.mark.parametrize("said", [WRITTEN, VOICE, PICTURES], indirect=True)


@pytest.fixture
def speech() -> Iterator[SpeechService]:
    with SpeechService() as speech:
        yield speech


@pytest.fixture
async def stage(
    database_url: str,
    evolution: Evolution,
    llm: Anthropic,
    handler: TestN8n | None,
    speech: SpeechService,
) -> AsyncIterator[Stage]:
    """A stage on which media is understood."""
    settings = handler.configuration() if handler else {}
    settings |= {"STT_BASE_URL": speech.base_url, "LOOK_AT_MEDIA": "true"}
    async with performance(database_url, evolution, llm, **settings) as stage:
        yield stage
        if handler:
            await handler.falls_silent()


@pytest.fixture
def said(request: pytest.FixtureRequest, stage: Stage, speech: SpeechService) -> Saying:
    """How what is said comes."""
    return Saying(stage, speech, request.param)


@SAID
async def test_t1_the_owner_writes_first_and_the_customer_answers(stage: Stage, said: Saying):
    await said.owner(stage.maria, "Oi Maria, seu bolo está pronto!")
    await said.customer(stage.maria, "que ótimo, já vou")
    await stage.turns_end()
    assert stage.maria.replies == []
    assert await stage.paused()


@SAID_OR_SHOWN
async def test_t2_the_owner_writes_during_the_llm_call(stage: Stage, said: Saying):
    gate = stage.llm.hold()
    await said.customer(stage.maria, "tem bolo?")
    await gate.reached()
    await said.owner(stage.maria, "tem sim, de cenoura")
    gate.open()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("cancelled", "takeover")
    assert stage.maria.replies == []
    assert await stage.paused()


@SAID
async def test_t2_the_owner_writes_after_the_reply_was_made_but_before_it_leaves(
    stage: Stage, said: Saying
):
    first, second = "um " * 1000, "dois " * 500
    stage.llm.answers(f"{first}\n\n{second}")
    gate = stage.shop.hold("sendText", after=True)
    await said.customer(stage.maria, "tem bolo?")
    await gate.reached()
    await said.owner(stage.maria, "deixa comigo")
    gate.open()
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == [first.strip()]
    assert (turn["state"], turn["incomplete"]) == ("sent", True)
    assert await stage.paused()


@SAID
async def test_t3_the_owner_writes_while_nothing_happens(stage: Stage, said: Saying):
    await said.customer(stage.maria, "oi")
    await stage.maria.answered()
    await said.owner(stage.maria, "oi, aqui é o dono")
    assert await stage.paused()
    await said.customer(stage.maria, "oi dono")
    await stage.turns_end()
    assert len(stage.maria.replies) == 1


async def test_t4_the_pause_runs_out_and_the_ai_is_back(stage: Stage):
    await stage.shop.owner.writes(stage.maria, "oi")
    await stage.time_passes(hours=1.9)
    assert (await stage.cron_runs())["resumed"] == 0
    await stage.time_passes(hours=0.2)
    assert (await stage.cron_runs())["resumed"] == 1
    await stage.maria.writes("tem pão?")
    await stage.maria.answered()


@SAID
async def test_t4_what_was_asked_during_the_pause_is_answered_once_it_is_over(
    stage: Stage, said: Saying
):
    await said.owner(stage.maria, "oi, um instante")
    await stage.time_passes(hours=1.9)
    await said.customer(stage.maria, "quanto custa o bolo?")
    await said.is_understood()
    await stage.turns_end()
    await stage.time_passes(hours=0.2)
    await stage.cron_runs()
    await stage.maria.answered()
    request = stage.llm.requests[-1]
    asked = str(request.body["messages"])
    assert said.told("quanto custa o bolo?") in asked
    assert f"written by a person of the team] {said.told_of_owner('oi, um instante')}" in asked
    await stage.turns_end()
    assert len(stage.maria.replies) == 1


@SAID
async def test_t5_the_owner_only_reacts(stage: Stage, said: Saying):
    asked = await said.customer(stage.maria, "obrigada!")
    await stage.shop.owner.reacts(stage.maria, asked)
    await stage.maria.answered()
    assert not await stage.paused()


@SAID
async def test_t6_the_owner_writes_inside_the_debounce(stage: Stage, said: Saying):
    await stage.change(debounce_seconds=3)  # as long as a busy machine may need
    await said.customer(stage.maria, "tem bolo?")
    await said.owner(stage.maria, "tem sim")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "cancelled"
    assert stage.maria.replies == []
    assert stage.llm.requests == []
    assert await stage.paused()


@SAID
async def test_t7_three_quick_messages_get_one_reply(stage: Stage, said: Saying):
    await stage.change(debounce_seconds=3)  # as long as a busy machine may need
    for text in ("oi", "tem bolo?", "de cenoura?"):
        await said.customer(stage.maria, text)
    await stage.time_passes(seconds=4)
    await stage.maria.answered()
    await stage.turns_end()
    assert len(stage.maria.replies) == 1
    (request,) = stage.llm.requests
    lines = [said.told(text) for text in ("oi", "tem bolo?", "de cenoura?")]
    assert request.body["messages"][-1]["content"] == NAMED + "\n".join(lines)


async def test_t7_an_album_gets_one_reply_that_knows_all_of_its_pictures(
    stage: Stage, handler: TestN8n | None
):
    stage.llm.answers_always("Que lindos!")
    for caption in ("este", "ou este", None):
        shown = stage.maria.sends(contents.image(caption))
        stage.shop.received[shown.wa_id] = files.picture(size=(60, 40))
        await shown
    await stage.maria.answered()
    await stage.turns_end()
    assert stage.maria.replies == ["Que lindos!"]
    asked = [request.body["messages"] for request in stage.llm.requests]
    assert sum(len(list(pictures_in(each))) for each in asked) == 3
    assert len(asked) == (1 if handler is None else 4)  # a flow is told what they show
    assert '[image: "ou este"]' in str(asked[-1])


@SAID
async def test_t8_two_quick_messages_during_a_reply_get_one_more_in_order(
    stage: Stage, said: Saying
):
    stage.llm.answers("resposta um")
    stage.llm.answers("resposta dois")
    gate = stage.llm.hold()
    await said.customer(stage.maria, "um")
    await gate.reached()
    await said.customer(stage.maria, "dois")
    await said.customer(stage.maria, "três")
    gate.open()
    assert await stage.maria.answered(2) == ["resposta um", "resposta dois"]
    await stage.turns_end()
    assert len(stage.llm.requests) == 2


@SAID
async def test_t9_one_customer_at_two_businesses_is_never_mixed(stage: Stage, said: Saying):
    other = await stage.open_shop("farmacia")
    at_other = other.customer("5511955550001", name="Maria", lid="201955550001001")
    await said.customer(stage.maria, "tem bolo?")
    await said.customer(at_other, "tem dipirona?", at=other)
    await stage.maria.answered()
    await at_other.answered()
    for request in stage.llm.requests:
        asked = str(request.body)
        assert ("bolo" in asked) != ("dipirona" in asked)
        assert ("padaria" in asked) == ("bolo" in asked)


async def test_t10_a_group_is_ignored_unless_the_tenant_says_otherwise(stage: Stage):
    group = stage.shop.group()
    delivery = await stage.maria.writes_in(group, "alguém aí?")
    assert delivery.answer["status"] == "ignored"
    assert delivery.answer["reason"] == "group"
    await stage.sql("update tenants set answer_groups = true")
    await stage.maria.writes_in(group, "e agora?")
    await group.answered()


async def test_t11_a_status_post_and_a_newsletter_are_ignored(stage: Stage):
    status = await stage.maria.posts_status("bom dia!")
    news = await stage.shop.posts_in_newsletter("novidades")
    assert (status.answer["status"], news.answer["status"]) == ("ignored", "ignored")
    assert await stage.sessions() == []
    assert stage.shop.calls("sendText") == []


def written_in(message: dict[str, Any]) -> str:
    """What was said, in words: it stands behind the pictures and what they are."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return [block["text"] for block in content if block["type"] == "text"][-1]


async def test_t12_a_sticker_reaches_the_llm_as_what_it_is(stage: Stage, handler: TestN8n | None):
    await stage.maria.sends(contents.sticker())
    await stage.maria.answered()
    asked = stage.llm.requests[-1].body["messages"]
    what, _, description = written_in(asked[-1]).partition("\n[in it: ")
    assert what == f"{NAMED}[sticker]"
    # A flow is told what is in the picture, who sees is shown it.
    shown = (bool(description), len(list(pictures_in(asked))))
    assert shown == ((False, 1) if handler is None else (True, 0))


async def test_t12_a_tenant_may_leave_stickers_unanswered(stage: Stage):
    await stage.sql("update tenants set unanswered_kinds = '{sticker}'")
    await stage.maria.sends(contents.sticker())
    await stage.turns_end()
    assert stage.maria.replies == []
