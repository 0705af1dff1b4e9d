"""An Evolution that holds a send for longer than the router waits says it once all the same.

The router of these tests waits 2 seconds for an answer and looks for a send until 8 after its
begin, from the fifth on.
"""

from tests.scenarios.flow import given, n8n, playing
from tests.scenarios.stage import Stage

__all__ = ["n8n"]


async def is_answered(stage: Stage, text: str, replies: int) -> None:
    """The conversation goes on."""
    await stage.maria.writes(text)
    await stage.maria.answered(replies)
    await stage.turns_end()
    assert not await stage.paused()


async def test_a_send_that_takes_longer_than_the_router_waits_is_not_repeated(stage: Stage):
    stage.shop.slow_socket(3.5, times=1)
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == len(stage.shop.calls("sendText")) == 1
    assert not await stage.paused()
    await is_answered(stage, "e pão?", 2)


async def test_a_router_whose_clock_is_ahead_of_the_databases_waits_as_long(stage: Stage):
    """By its own clock each send began ten minutes ago."""
    await stage.time_passes(minutes=-10)
    stage.shop.slow_socket(6.5, times=1)
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == len(stage.shop.calls("sendText")) == 1


async def test_of_a_slow_send_no_webhook_need_tell(stage: Stage):
    stage.shop.tells_sends = "never"
    stage.shop.slow_socket(3.5, times=1)
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.maria.replies) == 1


async def test_the_echo_of_a_slow_send_is_ours(stage: Stage):
    stage.shop.tells_sends = "never"
    gate = stage.shop.hold_socket()
    await stage.maria.writes("tem bolo?")
    await stage.until("select * from turns", lambda rows: rows[0]["error_kind"] == "in_doubt")
    gate.open()
    await stage.maria.answered()
    (message,) = [m for m in stage.maria.transcript if m.author == "api"]
    await stage.shop.echoes(stage.maria, message)
    await stage.turns_end()
    assert len(stage.maria.replies) == 1
    assert not await stage.paused()


async def test_a_late_twin_of_what_was_sent_again_is_ours_too(stage: Stage):
    """Longer than anything real lasts: it is said twice, but nobody is taken for a human."""
    gate = stage.shop.hold_socket()
    await stage.maria.writes("tem bolo?")
    await stage.shop.called("sendText", 2)
    gate.open()
    await stage.maria.answered(2)
    await stage.turns_end()
    await stage.until(
        "select * from messages where from_me", lambda rows: all(row["wa_id"] for row in rows)
    )
    assert not await stage.paused()
    assert {row["sender"] for row in await stage.sql("select * from messages where from_me")} == {
        "ai"
    }
    stage.shop.heal()
    await is_answered(stage, "e pão?", 3)


async def test_the_owner_who_types_what_is_being_sent_takes_over_all_the_same(stage: Stage):
    """Word for word: the id of a message typed on a phone is none that Evolution gives."""
    gate = stage.shop.hold_socket()
    await stage.maria.writes("tem bolo?")
    await stage.until("select * from turns", lambda rows: rows[0]["error_kind"] == "in_doubt")
    (ours,) = await stage.sql("select * from messages where from_me")
    for device in ("android", "ios"):
        await stage.shop.owner.writes(stage.maria, ours["body"], device=device)
    gate.open()
    await stage.maria.answered()
    await stage.turns_end()
    assert await stage.paused()
    rows = await stage.sql("select sender from messages where from_me order by sender")
    assert [row["sender"] for row in rows] == ["ai", "owner", "owner"]


async def test_a_slow_send_of_a_flow_is_not_repeated(database_url, evolution, llm, n8n):
    async with playing(database_url, evolution, llm, n8n) as stage:
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, n8n)
        stage.shop.slow_socket(3.5, times=1)
        refused = await flow.sends("Temos sim!")
        assert (refused.status_code, refused.json()["response"]["reason"]) == (409, "in_doubt")
        await flow.reports("fail", kind="evolution_away", error="in doubt")
        (turn,) = await stage.turns_end()
        assert turn["state"] == "sent"
        assert stage.maria.replies == ["Temos sim!"]
        assert len(n8n.received) == 1
        assert not await stage.paused()
