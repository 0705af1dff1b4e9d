"""The webhook as Evolution meets it: who may post, what is answered, what is logged."""

import asyncio
import json
import logging

import pytest

from router.state.direct import DirectDatabase
from tests.clients import patient
from tests.fixtures import webhook
from tests.routers import WEBHOOK_SECRET, environment, running_router
from tests.state.conversation import Conversation

GOOD = {"X-Webhook-Secret": WEBHOOK_SECRET}


@pytest.fixture
async def client(database_url: str):
    async with (
        running_router(environment(database_url, MAX_WEBHOOK_BYTES="20000")) as url,
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


def body(name: str = "messages_upsert__text") -> dict:
    return webhook(name) | {"instance": "padaria"}


async def test_a_message_is_accepted_and_the_answer_says_as_what(client, talk):
    answer = await client.post("/webhook/padaria", headers=GOOD, json=body())
    assert answer.status_code == 200
    assert answer.json()["status"] == "accepted"
    assert answer.json()["event"] == "messages.upsert"
    assert len(await talk.sayings()) == 1
    again = await client.post("/webhook/padaria", headers=GOOD, json=body())
    assert again.json()["status"] == "duplicate"


async def test_by_events_the_path_has_one_more_segment(client, talk):
    answer = await client.post("/webhook/padaria/messages-upsert", headers=GOOD, json=body())
    assert answer.json()["status"] == "accepted"


@pytest.mark.parametrize("how", ["header", "bearer", "query"])
async def test_the_secret_may_come_in_each_way(client, talk, how):
    headers = {"header": GOOD, "bearer": {"Authorization": f"Bearer {WEBHOOK_SECRET}"}, "query": {}}
    path = "/webhook/padaria" + (f"?token={WEBHOOK_SECRET}" if how == "query" else "")
    assert (await client.post(path, headers=headers[how], json=body())).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-Webhook-Secret": "wrong"}])
async def test_without_the_secret_nothing_is_recorded(client, talk, headers):
    answer = await client.post("/webhook/padaria", headers=headers, json=body())
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "bad_secret"
    assert await talk.sayings() == []


async def test_no_secret_configured_means_closed(database_url: str):
    env = environment(database_url) | {"EVOLUTION_WEBHOOK_SHARED_SECRET": ""}
    async with running_router(env) as url, patient(base_url=url) as client:
        answer = await client.post(
            "/webhook/padaria", headers={"X-Webhook-Secret": ""}, json=body()
        )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "no_secret_configured"


async def test_what_is_too_large_is_413(client, talk):
    large = json.dumps(body() | {"padding": "x" * 30_000})
    assert (await client.post("/webhook/padaria", headers=GOOD, content=large)).status_code == 413

    async def chunks():
        yield large.encode()

    unannounced = await client.post("/webhook/padaria", headers=GOOD, content=chunks())
    assert unannounced.status_code == 413


@pytest.mark.parametrize(
    "content", ["", "no json", "[]", "{}", '{"event": 7}', '{"event": "messages.upsert"}']
)
async def test_what_is_no_envelope_is_422_with_a_reason(client, talk, content):
    answer = await client.post("/webhook/padaria", headers=GOOD, content=content)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


async def test_an_instance_without_a_tenant_is_503_so_that_evolution_tries_again(client, talk):
    other = body() | {"instance": "nobody"}
    answer = await client.post("/webhook/nobody", headers=GOOD, json=other)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"]["code"] == "unknown_instance"
    await talk.open_shop("nobody")
    assert (await client.post("/webhook/nobody", headers=GOOD, json=other)).status_code == 200


async def test_a_database_that_is_away_is_503_and_nothing_is_lost_by_it():
    env = environment("postgresql://nobody:nothing@127.0.0.1:9/none")
    async with running_router(env) as url, patient(base_url=url) as client:
        answer = await client.post("/webhook/padaria", headers=GOOD, json=body())
        health = await client.get("/health")
        live = await client.get("/health/live")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_away")
    assert "retry-after" in answer.headers
    assert (health.status_code, health.json()["ok"]) == (503, False)
    assert live.status_code == 200


async def test_events_that_are_not_used_are_ignored_with_the_reason(client, talk):
    answer = await client.post("/webhook/padaria", headers=GOOD, json=body("contacts_upsert__list"))
    assert answer.json() == {
        "status": "ignored",
        "event": "contacts.upsert",
        "reason": "event not used: contacts.upsert",
    }


async def test_a_hundred_webhooks_at_once_are_each_taken_once(client, talk):
    bodies = [body() for _ in range(100)]
    for number, one in enumerate(bodies):
        one["data"] = one["data"] | {"key": one["data"]["key"] | {"id": f"AC{number:030X}"}}
    answers = await asyncio.gather(
        *(client.post("/webhook/padaria", headers=GOOD, json=one) for one in bodies)
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len(await talk.sayings()) == 100


async def test_no_line_at_info_level_holds_message_text_or_a_secret(client, talk, caplog):
    with caplog.at_level(logging.INFO):
        await client.post("/webhook/padaria", headers=GOOD, json=body())
    lines = [f"{record.message} {record.__dict__.get('fields')}" for record in caplog.records]
    assert any("Webhook received" in line for line in lines)
    text = body()["data"]["message"]["conversation"]
    assert not [line for line in lines if text in line or WEBHOOK_SECRET in line]
    assert not [line for line in lines if body()["apikey"] in line]
