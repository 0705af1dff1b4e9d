"""Limits, as callers meet them: how often, how many at once, how large, how deep."""

import asyncio
import time
from contextlib import asynccontextmanager

import asyncpg
import pytest

from router.state.direct import DirectDatabase
from tests.clients import patient
from tests.fixtures import webhook
from tests.routers import API_KEY, WEBHOOK_SECRET, environment, running_router
from tests.scenarios.stage import BOTH_HANDLERS, Stage
from tests.state.conversation import Conversation

KEY = {"X-API-Key": API_KEY}
GOOD = {"X-Webhook-Secret": WEBHOOK_SECRET}


@asynccontextmanager
async def calling(database_url: str, **configuration: str):
    async with (
        running_router(environment(database_url, **configuration)) as url,
        patient(base_url=url) as client,
    ):
        yield client


@pytest.fixture
async def talk(database_url: str):
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database, "padaria")
    await talk.open_shop()
    yield talk
    await database.close()


def posted(number: int, instance: str = "padaria", contact: str = "5511955550001") -> dict:
    body = webhook("messages_upsert__text") | {"instance": instance}
    body["data"] |= {"messageTimestamp": int(time.time())}
    key = {**body["data"]["key"], "id": f"3A{number:018X}"}
    key["remoteJid"] = f"{contact}@s.whatsapp.net"
    for other in ("remoteJidAlt", "previousRemoteJid", "senderPn", "senderLid"):
        key.pop(other, None)
    return body | {"data": {**body["data"], "key": key}}


async def test_too_many_calls_get_429_and_are_told_when_to_come_again(database_url: str, talk):
    async with calling(database_url, API_CALLS_PER_MINUTE="3") as client:
        answers = [await client.get("/api/tenants", headers=KEY) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert answers[-1].json()["error"]["code"] == "too_many_calls"
        other = await client.get("/api/tenants", headers={"X-API-Key": "somebody-elses-key"})
        assert other.status_code == 401
        assert (await client.get("/health")).status_code == 200


async def test_a_callers_flood_on_one_tenant_does_not_use_up_its_calls_on_another(
    database_url: str, talk
):
    async with calling(database_url, API_CALLS_PER_MINUTE="2") as client:
        for _ in range(3):
            flooded = await client.get("/api/sessions?tenant_id=1", headers=KEY)
        assert flooded.status_code == 429
        assert (await client.get("/api/tenants/1", headers=KEY)).status_code == 429
        assert (await client.get("/api/sessions?tenant_id=2", headers=KEY)).status_code == 404


async def test_guessing_keys_is_limited_by_address(database_url: str, talk):
    async with calling(database_url, ADDRESS_CALLS_PER_MINUTE="5") as client:
        statuses = [
            (await client.get("/api/tenants", headers={"X-API-Key": f"guess-{n}"})).status_code
            for n in range(7)
        ]
    assert statuses == [401] * 5 + [429] * 2


async def test_a_body_that_is_too_large_gets_413(database_url: str, talk):
    async with calling(database_url, MAX_REQUEST_BYTES="2000") as client:
        large = {"system_prompt": "a" * 3000}
        answer = await client.patch("/api/tenants/1", headers=KEY, json=large)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")

        async def unannounced():
            for _ in range(10):
                yield b" " * 1000

        answer = await client.patch("/api/tenants/1", headers=KEY, content=unannounced())
        assert answer.status_code == 413


@pytest.mark.parametrize(
    "deep", ["[" * 100 + "]" * 100, "[" * 90_000, '{"a":' * 300 + "1" + "}" * 300]
)
async def test_json_that_is_too_deep_gets_422_everywhere(database_url: str, talk, deep: str):
    async with calling(database_url) as client:
        body = f'{{"event": "messages.upsert", "instance": "padaria", "data": {deep}}}'
        hook = await client.post("/webhook/padaria", headers=GOOD, content=body)
        api = await client.patch(
            "/api/tenants/1",
            headers={**KEY, "Content-Type": "application/json"},
            content=f'{{"system_prompt": {deep}}}',
        )
        assert (hook.status_code, api.status_code) == (422, 422)
        assert (await client.get("/health/live")).status_code == 200


async def test_a_refusal_can_be_read_by_a_front_end(database_url: str, talk):
    origin = "https://front.example"
    async with calling(database_url, API_CALLS_PER_MINUTE="1", CORS_ORIGINS=origin) as client:
        for _ in range(2):
            answer = await client.get("/api/tenants", headers={**KEY, "Origin": origin})
    assert answer.status_code == 429
    assert answer.headers["access-control-allow-origin"] == origin


async def test_one_instances_flood_of_webhooks_is_held_back_and_anothers_is_not(
    database_url: str, talk
):
    await talk.open_shop("livraria")
    async with calling(database_url, TENANT_WEBHOOKS_PER_MINUTE="3") as client:
        answers = [
            await client.post("/webhook/padaria", headers=GOOD, json=posted(number))
            for number in range(4)
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        quiet = await client.post(
            "/webhook/livraria", headers=GOOD, json=posted(9, instance="livraria")
        )
        assert quiet.status_code == 200


def many(number: int, instance: str = "padaria") -> dict:
    """One webhook with so many messages, each of another contact."""
    bodies = [posted(n, contact=f"55119{n:08}") for n in range(number)]
    return posted(0, instance=instance) | {"data": [body["data"] for body in bodies]}


async def test_a_webhook_with_many_events_counts_as_many_and_keeps_no_other_instance_waiting(
    database_url: str, talk
):
    """Another's webhook, sent after it, is recorded before most of it is."""
    await talk.open_shop("livraria")
    async with calling(database_url, TENANT_WEBHOOKS_PER_MINUTE="500") as client:
        hog = asyncio.create_task(client.post("/webhook/padaria", headers=GOOD, json=many(600)))
        while not await talk.value("select count(*) from messages"):
            await asyncio.sleep(0.01)
        quiet = await client.post(
            "/webhook/livraria", headers=GOOD, json=posted(9, instance="livraria")
        )
        assert quiet.status_code == 200
        assert (await hog).status_code == 200
        assert len((await hog).json()["decisions"]) == 600
        more = await client.post("/webhook/padaria", headers=GOOD, json=posted(9000))
        assert more.status_code == 429
    assert await talk.value("select count(*) from messages") == 601
    before = await talk.value(
        "select count(*) from messages where tenant_id = 1"
        " and id < (select id from messages where tenant_id = 2)"
    )
    assert before < 400


async def test_of_a_webhook_with_many_events_what_cannot_be_read_costs_only_itself(
    database_url: str, talk
):
    async with calling(database_url) as client:
        body = many(150)
        for item in body["data"][:100]:
            item["key"] = {}
        answer = await client.post("/webhook/padaria", headers=GOOD, json=body)
        assert answer.status_code == 200
        assert len(answer.json()["decisions"]) == 50
        nothing = await client.post(
            "/webhook/padaria", headers=GOOD, json=body | {"data": body["data"][:100]}
        )
        assert (nothing.status_code, nothing.json()["error"]["code"]) == (422, "not_an_envelope")
    assert await talk.value("select count(*) from messages") == 50


async def test_webhooks_that_pile_up_before_a_slow_database_are_held_back_and_none_is_lost(
    database_url: str, talk
):
    blocker = await asyncpg.connect(database_url)
    async with calling(database_url, MAX_WAITING_WEBHOOKS="3") as client:
        async with blocker.transaction():
            await blocker.execute("lock table processed_events in access exclusive mode")
            posts = [
                asyncio.create_task(
                    client.post("/webhook/padaria", headers=GOOD, json=posted(number))
                )
                for number in range(20)
            ]
            first = next(asyncio.as_completed(posts))
            assert (await first).status_code == 429
        statuses = [answer.status_code for answer in await asyncio.gather(*posts)]
        assert set(statuses) == {200, 429}
        assert len(await talk.sql("select id from messages")) == statuses.count(200)
    await blocker.close()


async def test_what_one_tenant_asks_of_the_database_keeps_nobody_elses_waiting(
    database_url: str, talk
):
    other = await talk.open_shop("farmacia")
    await talk.ingest(talk.message("oi", instance="farmacia"))
    (session,) = await talk.sql("select id from sessions where tenant_id = $1::bigint", other)
    blocker = await asyncpg.connect(database_url)
    # On its own: within a transaction, what others do is as it was at the first look.
    watcher = await asyncpg.connect(database_url)
    async with calling(database_url, CRON_SECRET="the-secret-of-cron-0000") as client:
        made = {"name": "theirs", "role": "admin", "tenant_ids": [other]}
        key = (await client.post("/api/api-keys", headers=KEY, json=made)).json()["key"]
        pause = f"/api/sessions/{session['id']}/pause?tenant_id={other}"
        async with blocker.transaction():
            await blocker.execute("select from sessions where id = $1 for update", session["id"])
            held = [
                asyncio.create_task(client.post(pause, headers={"X-API-Key": key}, json={}))
                for _ in range(20)
            ]
            waiting = 0
            while not waiting:
                waiting = await watcher.fetchval(
                    "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
                    " and datname = current_database() and query like '%as_operator%'"
                )
            hook = await client.post("/webhook/padaria", headers=GOOD, json=posted(1))
            cron = {"X-Cron-Secret": "the-secret-of-cron-0000"}
            others = [
                await client.post("/cron/auto-resume", headers=cron),
                await client.get("/api/sessions?tenant_id=1", headers=KEY),
                await client.get("/health"),
            ]
            assert [answer.status_code for answer in (hook, *others)] == [200] * 4
            assert waiting <= 2  # a tenant's part of what all tenants have
            ended = asyncio.as_completed(held, timeout=60)
            busy = [await next(ended) for _ in held[2:]]
            assert {answer.status_code for answer in busy} == {503}
            assert {answer.json()["error"]["code"] for answer in busy} == {"busy"}
            assert {answer.headers["retry-after"] for answer in busy} == {"5"}
        assert [(await each).status_code for each in ended] == [200, 200]
    await watcher.close()
    await blocker.close()


async def test_what_is_not_authenticated_uses_up_nobodys_webhooks(database_url: str, talk):
    async with calling(database_url, TENANT_WEBHOOKS_PER_MINUTE="1") as client:
        for _ in range(5):
            await client.post("/webhook/padaria", json=posted(1))
        answer = await client.post("/webhook/padaria", headers=GOOD, json=posted(1))
        assert answer.status_code == 200


async def test_one_contacts_flood_is_recorded_and_beyond_the_limit_not_answered(
    database_url: str, talk
):
    async with calling(database_url, CONTACT_MESSAGES_PER_MINUTE="3") as client:
        reasons = []
        for number in range(5):
            answer = await client.post("/webhook/padaria", headers=GOOD, json=posted(number))
            assert answer.status_code == 200
            reasons.append(answer.json()["reason"])
        assert reasons == ["turn_pending"] * 3 + ["flood"] * 2
        other = await client.post(
            "/webhook/padaria", headers=GOOD, json=posted(9, contact="5511955550002")
        )
        assert other.json()["reason"] == "turn_pending"
    assert len(await talk.sql("select id from messages where not from_me")) == 6


# --- budgets, with whoever makes the replies


async def set_tenant(stage: Stage, **values: object) -> None:
    await stage.database.call("change_tenant", {"tenant_id": stage.tenant_id, "values": values})


async def spending(stage: Stage) -> dict:
    async with patient(base_url=stage.router_url) as client:
        answer = await client.get(f"/api/tenants/{stage.tenant_id}/spending", headers=KEY)
    return answer.json()


@BOTH_HANDLERS
async def test_when_the_budget_is_used_up_the_llm_is_not_asked_and_rest_says_so(stage: Stage):
    await set_tenant(stage, contact_daily_turns=1, fallback_message="Voltamos amanhã.")
    for text in ("oi", "e agora?", "alguém aí?"):
        await stage.maria.writes(text)
        turns = await stage.turns_end()
    assert len(stage.llm.requests) == 1
    assert stage.maria.replies[1:] == ["Voltamos amanhã."]
    assert [(t["state"], t["reason"], t["error_kind"]) for t in turns[1:]] == [
        ("sent", None, "budget"),
        ("cancelled", "budget", "budget"),
    ]
    spent = await spending(stage)
    assert (spent["turns"], spent["daily_turns"], spent["used_up"]) == (1, None, None)


@BOTH_HANDLERS
async def test_what_a_reply_really_cost_is_what_is_spent(stage: Stage):
    await set_tenant(stage, daily_tokens=100_000)
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    spent = await spending(stage)
    assert spent["tokens"] == turn["tokens_in"] + turn["tokens_out"]
    assert spent["daily_tokens"] == 100_000


async def test_a_budget_smaller_than_what_one_reply_may_cost_is_never_overshot(stage: Stage):
    await set_tenant(stage, daily_tokens=50)
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("cancelled", "budget")
    assert stage.llm.requests == []
    assert (await spending(stage))["tokens"] == 0


async def test_two_bots_are_stopped_and_the_staff_hear_of_it(stage: Stage):
    menu = "Desculpe, não entendi. Digite 1 para vendas ou 2 para suporte. Protocolo {}"
    await set_tenant(stage, loop_replies=3)
    for number in range(5):
        await stage.maria.writes(menu.format(1000 + number))
        await stage.turns_end()
    assert len(stage.maria.replies) == 3
    (session,) = await stage.sessions()
    assert (session["is_paused"], session["pause_source"]) == (True, "ai")
    (notice,) = await stage.sql("select facts from notices")
    assert "two bots" in notice["facts"]["reason"]
