"""Sends that belong to no turn: no next attempt settles their doubts, so the router does."""

import pytest

from loopback.evolution import failures
from tests.scenarios.stage import Stage


async def answered(stage: Stage) -> None:
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await stage.turns_end()


@pytest.mark.parametrize("fault", [failures.TAKEN_THEN_CUT, failures.CUT])
async def test_a_notice_whose_answer_was_lost_is_told_once(stage: Stage, fault):
    ana = stage.shop.customer("5511955559999", name="Ana")
    await ana.writes("oi")  # so that her chat is seen to be stored
    await ana.answered()
    await stage.turns_end()
    await stage.database.call(
        "change_tenant",
        {"tenant_id": stage.tenant_id, "values": {"notify_number": ana.number}},
    )
    await answered(stage)
    stage.shop.tells_sends = "never"
    stage.shop.fail("sendText", fault)
    (session,) = await stage.sql("select id from sessions where contact_name = 'Maria'")
    await stage.sql(
        "insert into notices (tenant_id, session_id, kind, facts, next_at)"
        " values ($1, $2, 'handoff', '{\"reason\": \"asked for a person\"}', now())",
        stage.tenant_id,
        session["id"],
    )
    await ana.answered(2)
    await stage.until(
        "select n.state, m.send_state from notices n left join messages m on m.id = n.message_id",
        lambda rows: rows == [{"state": "delivered", "send_state": "sent"}],
    )
    assert len(ana.replies) == 2
