"""Sends whose answer was lost: looked up before anything is sent again."""

import pytest

from loopback.evolution import failures
from tests.scenarios.stage import Stage


@pytest.mark.parametrize(
    "lost",
    [
        failures.TAKEN_NEVER_ANSWERED,
        failures.TAKEN_THEN_CUT,
        failures.TAKEN_THEN_BROKEN,
        failures.TAKEN_THEN_UNREADABLE,
    ],
    ids=["no answer", "cut", "500", "unreadable"],
)
@pytest.mark.parametrize("webhooks", ["after", "never"])
async def test_a_message_that_was_taken_is_not_sent_again(stage: Stage, lost, webhooks):
    stage.shop.tells_sends = webhooks
    stage.shop.fail("sendText", lost)
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == 1
    assert len(stage.shop.calls("sendText")) == 1
    assert not await stage.paused()


@pytest.mark.parametrize(
    "lost",
    [failures.NEVER_ANSWERED, failures.CUT, failures.BROKEN],
    ids=["no answer", "cut", "500"],
)
async def test_a_message_that_never_left_is_sent_again_once_that_is_certain(stage: Stage, lost):
    stage.shop.fail("sendText", lost)
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == 1
    assert len(stage.llm.requests) == 1
    assert stage.shop.calls("findMessages") != []


async def test_an_evolution_that_stores_nothing_proves_nothing_so_nothing_is_repeated(stage: Stage):
    stage.shop.stores_sends = False
    stage.shop.tells_sends = "never"
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    stage.shop.fail("findMessages", failures.UNAVAILABLE, times=None)
    await stage.maria.writes("tem bolo?")
    await stage.until("select * from turns", lambda rows: rows[0]["error_kind"] == "in_doubt")
    await stage.shop.called("findMessages", 1)
    assert len(stage.shop.calls("sendText")) == 1


async def test_a_webhook_settles_a_doubt_while_evolution_cannot_be_asked(stage: Stage):
    stage.shop.webhooks.hold("send.message")
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    stage.shop.fail("findMessages", failures.UNAVAILABLE, times=None)
    await stage.maria.writes("tem bolo?")
    await stage.until("select * from turns", lambda rows: rows[0]["error_kind"] == "in_doubt")
    stage.shop.webhooks.release()
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == 1


async def test_the_owner_writing_during_a_doubt_ends_the_turn_without_another_send(stage: Stage):
    stage.shop.fail("sendText", failures.CUT)
    await stage.maria.writes("tem bolo?")
    await stage.until("select * from turns", lambda rows: rows[0]["error_kind"] == "in_doubt")
    await stage.shop.owner.writes(stage.maria, "tem sim")
    await stage.turns_end()
    assert stage.maria.replies == []
    assert await stage.paused()


async def test_a_rewritten_number_in_the_answer_is_the_same_person(stage: Stage):
    ana = stage.shop.customer("5531985550001", name="Ana")
    ana.answers_as = "553185550001@s.whatsapp.net"
    await ana.writes("oi")
    await ana.answered()
    await stage.turns_end()
    assert len(await stage.sessions()) == 1
    assert not await stage.paused()


@pytest.mark.parametrize("fault", [failures.BAD_KEY, failures.NO_INSTANCE], ids=["401", "404"])
async def test_what_evolution_refuses_for_good_is_dead_and_can_be_retried(stage: Stage, fault):
    stage.shop.fail("sendText", fault)
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "dead"
    await stage.post(f"/api/turns/{turn['id']}/retry?tenant_id={turn['tenant_id']}")
    await stage.maria.answered()
    assert len(stage.llm.requests) == 1


async def test_a_graph_error_that_comes_as_201_is_not_a_sent_message(stage: Stage):
    cloud = await stage.open_cloud_shop()
    cloud.fail("sendText", failures.graph_error())
    joao = cloud.customer("5511955550002", name="João")
    await joao.writes("oi")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "dead"
    assert "131047" in turn["error"]
    assert joao.replies == []
