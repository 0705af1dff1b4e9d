"""The workflows of notices, and the example agent that calls a human, in the real n8n."""

from collections.abc import Iterator

import pytest

from loopback.receiver import WebhookReceiver
from loopback.replies import calls_tool
from tests.scenarios.stage import Stage

pytestmark = pytest.mark.n8n

ANA = "5511955559999"


@pytest.fixture
def tickets() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


async def tells(stage: Stage, number: str | None, url: str | None) -> None:
    values = {"notify_number": number, "notify_url": url}
    await stage.database.call("change_tenant", {"tenant_id": stage.tenant_id, "values": values})


async def told(stage: Stage) -> dict[str, object]:
    (notice,) = await stage.until(
        "select * from notices", lambda rows: bool(rows) and rows[0]["state"] == "delivered"
    )
    return notice


async def test_the_agent_calls_a_human_who_is_told_everywhere(staged, llm, tickets):
    llm.answers(calls_tool("Call_a_human", reason="wants a refund", summary="The cake was dry."))
    llm.answers("Um momento, vou chamar alguém.")
    async with staged("agent") as stage:
        await tells(stage, ANA, tickets.url)
        ana = stage.shop.customer(ANA, name="Ana")
        await stage.maria.writes("quero meu dinheiro de volta!")
        notice = await told(stage)
        (session, *_) = await stage.sessions()
        assert (session["is_paused"], session["pause_source"]) == (True, "ai")
        (said,) = stage.maria.replies
        assert said != "Um momento, vou chamar alguém.", "after the handoff the agent is not heard"
        assert ["wants a refund" in reply for reply in ana.replies] == [True]
        (ticket,) = await tickets.gets(1)
    assert notice["kind"] == "handoff"
    assert ticket.body["summary"] == "The cake was dry."
    assert "token" not in ticket.body


async def test_the_agent_looks_at_the_history_and_answers(staged, llm):
    llm.answers("Temos, sim!", "R$ 32.")
    async with staged("agent") as stage:
        for number, text in enumerate(("tem bolo?", "quanto custa?"), start=1):
            await stage.maria.writes(text)
            await stage.maria.answered(number)
        await stage.turns_end()
    assert "tem bolo?" in llm.requests[-1].text
    assert [tool["name"] for tool in llm.requests[-1].body["tools"]] == ["Look_up", "Call_a_human"]


async def test_a_lost_connection_is_told(staged, tickets):
    async with staged() as stage:
        await tells(stage, None, tickets.url)
        await stage.shop.line.breaks()
        await stage.time_comes_to("select next_at from notices")
        notice = await told(stage)
        (ticket,) = await tickets.gets(1)
    assert notice["kind"] == "connection_lost"
    assert "padaria" in ticket.body["text"]
