"""Sends that belong to no turn: what a human writes through HybridFlow, and notices.

Nobody's next attempt settles their doubts; the router does so by itself.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr

from loopback.evolution import failures
from router.errors import NotFound
from router.evolution.sends import EvolutionSends
from router.sending.outbox import Outbox, SendTerms
from router.sending.outcomes import InDoubt, SendStopped, Sent
from router.sending.outgoing import Outgoing
from router.sending.speakers import Writing, human
from router.sending.times import SendTimes
from router.sharing.places import SendPlaces
from router.tenants.instance import InstanceKeys
from tests.scenarios.stage import Stage

HELLO = Outgoing.plain("Aqui é a Ana, já vejo!")


@pytest.fixture
async def outbox(stage: Stage) -> AsyncIterator[Outbox]:
    """The way out of an endpoint that is still to come, beside the router of the stage."""
    keys = InstanceKeys(SecretStr("of no tenant"))
    times = SendTimes(timeout=2, settle=3, lease=10)
    terms = SendTerms(times, check_after=0.5, policy={})
    async with httpx.AsyncClient(timeout=2) as http:
        way_out = Outbox(stage.database, EvolutionSends(http), keys, SendPlaces(5), terms)
        yield way_out
        await way_out.stop()


async def to_maria(stage: Stage, *, knowingly: bool = False) -> Writing:
    """Ana, who has seen all that is in the conversation."""
    (session,) = await stage.sessions()
    (last,) = await stage.sql("select max(id) as id from messages where not from_me")
    return Writing(
        session["tenant_id"], session["id"], last["id"], knowingly=knowingly, author="Ana"
    )


async def answered(stage: Stage) -> None:
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await stage.turns_end()


async def test_what_a_human_writes_pauses_the_session_and_a_pause_is_no_obstacle(
    stage: Stage, outbox: Outbox
):
    await answered(stage)
    writing = await to_maria(stage)
    first = await outbox.send(human(writing), HELLO)
    assert isinstance(first, Sent)
    assert await stage.paused()
    goes_on = replace(writing, seen_message_id=first.message_id)
    assert isinstance(await outbox.send(human(goes_on), Outgoing.plain("Temos!")), Sent)
    assert stage.maria.replies[1:] == [HELLO.text, "Temos!"]
    await stage.shop.echoes(stage.maria)
    rows = await stage.sql("select * from messages where from_me order by id")
    assert [row["sender"] for row in rows] == ["ai", "operator", "operator"]
    assert rows[1]["author_name"] == "Ana"


async def test_another_human_who_wrote_meanwhile_is_told_of_and_may_be_overruled(
    stage: Stage, outbox: Outbox
):
    await answered(stage)
    writing = await to_maria(stage)
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    with pytest.raises(SendStopped) as stopped:
        await outbox.send(human(writing), HELLO)
    assert stopped.value.answer is not None
    assert (stopped.value.reason, stopped.value.answer.by) == ("human_wrote", "owner")
    assert HELLO.text not in stage.maria.replies
    knowingly = await to_maria(stage, knowingly=True)
    assert isinstance(await outbox.send(human(knowingly), HELLO), Sent)


async def test_to_a_session_of_another_tenant_nobody_writes(stage: Stage, outbox: Outbox):
    await answered(stage)
    writing = await to_maria(stage)
    with pytest.raises(NotFound):
        await outbox.send(human(Writing(writing.tenant_id + 1, writing.session_id)), HELLO)


@pytest.mark.parametrize(
    ("fault", "ends_as"),
    [(failures.TAKEN_THEN_CUT, "sent"), (failures.CUT, "failed")],
    ids=["it left", "it never left"],
)
async def test_a_doubt_about_what_a_human_wrote_is_settled_and_nothing_is_repeated(
    stage: Stage, outbox: Outbox, fault, ends_as: str
):
    await answered(stage)
    stage.shop.tells_sends = "never"
    stage.shop.fail("sendText", fault)
    sent = await outbox.send(human(await to_maria(stage)), HELLO)
    assert isinstance(sent, InDoubt)
    await stage.until(
        "select send_state from messages where sender = 'operator'",
        lambda rows: rows[0]["send_state"] == ends_as,
    )
    assert len(stage.shop.calls("sendText")) == 2
    assert await stage.paused()


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
