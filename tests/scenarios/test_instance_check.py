"""`/api/instances/{name}/test-webhook`: what is wrong on the way is named, with its cure."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from loopback.evolution import Business, Evolution, failures
from router.settings import load_settings
from router.state.opening import open_database
from scripts.connecting import Connection, connect
from tests.routers import API_KEY, RouterProcess, environment
from tests.scenarios.office import WEBHOOK_SECRET, Office, open_office
from tests.state.conversation import Conversation

ROUTER = "https://router.example"
WEBHOOK = f"{ROUTER}/webhook/shop"


@pytest.fixture
def shop(evolution: Evolution) -> Business:
    """An instance that is connected, and whose webhook is as it should be."""
    shop = evolution.instance("shop", token="token-of-the-shop-000000001")
    shop.sends_webhooks_to(WEBHOOK, headers={"X-Webhook-Secret": WEBHOOK_SECRET})
    return shop


@pytest.fixture
async def office(database_url: str, evolution: Evolution, shop: Business) -> AsyncIterator[Office]:
    async with open_office(database_url, PUBLIC_URL=ROUTER) as office:
        await office.talk.sql(
            "update tenants set evo_server_url = $1, evo_api_key = $2", evolution.url, shop.token
        )
        yield office


async def look(office: Office, name: str = "shop") -> Any:
    return await office.get(f"/api/instances/{name}/test-webhook")


def step(check: Any, name: str) -> Any:
    (found,) = [step for step in check["steps"] if step["step"] == name]
    return found


async def test_where_all_is_well_every_step_says_so(office: Office):
    check = await look(office)
    assert check["ok"], check
    assert check["failed"] is None
    assert [step["step"] for step in check["steps"]] == [
        *("database", "tenant", "evolution", "instance", "connection"),
        *("webhook", "webhook_url", "webhook_events", "webhook_secret", "llm"),
    ]
    assert check["warnings"] == []
    assert WEBHOOK_SECRET not in str(check)


async def test_an_instance_of_no_tenant_is_said_with_the_command_that_adds_one(office: Office):
    check = await look(office, "nobody")
    assert (check["ok"], check["failed"]) == (False, "tenant")
    assert "scripts.tenant add nobody" in step(check, "tenant")["cure"]


async def test_an_evolution_that_is_away_is_said(office: Office, evolution: Evolution):
    evolution.stop()
    check = await look(office)
    assert check["failed"] == "evolution"
    assert evolution.url in step(check, "evolution")["cure"]
    assert step(check, "llm")["ok"]


async def test_a_wrong_key_is_said(office: Office):
    await office.talk.sql("update tenants set evo_api_key = 'wrong'")
    check = await look(office)
    assert check["failed"] == "instance"
    assert step(check, "evolution")["ok"]
    assert "401" in step(check, "instance")["detail"]
    assert "evo_api_key" in step(check, "instance")["cure"]


async def test_no_key_at_all_is_said(office: Office):
    await office.talk.sql("update tenants set evo_api_key = null")
    check = await look(office)
    assert check["failed"] == "instance"
    assert "EVOLUTION_API_KEY" in step(check, "instance")["detail"]


async def test_an_instance_that_evolution_does_not_have_is_said(office: Office):
    await office.talk.open_shop("other")
    await office.talk.sql(
        "update tenants set evo_server_url = (select evo_server_url from tenants where id = 1),"
        " evo_api_key = 'any'"
    )
    check = await look(office, "other")
    assert check["failed"] == "instance"
    assert "create the instance other" in step(check, "instance")["cure"]


async def test_a_phone_that_is_not_connected_is_said(office: Office, shop: Business):
    shop.line.breaks()
    check = await look(office)
    assert check["failed"] == "connection"
    assert "scripts.tenant connect shop" in step(check, "connection")["cure"]
    assert step(check, "webhook_secret")["ok"]


async def test_a_webhook_that_is_not_set_is_said(office: Office, shop: Business):
    shop.webhooks.setting = None
    assert (await look(office))["failed"] == "webhook"


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"enabled": False}, "webhook"),
        ({"url": "https://elsewhere.example/webhook/shop"}, "webhook_url"),
        ({"url": f"{ROUTER}/webhook/other"}, "webhook_url"),
        ({"events": ("CONNECTION_UPDATE", "CALL")}, "webhook_events"),
        ({"headers": {}}, "webhook_secret"),
        ({"headers": {"X-Webhook-Secret": "other"}}, "webhook_secret"),
        ({"headers": {"Authorization": "Bearer other"}}, "webhook_secret"),
        ({"headers": {"jwt_key": "other"}}, "webhook_secret"),
    ],
)
async def test_a_webhook_that_cannot_work_is_said_with_its_cure(
    office: Office, shop: Business, change: dict[str, Any], failed: str
):
    assert shop.webhooks.setting is not None
    shop.webhooks.setting = replace(shop.webhooks.setting, **change)
    check = await look(office)
    assert check["failed"] == failed
    assert "scripts.tenant connect shop" in step(check, failed)["cure"]


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"Authorization": f"Bearer {WEBHOOK_SECRET}"}},
        {"headers": {"jwt_key": WEBHOOK_SECRET}},
        {"headers": {"x-webhook-secret": WEBHOOK_SECRET}},
        {"headers": {}, "url": f"{WEBHOOK}?token={WEBHOOK_SECRET}"},
        {"by_events": True},
        {"url": f"{WEBHOOK}/"},
    ],
)
async def test_every_form_that_the_router_takes_is_well(
    office: Office, shop: Business, change: dict[str, Any]
):
    assert shop.webhooks.setting is not None
    shop.webhooks.setting = replace(shop.webhooks.setting, **change)
    check = await look(office)
    assert check["ok"], check
    assert WEBHOOK_SECRET not in str(check)


async def test_events_that_would_be_missed_are_warned_of(office: Office, shop: Business):
    assert shop.webhooks.setting is not None
    guide = ("QRCODE_UPDATED", "MESSAGES_UPSERT", "MESSAGES_UPDATE", "CONNECTION_UPDATE")
    shop.webhooks.setting = replace(shop.webhooks.setting, events=guide)
    check = await look(office)
    assert check["ok"]
    assert any("SEND_MESSAGE" in warning for warning in check["warnings"])


async def test_evolutions_own_bots_are_warned_of(office: Office, shop: Business):
    shop.bots = {"openai": [{"id": "b1", "enabled": True}], "n8n": [{"id": "b2", "enabled": False}]}
    check = await look(office)
    assert check["ok"]
    (warning,) = check["warnings"]
    assert "openai" in warning


async def test_a_tenant_that_is_not_active_and_a_well_known_key_are_warned_of(
    office: Office, evolution: Evolution
):
    evolution.key = "429683C4C977415CAAFCCE10F7D57E11"
    await office.talk.sql("update tenants set is_active = false, evo_api_key = $1", evolution.key)
    check = await look(office)
    assert check["ok"]
    assert "not active" in check["warnings"][0]
    assert "known to all" in check["warnings"][1]


async def test_a_provider_without_a_key_is_said(office: Office):
    await office.talk.sql("update tenants set llm_provider = 'openai'")
    check = await look(office)
    assert check["failed"] == "llm"
    assert step(check, "llm")["cure"] == "set OPENAI_API_KEY"


async def test_a_database_that_is_away_is_said_as_a_step(office: Office):
    await office.talk.database.close()
    check = await look(office)
    assert check["failed"] == "database"
    assert step(check, "llm")["ok"]


async def test_an_evolution_that_breaks_in_the_middle_is_said(office: Office, shop: Business):
    shop.fail("webhook/find", failures.BROKEN)
    assert (await look(office))["failed"] == "webhook"


async def test_a_trial_that_does_not_arrive_is_said(office: Office, evolution: Evolution):
    office.app.state.settings = office.app.state.settings.model_copy(
        update={"public_url": evolution.url}
    )
    check = await office.post("/api/instances/shop/test-webhook")
    assert not step(check, "trial")["ok"]
    assert "404" in step(check, "trial")["detail"]
    evolution.stop()
    check = await office.post("/api/instances/shop/test-webhook")
    assert "cannot be reached" in step(check, "trial")["detail"]


async def test_without_a_public_address_no_trial_is_sent(database_url: str):
    async with open_office(database_url) as office:
        check = await office.post("/api/instances/shop/test-webhook")
    assert "PUBLIC_URL" in check["warnings"][-1]
    assert all(step["step"] != "trial" for step in check["steps"])


async def test_a_trial_arrives_where_connect_has_set_everything_up(
    database_url: str, evolution: Evolution, capsys: pytest.CaptureFixture[str]
):
    router = RouterProcess(environment(database_url))
    router._env |= {"PUBLIC_URL": router.url, "EVOLUTION_API_KEY": evolution.key}
    router._env["EVOLUTION_SERVERS"] = evolution.url
    settings = load_settings(router._env, env_file=None)
    shop = evolution.instance("shop")
    try:
        router.start()
        await router.ready()
        async with open_database(settings) as database:
            talk = Conversation(database)
            await talk.open_shop()
            await talk.sql("update tenants set evo_server_url = $1", evolution.url)
            await connect(settings, database, Connection("shop", None, timeout_seconds=20))
        async with httpx.AsyncClient(base_url=router.url, trust_env=False) as http:
            answer = await http.post(
                "/api/instances/shop/test-webhook", headers={"X-API-Key": API_KEY}
            )
        assert answer.json()["ok"], answer.text
        assert answer.json()["steps"][-2]["step"] == "trial"
        told = await shop.customer().writes("oi")
        assert told.answer["status"] == "accepted"
    finally:
        router.close()
