"""Tenants over REST: created, changed, shown without their secrets; and the QR code of each."""

import logging
from collections.abc import AsyncIterator

import pytest

from router.tenants import saving
from tests.scenarios.office import Office, open_office

NEW = {"instance_name": "padaria", "evo_server_url": "https://evolution.example"}


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url) as office:
        yield office


async def test_a_tenant_is_created_read_changed_and_listed(office: Office):
    created = await office.post("/api/tenants", 201, json=NEW | {"system_prompt": "Be kind."})
    assert created["llm_provider"] == "anthropic"
    path = f"/api/tenants/{created['id']}"
    assert await office.get(path) == created
    changed = await office.patch(path, json={"resume_after_hours": 0.5, "system_prompt": None})
    assert (changed["resume_after_hours"], changed["system_prompt"]) == (0.5, None)
    assert changed["instance_name"] == "padaria"
    listed = await office.get("/api/tenants")
    assert [tenant["instance_name"] for tenant in listed["items"]] == ["shop", "padaria"]


async def test_a_tenant_that_names_no_provider_gets_the_deployments(database_url: str):
    async with open_office(database_url, LLM_PROVIDER="openai") as office:
        created = await office.post("/api/tenants", 201, json=NEW)
        other = NEW | {"instance_name": "other", "llm_provider": "anthropic"}
        chosen = await office.post("/api/tenants", 201, json=other)
    assert (created["llm_provider"], chosen["llm_provider"]) == ("openai", "anthropic")


async def test_the_key_of_evolution_is_shown_nowhere(
    office: Office, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG):
        created = await office.post("/api/tenants", 201, json=NEW | {"evo_api_key": "EVO-SECRET"})
        changed = await office.patch("/api/tenants/2", json={"evo_api_key": "EVO-OTHER"})
        refused = await office.patch("/api/tenants/2", 422, json={"evo_api_key": ["EVO-WRONG"]})
        listed = await office.get("/api/tenants")
    assert created["evo_api_key_set"]
    assert changed["evo_api_key_set"]
    shown = f"{created} {changed} {refused} {listed} {caplog.text}"
    assert "EVO-" not in shown
    assert await office.talk.value("select evo_api_key from tenants where id = 2") == "EVO-OTHER"
    records = [record for record in caplog.records if hasattr(record, "fields")]
    assert [vars(record)["fields"]["caller"] for record in records] == ["office", "office"]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"instance_name": "padaria"}, "evo_server_url"),
        (NEW | {"evo_server_url": "evolution.example"}, "must begin with http"),
        (NEW | {"instance_name": ""}, "instance_name must not be empty"),
        (NEW | {"llm_provider": "abacus"}, "llm_provider"),
        (NEW | {"llm_max_tokens": 0}, "llm_max_tokens: Input should be greater than 0"),
        (NEW | {"resume_after_hours": "soon"}, "resume_after_hours"),
        (NEW | {"is_active": None}, "is_active must have a value"),
        (NEW | {"sytem_prompt": "Be kind."}, "sytem_prompt"),
        (NEW | {"system_prompt": "nul \x00"}, ""),
        ([], ""),
    ],
)
async def test_a_tenant_that_cannot_be_is_refused_with_the_reason(
    office: Office, values: object, fault: str
):
    answer = await office.post("/api/tenants", 422, json=values)
    assert answer["error"]["code"] == "invalid"
    assert fault in answer["error"]["message"]
    assert len((await office.get("/api/tenants"))["items"]) == 1


async def test_an_instance_has_one_tenant(office: Office):
    answer = await office.post("/api/tenants", 409, json=NEW | {"instance_name": "shop"})
    assert answer["error"]["message"] == "another tenant has the instance shop"
    await office.post("/api/tenants", 201, json=NEW)
    await office.patch("/api/tenants/1", 409, json={"instance_name": "padaria"})


async def test_a_tenant_that_is_not_there_is_not_found(office: Office):
    await office.get("/api/tenants/9", 404)
    await office.patch("/api/tenants/9", 404, json={"system_prompt": "Be kind."})


async def test_a_change_of_nothing_changes_nothing(office: Office):
    before = await office.get("/api/tenants/1")
    after = await office.patch("/api/tenants/1", json={})
    assert after == before | {"updated_at": after["updated_at"]}


async def test_a_changed_rule_holds_from_the_next_message_on(office: Office):
    await office.patch("/api/tenants/1", json={"unanswered_kinds": ["sticker"]})
    decision = await office.talk.maria_writes("[sticker]", kind="sticker")
    assert decision["decision"] == "no_reply_needed"
    await office.patch("/api/tenants/1", json={"is_active": False})
    assert (await office.talk.maria_writes("oi"))["decision"] == "tenant_inactive"


async def test_the_qr_code_is_shown_while_it_is_needed(office: Office):
    assert (await office.get("/api/instances/shop/qrcode", 404))["error"]["code"] == "not_found"
    await office.get("/api/instances/nobody/qrcode", 404)
    event = {"instance": "shop", "event": "qrcode.updated", "type": "qrcode", "key": "q1"}
    await office.talk.ingest(event | {"code": "2@REF,AAA", "pairing_code": None})
    await office.talk.travel(seconds=15)
    shown = await office.get("/api/instances/shop/qrcode")
    assert (shown["code"], shown["pairing_code"]) == ("2@REF,AAA", None)
    assert shown["age_seconds"] >= 15


@pytest.mark.parametrize("column", ["evo_api_key", "llm_api_key"])
@pytest.mark.parametrize(
    "key",
    [
        *('"level":"ERROR"', "has a space in it", "it's-quoted", "back\\slash-key", "chave-não-é"),
        *("short", "x" * 501, "tab\there-it-is", "line\nbreak-it-is", "\U0010fffd" * 9),
    ],
)
async def test_what_can_be_no_key_is_refused(office: Office, column: str, key: str):
    for method, path, body in (("POST", "/api/tenants", NEW), ("PATCH", "/api/tenants/1", {})):
        answer = await office.api.request(method, path, json={**body, column: key})
        assert answer.status_code == 422
        assert answer.json()["error"]["message"].startswith(f"{column} is not a key")
        assert key not in answer.text


async def test_a_key_is_remembered_for_the_log_only_when_it_was_taken(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    shielded: list[str] = []
    monkeypatch.setattr(
        saving, "shield_secret", lambda secret: shielded.append(secret.get_secret_value())
    )
    await office.talk.open_shop("pharmacy")
    wanted = {"name": "v", "role": "viewer", "tenant_ids": [1]}
    viewer = (await office.post("/api/api-keys", 201, json=wanted))["key"]
    shown, key = {"X-API-Key": viewer}, {"evo_api_key": "evo-key-1"}
    for path in ("/api/tenants/1", "/api/tenants/2", "/api/tenants/999"):
        answer = await office.api.patch(path, headers=shown, json=key)
        assert answer.status_code in (403, 404)
    refused = await office.api.post(
        "/api/tenants", headers=shown, json={**NEW, "evo_api_key": "evo-key-1"}
    )
    assert refused.status_code in (403, 404)
    assert (
        await office.api.patch("/api/tenants/999", json={"evo_api_key": "evo-key-1"})
    ).status_code == 404
    assert shielded == []
    await office.patch("/api/tenants/1", json={"evo_api_key": "evo-key-2"})
    assert shielded == ["evo-key-2"]


@pytest.mark.parametrize("column", ["evo_server_url", "notify_url", "moderation_url"])
@pytest.mark.parametrize(
    "url",
    ["http://xn--a", "http://203.0.113.5:99999", "http://h.example:0", "https://" + "h" * 3000],
)
async def test_an_address_of_which_no_request_can_be_made_is_refused(
    office: Office, column: str, url: str
):
    given = {column: url, "evo_api_key": "evo-key-1"}
    answer = await office.api.patch("/api/tenants/1", json=given)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith(column)


async def test_null_for_a_list_that_always_has_a_value_is_refused_by_name(office: Office):
    for column in ("unanswered_kinds", "forbidden_patterns"):
        answer = await office.api.patch("/api/tenants/1", json={column: None})
        assert answer.status_code == 422
        assert column in answer.json()["error"]["message"]
