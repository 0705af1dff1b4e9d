"""What only gap repair finds is reacted to at once, as if a webhook had brought it."""

from collections.abc import Callable

import pytest

from loopback.evolution import Delivery
from tests.scenarios.stage import BOTH_HANDLERS, Stage

LOST = ("messages.upsert", "send.message", "contacts.upsert", "chats.upsert")


async def lost(stage: Stage, write: Callable[[], Delivery]) -> None:
    """Have something written of which no webhook comes; then the line is back, and asked."""
    stage.shop.webhooks.drop(*LOST)
    write()
    stage.shop.webhooks.treat_normally()
    await stage.shop.line.breaks()
    await stage.shop.line.connects()


def by_the_owner(stage: Stage) -> Delivery:
    return stage.shop.owner.writes(stage.maria, "tem sim, de cenoura")


def by_another_device(stage: Stage) -> Delivery:
    return stage.shop.owner.writes(stage.maria, "tem sim, de cenoura", device="web")


def to_her_lid(stage: Stage) -> Delivery:
    return stage.shop.owner.writes(stage.maria, "tem sim, de cenoura", identity="lid")


WAYS = [by_the_owner, by_another_device, to_her_lid]


@pytest.mark.parametrize("write", WAYS)
async def test_a_takeover_ends_the_llms_work_on_a_reply(
    stage: Stage, write: Callable[[Stage], Delivery]
):
    stage.shop.line.connects()
    stage.llm.fail(stage.llm.never_answers(), times=None)
    await stage.maria.writes("tem bolo?")
    await stage.llm.asked()
    await lost(stage, lambda: write(stage))
    await stage.llm.deserted()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("cancelled", "takeover")
    assert stage.maria.replies == []
    assert len(stage.llm.requests) == 1
    assert await stage.paused()


@BOTH_HANDLERS
@pytest.mark.parametrize("write", WAYS)
async def test_nothing_of_the_reply_leaves(stage: Stage, write: Callable[[Stage], Delivery]):
    stage.shop.line.connects()
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await lost(stage, lambda: write(stage))
    (turn,) = await stage.turns_end()
    gate.open()
    assert (turn["state"], turn["reason"]) == ("cancelled", "takeover")
    await stage.maria.writes("obrigada!")  # behind whatever was still to come
    await stage.turns_end()
    assert stage.maria.replies == []
    assert await stage.paused()
