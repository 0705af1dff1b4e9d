"""Somebody asks for their data, or to be forgotten: over HTTP, by script, in mid-conversation."""

import asyncio
import json
import logging
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loopback.evolution.webhooks import Delivery
from router.evolution.client import EvolutionClient
from router.intake.gap_repair import repair_gap
from router.intake.ingester import Ingester
from router.intake.marks import Marks
from router.people.hashing import ContactHashes
from router.sharing.rates import Rates
from router.tenants.instance import InstanceKeys, find_instance
from scripts import contact
from tests.clients import patient
from tests.routers import WEBHOOK_SECRET
from tests.scenarios.office import Office, open_office, settings_with
from tests.scenarios.stage import BOTH_HANDLERS, Stage
from tests.state.conversation import MARIA, POLICY
from tests.state.test_people import a_long_story, assert_no_trace, dump

NUMBER = "+55 11 95555-0001"
_SETTINGS = settings_with({"EVOLUTION_WEBHOOK_SHARED_SECRET": WEBHOOK_SECRET})
HASHES = ContactHashes.of(_SETTINGS.secrets_key, _SETTINGS.webhook_secrets)


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url) as office:
        yield office


async def test_an_export_over_the_api_has_everything_and_is_audited_without_content(
    office: Office,
):
    await a_long_story(office.talk)
    answer = await office.api.post(f"/api/contacts/{NUMBER}/export", params={"tenant_id": 1})
    assert answer.headers["Cache-Control"] == "no-store"
    exported = answer.json()
    assert MARIA in exported["identities"]
    assert [message["author_name"] for message in exported["messages"]] == ["Maria", None, "Maria"]
    (line,) = await office.talk.sql("select action, detail from audit_log where caller = 'office'")
    assert line["action"] == "export_contact"
    assert (line["detail"]["messages"], line["detail"]["sessions"]) == (3, 1)


async def test_an_erasure_over_the_api_leaves_a_line_and_a_hash(office: Office):
    await a_long_story(office.talk)
    erased = await office.post(f"/api/contacts/{NUMBER}/erase", tenant_id=1)
    assert erased["erased"]["messages"] == 3
    assert erased["execution_ids"] == ["4711"]
    assert "audit" not in erased
    await assert_no_trace(office.talk)
    (line,) = await office.talk.sql("select action, detail from audit_log where caller = 'office'")
    buried = await office.talk.sql("select contact_hash from erased_contacts")
    assert line["detail"]["contact"] in [row["contact_hash"] for row in buried]
    await office.post(f"/api/contacts/{NUMBER}/erase", 404, tenant_id=1)
    await office.post(f"/api/contacts/{NUMBER}/export", 404, tenant_id=1)


async def test_no_line_of_the_log_names_who_was_exported_or_erased(
    office: Office, caplog: pytest.LogCaptureFixture
):
    await a_long_story(office.talk)
    with caplog.at_level(logging.INFO, logger="router"):
        for what, status in (("export", 200), ("erase", 200), ("erase", 404)):
            await office.post(f"/api/contacts/{NUMBER}/{what}", status, tenant_id=1)
    lines = [str(record.__dict__) for record in caplog.records if record.name.startswith("router")]
    assert len(lines) == 2
    assert not [line for line in lines if "95555" in line or "Maria" in line]


async def test_only_an_admin_of_the_tenant_gets_or_erases_peoples_data(office: Office):
    await office.talk.maria_writes("oi")
    for role, tenant_ids, status in (("operator", [1], 403), ("admin", [2], 404)):
        if role == "admin":
            await office.talk.open_shop("pharmacy")
        wanted = {"name": role, "role": role, "tenant_ids": tenant_ids}
        key = (await office.post("/api/api-keys", 201, json=wanted))["key"]
        for what in ("export", "erase"):
            answer = await office.api.post(
                f"/api/contacts/{NUMBER}/{what}",
                params={"tenant_id": 1},
                headers={"X-API-Key": key},
            )
            assert answer.status_code == status
    assert len(await office.talk.sayings()) == 1


async def test_a_group_is_exported_and_erased_as_a_whole(office: Office):
    await office.talk.set_rule("answer_groups", True)
    group = office.talk.message(
        "oi a todos", jids=("120363000000000001@g.us",), chat="group", author_name="Maria"
    )
    await office.talk.ingest(group)
    path = "/api/contacts/120363000000000001@g.us"
    exported = await office.post(f"{path}/export", tenant_id=1)
    assert [message["author_name"] for message in exported["messages"]] == ["Maria"]
    await office.post(f"{path}/erase", tenant_id=1)
    assert "oi a todos" not in await dump(office.talk)


async def test_without_any_secret_nobody_is_erased_by_halves(database_url: str):
    async with open_office(database_url, EVOLUTION_WEBHOOK_SHARED_SECRET=None) as office:
        await office.talk.maria_writes("oi")
        refused = await office.post(f"/api/contacts/{NUMBER}/erase", 422, tenant_id=1)
        assert "set SECRETS_KEY" in refused["error"]["message"]
        assert len(await office.talk.sayings()) == 1


async def test_the_script_exports_to_a_new_file_and_erases(
    office: Office, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
):
    await a_long_story(office.talk)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("EVOLUTION_WEBHOOK_SHARED_SECRET", WEBHOOK_SECRET)
    typed = ["export", "shop", NUMBER, "--out", "maria.json"]
    assert await _in_thread(typed) == 0
    mode, exported = _kept(tmp_path / "maria.json")
    assert mode == 0o600
    assert len(exported["messages"]) == 3
    assert await _in_thread(typed) == 1
    assert "maria.json cannot be made" in capsys.readouterr().err
    assert await _in_thread(["erase", "shop", NUMBER]) == 0
    said = capsys.readouterr().out
    assert "3 messages" in said
    assert "4711" in said
    assert await _in_thread(["erase", "shop", NUMBER]) == 1
    await assert_no_trace(office.talk)


def _kept(file: Path) -> tuple[int, Any]:
    return stat.S_IMODE(file.stat().st_mode), json.loads(file.read_text(encoding="utf-8"))


async def _in_thread(typed: list[str]) -> int:
    """Let the script have a loop of its own."""
    return await asyncio.to_thread(contact.main, typed)


# In mid-conversation


async def erase(stage: Stage) -> Any:
    path = f"/api/contacts/{stage.maria.number}/erase?tenant_id={stage.tenant_id}"
    return await stage.post(path)


async def minutes_pass(stage: Stage) -> None:
    await stage.time_passes(minutes=5)


async def everything(stage: Stage) -> str:
    tables = await stage.sql(
        "select format('%I.%I', schemaname, tablename) as t from pg_tables"
        " where schemaname in ('public', 'hybridflow')"
    )
    rows = [await stage.sql(f"select t::text as r from {table['t']} as t") for table in tables]
    return "\n".join(row["r"] for table in rows for row in table)


async def assert_forgotten(stage: Stage) -> None:
    kept = (await everything(stage)).lower()
    assert [t for t in ("5511955550001", "201955550001001", "maria", "bolo") if t in kept] == []


async def again(delivery: Delivery) -> Any:
    """Evolution sends a webhook once more, late."""
    async with patient() as http:
        answer = await http.post(delivery.url, json=delivery.body, headers=delivery.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


@BOTH_HANDLERS
async def test_an_erasure_while_a_reply_is_made_says_nothing_to_the_person(stage: Stage):
    gate = stage.llm.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await erase(stage)
    gate.open()
    await stage.maria.writes("bolo!", at=time.time() - 60)
    assert await stage.sql("select * from turns") == []
    assert stage.maria.replies == []
    await assert_forgotten(stage)


@BOTH_HANDLERS
async def test_who_was_erased_may_write_anew_and_is_answered(stage: Stage):
    asked = await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    await erase(stage)
    await minutes_pass(stage)
    await stage.maria.writes("oi")
    await stage.maria.answered(2)
    await stage.turns_end()
    await again(asked)
    assert "tem bolo?" not in await everything(stage)


async def test_an_erasure_while_the_reply_is_leaving_leaves_no_trace(stage: Stage):
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await erase(stage)
    gate.open()
    for delivery in (*stage.shop.webhooks.of("send.message"),):
        await delivery
    await stage.until("select 1 from turns", lambda rows: not rows)
    await assert_forgotten(stage)


async def test_what_comes_late_does_not_bring_the_person_back(stage: Stage):
    asked = await stage.maria.writes("tem bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    await stage.maria.edits(asked, "tem bolo de morango?")
    told = list(stage.shop.webhooks.deliveries)
    await erase(stage)
    for delivery in told:
        await again(delivery)
    await stage.maria.edits(asked, "tem bolo de nozes?")
    await stage.maria.deletes(asked)
    await assert_forgotten(stage)
    assert await stage.sessions() == []


async def test_gap_repair_does_not_bring_the_person_back(stage: Stage):
    await stage.maria.writes("tem bolo?", at=time.time() - 120)
    await stage.maria.answered()
    await stage.turns_end()
    await erase(stage)
    joao = stage.shop.customer("5511955550002", name="João")
    await joao.writes("oi")
    tenant = await find_instance(stage.database, stage.shop.name, InstanceKeys(None))
    async with patient() as http:
        evolution = EvolutionClient(http)
        ingester = Ingester(stage.database, POLICY, Marks(HASHES, Rates(), 99), lambda *_: None)
        report = await repair_gap(stage.database, evolution, tenant, ingester)
    assert (report.new, report.failed) == (0, 0)
    assert report.unused >= 2
    await assert_forgotten(stage)
