"""The whole router with SUPABASE_URL and a key, and no connection to PostgreSQL of its own."""

import json
from collections.abc import AsyncIterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.faults import cut, wrong_answer
from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.stage import Stage, performance
from tests.supabase import TestProject

pytestmark = pytest.mark.both


@pytest.fixture
async def stage(
    database_url: str, postgrest: TestProject, evolution: Evolution, llm: Anthropic
) -> AsyncIterator[Stage]:
    configuration = postgrest.configuration | {"LLM_TIMEOUT": "1", "TURN_LEASE_SECONDS": "6.5"}
    async with performance(database_url, evolution, llm, **configuration) as stage:
        yield stage


async def test_a_message_is_answered_and_a_takeover_pauses(stage: Stage, postgrest: TestProject):
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    assert "ingest_events" in postgrest.calls
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    await stage.until("select is_paused from sessions", lambda rows: rows[0]["is_paused"])
    await stage.maria.writes("obrigada")
    await stage.until("select * from messages", lambda rows: len(rows) == 4)
    await stage.turns_end()
    assert len(stage.maria.replies) == 1


async def test_texts_that_postgresql_cannot_store_arrive_cleaned(stage: Stage):
    await stage.maria.writes("a\x00b \ud83d c")
    await stage.maria.answered()
    (said,) = await stage.sql("select body from messages where not from_me")
    assert said["body"] == "ab \ufffd c"


async def test_an_error_with_such_texts_is_recorded_all_the_same(stage: Stage):
    refusal = {"status": 400, "response": {"message": ["no\x00"]}}
    stage.shop.fail("sendText", wrong_answer(400, refusal), times=None)
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["error"]) == ("dead", "part 1 (text) is given up: 400: no")


async def test_an_operator_who_sends_them_is_told_so(stage: Stage):
    headers = {"X-API-Key": API_KEY, "Content-Type": "application/json"}
    async with patient(base_url=stage.router_url, headers=headers) as client:
        for text in ("a\x00b", "a\ud83db"):
            answer = await client.patch(
                f"/api/tenants/{stage.tenant_id}", content=json.dumps({"system_prompt": text})
            )
            assert answer.status_code == 422, answer.text
        for path in ("/api/instances/a%00b/qrcode", "/api/sessions?tenant_id=1&cursor=%00"):
            answer = await client.get(path)
            assert answer.status_code in (404, 422), answer.text


async def test_a_message_is_neither_lost_nor_doubled_when_the_answer_to_its_record_is_lost(
    stage: Stage, postgrest: TestProject
):
    postgrest.fail(cut(after=True), function="ingest_events")
    await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    assert len(await stage.sql("select * from messages where not from_me")) == 1
    assert len(stage.maria.replies) == 1


async def test_postgrest_killed_during_the_llm_call(stage: Stage, postgrest: TestProject):
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    postgrest.stop()
    gate.open()
    delivery = stage.maria.writes("de cenoura?")
    await delivery.first_try()
    postgrest.start()
    assert (await delivery).state == "delivered"
    await stage.until("select * from messages where not from_me", lambda rows: len(rows) == 2)
    await stage.maria.answered()
    await stage.turns_end()
    assert not await stage.paused()


async def test_postgrest_killed_between_the_send_and_its_record(
    stage: Stage, postgrest: TestProject
):
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    postgrest.stop()
    gate.open()
    postgrest.start()
    await stage.maria.answered()
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.shop.calls("sendText")) == 1
    assert len(stage.maria.replies) == 1
    assert not await stage.paused()


async def test_a_postgrest_that_has_not_read_the_schema_yet_loses_nothing(
    stage: Stage, postgrest: TestProject
):
    """As it answers after its start, and until its database lets it read."""
    unread = {"code": "PGRST002", "message": "Could not query the database for the schema cache."}
    postgrest.fail(wrong_answer(503, unread), times=None)
    delivery = stage.maria.writes("tem bolo?")
    await delivery.first_try()
    assert delivery.attempts[0].status == 503
    postgrest.heal()
    await stage.maria.answered()
    await stage.turns_end()
    assert len(await stage.sql("select * from messages where not from_me")) == 1
    assert len(stage.maria.replies) == 1
