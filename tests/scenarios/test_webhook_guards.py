"""Who may post for whom: tenants' own secrets, networks, and what proxies say."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest

from router.state.direct import DirectDatabase
from tests.clients import patient
from tests.fixtures import webhook
from tests.routers import API_KEY, WEBHOOK_SECRET, environment, running_router
from tests.state.conversation import Conversation

SHARED = {"X-Webhook-Secret": WEBHOOK_SECRET}
EVOLUTION, STRANGER = "203.0.113.5", "198.51.100.66"


class Door:
    """A router with two tenants, padaria (1) and clinica (2), as callers see it."""

    def __init__(self, http: httpx.AsyncClient, talk: Conversation) -> None:
        self.http = http
        self.talk = talk

    async def api(self, method: str, path: str, json: object = None, status: int = 200) -> Any:
        answer = await self.http.request(
            method, f"/api/tenants/{path}", json=json, headers={"X-API-Key": API_KEY}
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async def makes_secret(self, tenant_id: int = 1, **how: Any) -> dict[str, Any]:
        made: dict[str, Any] = await self.api(
            "POST", f"{tenant_id}/webhook-secrets", how or None, 201
        )
        return made

    async def posts(
        self, headers: Mapping[str, str], name: str = "padaria", at: str | None = None
    ) -> httpx.Response:
        return await self.http.post(
            f"/webhook/{at or name}",
            headers=headers,
            json=webhook("messages_upsert__text") | {"instance": name},
        )

    async def admits(self, headers: Mapping[str, str], name: str = "padaria") -> bool:
        answer = await self.posts(headers, name)
        assert answer.status_code in (200, 401, 403), answer.text
        return answer.status_code == 200


def shows(secret: str) -> dict[str, str]:
    return {"X-Webhook-Secret": secret}


@asynccontextmanager
async def open_door(database_url: str, **configuration: str) -> AsyncIterator[Door]:
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database, "padaria")
    await talk.open_shop()
    await talk.open_shop("clinica")
    async with (
        running_router(environment(database_url, **configuration)) as url,
        patient(base_url=url) as http,
    ):
        yield Door(http, talk)
    await database.close()


@pytest.fixture
async def door(database_url: str) -> AsyncIterator[Door]:
    async with open_door(database_url) as door:
        yield door


async def test_a_secret_of_ones_own_opens_that_tenants_door_and_no_other(door: Door):
    made = await door.makes_secret()
    own = made["secret"]
    assert own.startswith("whs_")
    assert made["ends_with"] == own[-4:]
    for headers in (shows(own), {"Authorization": f"Bearer {own}"}):
        assert await door.admits(headers)
        assert not await door.admits(headers, "clinica")
    assert await door.admits(SHARED)
    assert await door.admits(SHARED, "clinica")


async def test_it_is_shown_once_and_kept_as_a_hash(door: Door):
    own = (await door.makes_secret())["secret"]
    listed = await door.api("GET", "1/webhook-secrets")
    assert [item["created_by"] for item in listed["items"]] == ["tests"]
    assert own not in f"{listed}"
    (row,) = await door.talk.sql("select w::text as text from webhook_secrets as w")
    assert own not in row["text"]


async def test_in_a_rotation_both_hold_until_the_old_one_is_retired(door: Door):
    old = await door.makes_secret()
    new = await door.makes_secret(retire_others_after_hours=24)
    assert await door.admits(shows(old["secret"]))
    assert await door.admits(shows(new["secret"]))
    listed = (await door.api("GET", "1/webhook-secrets"))["items"]
    assert [item["retires_at"] is None for item in listed] == [True, False]
    retired = await door.api("POST", f"1/webhook-secrets/{old['id']}/retire", {})
    assert not retired["is_active"]


async def test_a_retired_secret_is_refused(database_url: str):
    async with open_door(database_url) as door:
        old = await door.makes_secret()
        await door.api("POST", f"1/webhook-secrets/{old['id']}/retire")
        assert not await door.admits(shows(old["secret"]))
        again = f"1/webhook-secrets/{old['id']}/retire"
        assert (await door.api("POST", again))["retires_at"] is not None
        await door.api("POST", f"2/webhook-secrets/{old['id']}/retire", status=404)


async def test_a_tenant_may_refuse_the_shared_secret(door: Door):
    own = (await door.makes_secret())["secret"]
    await door.api("PATCH", "1", {"shared_webhook_secret": False})
    assert not await door.admits(SHARED)
    assert await door.admits(shows(own))
    assert await door.admits(SHARED, "clinica")


@pytest.mark.parametrize("spelling", ["padaria%00", "%00padaria", "padaria/messages-upsert"])
async def test_no_other_spelling_of_the_name_gets_round_that(door: Door, spelling: str):
    await door.makes_secret()
    await door.api("PATCH", "1", {"shared_webhook_secret": False})
    name = spelling.partition("/")[0].replace("%00", "\x00")
    answer = await door.posts(SHARED, name, at=spelling)
    assert answer.status_code == (404 if "%00" in spelling else 401)
    assert await door.talk.sayings() == []


async def test_a_jwt_cannot_be_signed_with_a_secret_of_which_only_the_hash_is_known(door: Door):
    own = (await door.makes_secret())["secret"]
    claims = {"exp": int(time.time()) + 600, "app": "evolution", "action": "webhook"}
    (row,) = await door.talk.sql("select encode(secret_hash, 'hex') as hash from webhook_secrets")
    for key in (own, row["hash"]):
        token = jwt.encode(claims, key.ljust(64, "\x00"), algorithm="HS256")
        assert not await door.admits({"Authorization": f"Bearer {token}"})
    assert not await door.admits(shows(row["hash"]))


async def test_a_tenant_without_a_shared_secret_in_the_deployment_has_its_own(database_url: str):
    async with open_door(database_url, EVOLUTION_WEBHOOK_SHARED_SECRET="") as door:
        own = (await door.makes_secret())["secret"]
        assert await door.admits(shows(own))
        assert not await door.admits(shows(own), "clinica")
        answer = await door.posts({})
    assert answer.json()["error"]["code"] == "no_secret_configured"


async def test_webhooks_come_from_the_allowed_networks_only(database_url: str):
    async with open_door(database_url, WEBHOOK_NETWORKS="203.0.113.0/24") as door:
        answer = await door.posts(SHARED)
        pretended = await door.posts(SHARED | {"X-Forwarded-For": EVOLUTION})
        assert await door.talk.sayings() == []
    for refused in (answer, pretended):
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "network_not_allowed"


async def test_nobodys_networks_are_gone_through_for_a_wrong_secret(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    async with open_door(database_url, WEBHOOK_NETWORKS="203.0.113.0/24") as door:
        await door.api("PATCH", "1", {"webhook_networks": ["203.0.113.7"]})

        def compared(*_: object) -> bool:
            raise AssertionError("nobody has shown a secret")

        monkeypatch.setattr("router.intake.admission.is_within", compared)
        for _ in range(3):
            answer = await door.posts(shows("wrong"))
            assert answer.json()["error"]["code"] == "bad_secret"


async def test_behind_a_trusted_proxy_its_word_counts(database_url: str):
    async with open_door(
        database_url, WEBHOOK_NETWORKS="203.0.113.0/24", TRUSTED_PROXIES="127.0.0.1"
    ) as door:
        assert await door.admits(SHARED | {"X-Forwarded-For": EVOLUTION})
        assert await door.admits(SHARED | {"X-Forwarded-For": f"{STRANGER}, {EVOLUTION}"})
        assert not await door.admits(SHARED | {"X-Forwarded-For": f"{EVOLUTION}, {STRANGER}"})
        assert not await door.admits(SHARED | {"X-Forwarded-For": "unknown"})
        assert not await door.admits(SHARED)


async def test_a_tenants_networks_narrow_the_deployments(database_url: str):
    async with open_door(
        database_url,
        WEBHOOK_NETWORKS="203.0.113.0/24",
        TRUSTED_PROXIES="127.0.0.1",
    ) as door:
        networks = ["203.0.113.0/28", f"{STRANGER}/32"]
        await door.api("PATCH", "1", {"webhook_networks": networks})
        assert await door.admits(SHARED | {"X-Forwarded-For": EVOLUTION})
        assert not await door.admits(SHARED | {"X-Forwarded-For": "203.0.113.99"})
        assert not await door.admits(SHARED | {"X-Forwarded-For": STRANGER})
        assert await door.admits(SHARED | {"X-Forwarded-For": "203.0.113.99"}, "clinica")


async def test_a_network_or_a_number_of_hours_that_cannot_be_right_is_refused(door: Door):
    for networks in (["203.0.113.7/24"], ["here"], []):
        refused = await door.api("PATCH", "1", {"webhook_networks": networks}, 422)
        assert "webhook_networks" in refused["error"]["message"]
    for making in ({"retire_others_after_hours": -1}, {"hours": 2}, []):
        await door.api("POST", "1/webhook-secrets", making, 422)
    await door.api("POST", "99/webhook-secrets", status=404)
