"""So many turns are in n8n at once: no more of them, and no fewer while others wait."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.scenarios.answering import AnsweringN8n
from tests.scenarios.flow import KEY
from tests.scenarios.stage import Stage, performance


@pytest.fixture
def n8n() -> Iterator[AnsweringN8n]:
    with AnsweringN8n() as n8n:
        yield n8n


@pytest.fixture(params=[("2", "1"), ("4", "0.5")], ids=["all are its own", "half are its own"])
async def stage(request, database_url: str, evolution, llm, n8n) -> AsyncIterator[Stage]:
    """One whose tenant may have two turns in n8n: as many as there are places, or its share."""
    places, share = request.param
    configuration = {
        "N8N_ENABLED": "true",
        "N8N_API_KEY": KEY,
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        "N8N_MAX_IN_FLIGHT": places,
        "TENANT_SHARE": share,
        "POLL_SECONDS": "600",
    }
    async with performance(database_url, evolution, llm, **configuration) as stage:
        yield stage


async def test_a_place_in_n8n_is_free_as_soon_as_its_flow_has_answered(
    stage: Stage, n8n: AnsweringN8n
):
    """However slowly what it said is sent; and never are more turns there than there are places."""
    gate, sends = n8n.hold(), stage.shop.hold("sendText")
    people = [stage.shop.customer(f"551195555010{number}", name="Rui") for number in range(6)]
    for each in people:
        await each.writes("tem bolo?")
    await n8n.gets(2)
    due = "select id from turns where state = 'pending'"
    await stage.until(due, lambda rows: len(rows) == 4)
    assert len(n8n.received) == 2
    gate.open()
    assert len(await n8n.gets(6)) == 6, "while no reply has left"
    await sends.reached(6)
    sends.open()
    await stage.turns_end()
    assert [each.replies for each in people] == [["Oi!"]] * 6


async def test_who_has_an_llm_key_of_its_own_is_answered_while_n8n_is_full(
    stage: Stage, n8n: AnsweringN8n
):
    """No flow makes its replies, so it has no need of a place there."""
    other = await stage.open_shop("florista", llm_api_key="sk-ant-of-the-tenant")
    gate = n8n.hold()
    for number in range(6):
        await stage.shop.customer(f"551195555010{number}", name="Rui").writes("tem bolo?")
    await n8n.gets(2)
    maria = other.customer("5511955550200", name="Maria")
    await maria.writes("tem rosas?")
    await stage.until("select id from turns where state = 'sent'", lambda rows: len(rows) == 1)
    assert len(maria.replies) == 1
    assert len(n8n.received) == 2
    gate.open()
    await stage.turns_end()
