"""Every message is answered by flows in n8n, too, however a send of theirs was refused."""

from loopback.evolution import failures
from tests.scenarios.flow import Flow, given, n8n, playing
from tests.scenarios.stage import Stage

__all__ = ["n8n"]


async def closed_for(flow: Flow, stage: Stage, text: str) -> None:
    """A flow whose send meets a closed connection, and which gives up."""
    stage.shop.fail("sendText", failures.CONNECTION_CLOSED)
    assert (await flow.sends(text)).status_code == 503
    await flow.reports("fail", kind="evolution_away", error="the line is closed")


async def test_a_flow_whose_only_send_was_refused_is_given_both_messages(
    database_url, evolution, llm, n8n
):
    async with playing(database_url, evolution, llm, n8n, RETRY_BASE_SECONDS="3") as stage:
        await stage.maria.writes("tem bolo?")
        await closed_for(await given(stage, n8n), stage, "Temos!")
        await stage.maria.writes("e pão?")
        again = await given(stage, n8n, 2)
        assert [message["text"] for message in again.payload["messages"]] == [
            "tem bolo?",
            "e pão?",
        ]
        assert (await again.sends("Temos os dois!")).status_code == 201
        await again.reports("done")
        await stage.turns_end()
        assert stage.maria.replies == ["Temos os dois!"]


async def test_a_flow_that_has_spoken_is_finished_and_what_came_meanwhile_has_a_turn_of_its_own(
    database_url, evolution, llm, n8n
):
    async with playing(database_url, evolution, llm, n8n, RETRY_BASE_SECONDS="3") as stage:
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, n8n)
        assert (await flow.sends("Vou ver…")).status_code == 201
        await closed_for(flow, stage, "Temos!")
        await stage.maria.writes("e pão?")
        again = await given(stage, n8n, 2)
        assert again.payload["prompt"]["question"] == "e pão?"
        assert (await again.sends("Pão também!")).status_code == 201
        await again.reports("done")
        turns = await stage.turns_end()
        assert [turn["state"] for turn in turns] == ["sent", "sent"]
        assert stage.maria.replies == ["Vou ver…", "Temos!", "Pão também!"]
