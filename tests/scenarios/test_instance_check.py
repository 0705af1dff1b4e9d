"""`/api/instances/{name}/test-webhook`: what is wrong on the way is named, with its cure."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from loopback.evolution import Business, Evolution, failures
from loopback.receiver import WebhookReceiver
from router.api.probing import make_probe, post_probe
from router.configuration.settings import load_settings
from router.embedded.ports import free_port
from router.evolution.client import WebhookSettings
from router.http.services import provide
from router.intake.auth import Verdict, examine
from router.intake.routes import router as webhook_router
from router.state.opening import open_database
from scripts.connecting import Connection, connect
from tests.clients import patient
from tests.forks import ForkedRouter
from tests.postgres import Databases
from tests.routers import (
    API_KEY,
    door,
    environment,
    serving,
    url_of,
)
from tests.scenarios.office import WEBHOOK_SECRET, Office, open_office
from tests.services import intake_services
from tests.state.conversation import Conversation


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with door() as listener:
        yield listener


@pytest.fixture
def router(listener: socket.socket) -> str:
    """Where Evolution reaches the router."""
    return url_of(listener)


@pytest.fixture
def shop(evolution: Evolution, router: str) -> Business:
    """An instance that is connected, and whose webhook is as it should be."""
    shop = evolution.instance("shop", token="token-of-the-shop-000000001")
    headers = {"X-Webhook-Secret": WEBHOOK_SECRET}
    shop.sends_webhooks_to(f"{router}/webhook/shop", headers=headers)
    return shop


@pytest.fixture
def public_url(router: str) -> str | None:
    return router


@pytest.fixture
async def office(
    database_url: str,
    evolution: Evolution,
    shop: Business,
    listener: socket.socket,
    public_url: str | None,
) -> AsyncIterator[Office]:
    async with open_office(database_url, PUBLIC_URL=public_url) as office:
        await office.talk.sql(
            "update tenants set evo_server_url = $1, evo_api_key = $2", evolution.url, shop.token
        )
        await office.talk.maria_writes("oi")
        take_webhooks(office)
        async with serving(office.app, office.services.settings, listener):
            yield office


def take_webhooks(office: Office) -> None:
    provide(office.app, intake_services(office.services.settings, office.talk.database))
    office.app.router.routes.extend(webhook_router.routes)


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
        *("webhook", "webhook_url", "webhook_form", "webhook_events", "webhook_secret"),
        *("round_trip", "last_event", "llm"),
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


def set_up(shop: Business, router: str, change: dict[str, Any]) -> None:
    """Change the webhook that Evolution has; `{router}` in its URL is where the router is."""
    assert shop.webhooks.setting is not None
    if "url" in change:
        change = change | {"url": change["url"].replace("{router}", router)}
    shop.webhooks.setting = replace(shop.webhooks.setting, **change)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"enabled": False}, "webhook"),
        ({"url": "https://elsewhere.example/webhook/shop"}, "webhook_url"),
        ({"url": "{router}/webhook/other"}, "webhook_url"),
        ({"events": ("CONNECTION_UPDATE", "CALL")}, "webhook_events"),
        ({"headers": {}}, "webhook_secret"),
        ({"headers": {"X-Webhook-Secret": "other"}}, "webhook_secret"),
        ({"headers": {"Authorization": "Bearer other"}}, "webhook_secret"),
        ({"headers": {"jwt_key": "other"}}, "webhook_secret"),
        ({"base64": True}, "webhook_form"),
        (
            {
                "headers": {},
                "url": f"{{router}}/webhook/shop?token={WEBHOOK_SECRET}",
                "by_events": True,
            },
            "webhook_form",
        ),
        ({"url": "http://[x/webhook/shop"}, "webhook"),
        ({"url": "webhook/shop"}, "webhook"),
    ],
)
async def test_a_webhook_that_cannot_work_is_said_with_its_cure(
    office: Office, shop: Business, router: str, change: dict[str, Any], failed: str
):
    set_up(shop, router, change)
    check = await look(office)
    assert check["failed"] == failed
    assert "scripts.tenant connect shop" in step(check, failed)["cure"]


_PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZI\n-----END PUBLIC KEY-----"


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"jwt_key": _PEM, "X-Webhook-Secret": WEBHOOK_SECRET}},
        {"headers": {"X-Webhook-Secret": WEBHOOK_SECRET, "X-Own": "\u2603"}},
        {"url": "http://xn--a/webhook/shop"},
        {"url": "http://127.0.0.1:99999/webhook/shop"},
        {"url": "http://127.0.0.1:0/webhook/shop"},
    ],
)
async def test_what_no_probe_can_be_made_of_is_said_and_no_fault_of_ours(
    office: Office, shop: Business, router: str, change: dict[str, Any]
):
    set_up(shop, router, change)
    check = await look(office)
    assert check["ok"] is False
    assert check["failed"] in ("webhook", "webhook_url", "round_trip")
    assert WEBHOOK_SECRET not in str(check)


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"Authorization": f"Bearer {WEBHOOK_SECRET}"}},
        {"headers": {"jwt_key": WEBHOOK_SECRET}},
        {"headers": {"x-webhook-secret": WEBHOOK_SECRET}},
        {"headers": {}, "url": f"{{router}}/webhook/shop?token={WEBHOOK_SECRET}"},
        {"by_events": True},
        {"url": "{router}/webhook/shop/"},
        {"url": "{router}/webhook/shop/", "by_events": True},
    ],
)
async def test_every_form_that_the_router_takes_is_well(
    office: Office, shop: Business, router: str, change: dict[str, Any]
):
    set_up(shop, router, change)
    check = await look(office)
    assert check["ok"], check
    assert WEBHOOK_SECRET not in str(check)

    told = await shop.customer().writes("tem bolo?")
    assert told.answer["status"] == "accepted"


class TestWhereNothingArrives:
    """Without PUBLIC_URL nothing but the round trip tells."""

    @pytest.fixture
    def public_url(self) -> str | None:
        return None

    async def fails(self, office: Office, words: str) -> None:
        for method in ("GET", "POST"):
            answer = await office.api.request(method, "/api/instances/shop/test-webhook")
            check = answer.json()
            assert check["failed"] == "round_trip", check
            assert words in step(check, "round_trip")["detail"]
            assert "scripts.tenant connect shop" in step(check, "round_trip")["cure"]
            assert WEBHOOK_SECRET not in str(check)

    async def test_a_dead_port(self, office: Office, shop: Business):
        dead = f"http://127.0.0.1:{free_port()}"
        set_up(shop, dead, {"url": f"{{router}}/webhook/shop?token={WEBHOOK_SECRET}"})
        await self.fails(office, f"{dead}/webhook/shop cannot be reached")

    async def test_a_program_that_takes_whatever_it_gets(self, office: Office, shop: Business):
        with WebhookReceiver() as other:
            set_up(shop, other.url, {"url": "{router}/webhook/shop"})
            await self.fails(office, "not this router")

    async def test_another_deployment_with_the_same_secrets(
        self, office: Office, shop: Business, databases: Databases, template_url: str
    ):
        theirs = databases.create(template=template_url)
        with door() as listener:
            async with open_office(theirs) as other:
                take_webhooks(other)
                async with serving(other.app, other.services.settings, listener):
                    set_up(shop, url_of(listener), {"url": "{router}/webhook/shop"})
                    await self.fails(office, "not this router")
        databases.drop(theirs)

    async def test_a_prefix_that_the_router_does_not_have(
        self, office: Office, shop: Business, router: str
    ):
        set_up(shop, router, {"url": "{router}/prefix/webhook/shop"})
        await self.fails(office, "answers 404")

    async def test_a_server_that_never_answers(
        self, office: Office, shop: Business, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("router.api.round_trip._PATIENCE", 0.5)
        with door() as silent:
            silent.listen()
            set_up(shop, url_of(silent), {"url": "{router}/webhook/shop"})
            await self.fails(office, "no answer in time")

    async def test_headers_that_no_request_can_have(self, office: Office, shop: Business):
        headers = {"X-Webhook-Secret": WEBHOOK_SECRET, "X-Note": "a\r\nb: c"}
        set_up(shop, "", {"headers": headers})
        await self.fails(office, "cannot be reached")

    async def test_where_it_does_arrive_that_is_said(self, office: Office, router: str):
        check = await look(office)
        assert check["ok"], check
        assert f"{router}/webhook/shop has arrived" in step(check, "round_trip")["detail"]


async def test_the_probe_is_marked_posted_once_and_moves_nothing(office: Office, shop: Business):
    before = await office.talk.sql("select * from sessions, turns")
    await look(office)
    await look(office)
    probes = await office.talk.sql(
        "select event, decision from processed_events where event_key like 'probe:%'"
    )
    assert [probe["event"] for probe in probes] == ["hybridflow.test"] * 2
    assert await office.talk.sql("select * from sessions, turns") == before
    assert shop.calls("sendText") == []


async def test_the_probe_carries_what_evolution_would_send(office: Office, shop: Business):
    """Its headers, jwt_key as a token; but nothing that belongs to the connection."""
    headers = {"jwt_key": "theirs", "X-Own": "1", "Host": "other.example", "Content-Length": "0"}
    with WebhookReceiver() as other:
        found = WebhookSettings(other.url, enabled=True, events=(), headers=headers)
        async with patient() as http:
            await post_probe(http, make_probe(found, "shop"))
        (got,) = await other.gets()
    assert got.headers["x-own"] == "1"
    assert got.headers["host"] == other.url.removeprefix("http://")
    assert "jwt_key" not in got.headers
    assert examine(got.headers, None, ["theirs"], time.time()) is Verdict.ACCEPTED


async def test_a_private_address_is_not_posted_to(
    database_url: str, evolution: Evolution, shop: Business
):
    """The deployment names the server's address, not the one that the webhook goes to."""
    host = evolution.url.removeprefix("http://")
    shop.sends_webhooks_to(
        "http://localhost:9/webhook/shop", headers={"X-Webhook-Secret": WEBHOOK_SECRET}
    )
    async with open_office(database_url, ALLOWED_NETWORKS=host) as office:
        await office.talk.sql(
            "update tenants set evo_server_url = $1, evo_api_key = $2", evolution.url, shop.token
        )
        check = await look(office)
    assert all(step["step"] != "round_trip" for step in check["steps"])
    assert any("no probe was posted to http://localhost:9" in text for text in check["warnings"])


async def test_webhooks_that_may_come_from_evolutions_network_alone_are_not_called_lost(
    office: Office,
):
    await office.talk.sql("update tenants set webhook_networks = '{203.0.113.0/24}'")
    check = await look(office)
    assert check["ok"], check
    assert any("as it came from here" in text for text in check["warnings"])


async def test_when_the_last_event_came_is_said(office: Office):
    await look(office)  # its probe is no event of Evolution's
    await office.talk.sql(
        "update processed_events set processed_at = now() - interval '2 hours'"
        " where event <> 'hybridflow.test'"
    )
    said = step(await look(office), "last_event")["detail"]
    assert said.endswith("UTC, 120 minutes ago")


async def test_what_gap_repair_fetched_is_no_event_that_came(office: Office):
    await office.talk.sql("delete from processed_events")
    await office.talk.ingest(office.talk.message("de ontem") | {"fetched": True})
    check = await look(office)
    assert all(step["step"] != "last_event" for step in check["steps"])
    assert any("no event of Evolution has come" in text for text in check["warnings"])


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


async def test_an_instance_whose_evolution_hangs_is_tested_twice_at_once_and_no_more(
    office: Office,
):
    other = await office.talk.open_shop("other")
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        await office.talk.sql("update tenants set evo_server_url = $1 where id <> $2", url, other)
        path = "/api/instances/shop/test-webhook"
        asking = [
            asyncio.create_task(office.api.request(method, path))
            for method in ("GET", "POST", "GET", "POST", "GET")
        ]
        refused = [await each for _, each in zip("123", asyncio.as_completed(asking), strict=False)]
        assert {answer.status_code for answer in refused} == {429}
        assert {answer.json()["error"]["code"] for answer in refused} == {"too_many_at_once"}
        assert (await look(office, "other"))["failed"] == "instance"  # it has no key
        for call in asking:
            call.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_a_trial_that_does_not_arrive_is_said(
    office: Office, evolution: Evolution, shop: Business
):
    settings = office.services.settings
    office.change(settings=settings.model_copy(update={"public_url": evolution.url}))
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
    router = ForkedRouter(environment(database_url))
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
        async with patient(base_url=router.url) as http:
            answer = await http.post(
                "/api/instances/shop/test-webhook", headers={"X-API-Key": API_KEY}
            )
        assert answer.json()["ok"], answer.text
        assert step(answer.json(), "trial")["ok"]
        assert step(answer.json(), "round_trip")["ok"]
        told = await shop.customer().writes("oi")
        assert told.answer["status"] == "accepted"
    finally:
        router.close()
