"""Tenants' keys of Evolution in the database: encrypted, bound to their row, rotated, used."""

from collections.abc import AsyncIterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.receiver import WebhookReceiver
from router.state.direct import DirectDatabase
from router.tenants.sealing import Vault, is_sealed, place_of_key
from scripts.rotate_secrets import rotate
from scripts.running import CannotGoOn
from tests.routers import API_KEY, WEBHOOK_SECRET
from tests.scenarios.office import Office, open_office, settings_with
from tests.scenarios.stage import performance

OLD = "old-key-0123456789abcdef01234567"
NEW = "new-key-fedcba9876543210fedcba98"
PADARIA = {"instance_name": "padaria", "evo_server_url": "https://evolution.example"}
PLACE = place_of_key("evo_api_key", 2)


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url, SECRETS_KEY=OLD) as office:
        yield office


async def stored(office: Office, tenant_id: int = 2) -> str:
    return await office.talk.value("select evo_api_key from tenants where id = $1", tenant_id)


def opened(sealed: str, *keys: str) -> str:
    vault = Vault(settings_with({"SECRETS_KEY": ",".join(keys)}).secrets_key)
    return vault.open(sealed, PLACE).get_secret_value()


async def test_a_key_is_encrypted_when_a_tenant_is_created_and_when_it_is_changed(office):
    created = await office.post("/api/tenants", 201, json=PADARIA | {"evo_api_key": "EVO-FIRST"})
    first = await stored(office, created["id"])
    assert created["evo_api_key_set"]
    assert is_sealed(first)
    assert opened(first, OLD) == "EVO-FIRST"
    await office.patch("/api/tenants/2", json={"evo_api_key": "EVO-SECOND"})
    assert opened(await stored(office), OLD) == "EVO-SECOND"
    changed = await office.patch("/api/tenants/2", json={"evo_api_key": None})
    assert not changed["evo_api_key_set"]
    assert await stored(office) is None


async def test_a_key_of_a_provider_is_encrypted_and_stays_with_its_provider(office):
    keys = {"evo_api_key": "EVO-FIRST", "llm_api_key": "LLM-FIRST"}
    created = await office.post("/api/tenants", 201, json=PADARIA | keys)
    assert created["llm_api_key_set"]
    assert "LLM-FIRST" not in str(created)
    sealed = await office.talk.value("select llm_api_key from tenants where id = 2")
    vault = Vault(settings_with({"SECRETS_KEY": OLD}).secrets_key)
    assert vault.open(sealed, place_of_key("llm_api_key", 2)).get_secret_value() == "LLM-FIRST"
    refused = await office.patch("/api/tenants/2", 422, json={"llm_provider": "openai"})
    assert "give its llm_api_key, too" in refused["error"]["message"]
    both = {"llm_provider": "openai", "llm_api_key": None}
    assert not (await office.patch("/api/tenants/2", json=both))["llm_api_key_set"]


async def test_neither_the_key_nor_its_ciphertext_is_ever_returned(office):
    await office.post("/api/tenants", 201, json=PADARIA | {"evo_api_key": "EVO-FIRST"})
    shown = f"{await office.get('/api/tenants')} {await office.get('/api/tenants/2')}"
    assert "EVO-FIRST" not in shown
    assert (await stored(office))[:8] not in shown


async def test_a_ciphertext_that_is_copied_to_another_tenant_does_not_open_there(office):
    await office.post("/api/tenants", 201, json=PADARIA | {"evo_api_key": "EVO-PADARIA"})
    await office.talk.sql(
        "update tenants set evo_api_key = (select evo_api_key from tenants where id = 2)"
        " where id = 1"
    )
    check = await office.get("/api/instances/shop/test-webhook")
    assert check["failed"] == "tenant"
    assert "encrypted for another place" in check["steps"][-2]["detail"]


async def test_rotation_encrypts_anew_what_an_old_key_did_and_what_was_plain(
    office, database_url, capsys
):
    await office.post("/api/tenants", 201, json=PADARIA | {"evo_api_key": "EVO-PADARIA"})
    await office.talk.sql(
        "update tenants set evo_api_key = 'EVO-PLAIN', llm_api_key = 'LLM-PLAIN' where id = 1"
    )
    database = office.talk.database
    assert await rotate(settings_with({"SECRETS_KEY": f"{NEW},{OLD}"}), database) == 0
    assert capsys.readouterr().out == "3 keys encrypted again, 0 were already, 0 cannot be read\n"
    assert opened(await stored(office), NEW) == "EVO-PADARIA"
    assert is_sealed(await stored(office, 1))
    assert await rotate(settings_with({"SECRETS_KEY": NEW}), database) == 0
    assert capsys.readouterr().out == "0 keys encrypted again, 3 were already, 0 cannot be read\n"


async def test_rotation_without_the_old_key_says_whose_cannot_be_read_and_changes_nothing(
    office, capsys
):
    await office.post("/api/tenants", 201, json=PADARIA | {"evo_api_key": "EVO-PADARIA"})
    before = await stored(office)
    assert await rotate(settings_with({"SECRETS_KEY": NEW}), office.talk.database) == 1
    assert (
        "tenant 2, evo_api_key: it is encrypted, and SECRETS_KEY lacks the key"
        in capsys.readouterr().err
    )
    assert await stored(office) == before


async def test_rotation_without_a_key_gives_the_cure(office):
    with pytest.raises(CannotGoOn, match="openssl rand"):
        await rotate(settings_with({}), office.talk.database)


async def test_a_key_that_was_changed_during_a_rotation_is_left_alone(office):
    answer = await office.talk.database.call(
        "reseal",
        {"tenant_id": 1, "column": "evo_api_key", "old": "what it was", "new": "sealed:1:…"},
    )
    assert answer == {"changed": False}


async def test_an_encrypted_key_answers_customers(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    async with performance(database_url, evolution, llm, SECRETS_KEY=f"{NEW},{OLD}") as stage:
        shop = evolution.instance("doces")
        shop.sends_webhooks_to(
            f"{stage.router_url}/webhook/doces",
            headers={"X-Webhook-Secret": WEBHOOK_SECRET},
            events=("MESSAGES_UPSERT",),
        )
        await stage.post(
            "/api/tenants",
            {"X-API-Key": API_KEY},
            json={
                "instance_name": "doces",
                "evo_server_url": evolution.url,
                "evo_api_key": shop.token,
            },
        )
        assert is_sealed(
            (await stage.sql("select evo_api_key from tenants where instance_name = 'doces'"))[0][
                "evo_api_key"
            ]
        )
        ana = shop.customer("5511955550077", name="Ana")
        await ana.writes("Oi!")
        await ana.answered()


async def test_a_reserved_id_is_the_new_tenants(database_url: str):
    database = await DirectDatabase.connect(database_url, size=1)
    reserved = (await database.call("reserve_tenant", {}))["tenant_id"]
    values = {"values": PADARIA, "tenant_id": reserved}
    assert (await database.call("create_tenant", values))["tenant"]["id"] == reserved
    await database.close()


async def test_a_tenant_with_a_key_of_its_own_is_answered_with_it_and_no_flow_is_told(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    with WebhookReceiver() as n8n:
        flows = {
            "N8N_ENABLED": "true",
            "N8N_CONTRACT": "gateway",
            "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        }
        async with performance(
            database_url, evolution, llm, SECRETS_KEY=NEW, N8N_API_KEY="for-n8n-0123456789", **flows
        ) as stage:
            await stage.change(llm_api_key="sk-ant-of-the-bakery")
            await stage.maria.writes("tem bolo?")
            await stage.maria.answered()
            assert [asked.key for asked in llm.requests] == ["sk-ant-of-the-bakery"]
            (turn,) = await stage.turns_end()
            assert turn["handler"] == "fallback"
            assert n8n.received == []
            (row,) = await stage.sql("select llm_api_key from tenants")
            assert is_sealed(row["llm_api_key"])
