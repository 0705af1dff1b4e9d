"""Prune as a scheduler uses it, over HTTP and by a script, and the numbers for operators."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.postgres import later_by
from tests.scenarios.office import CRON_SECRET, Office, open_office

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url, RETENTION_DAYS="30") as office:
        await office.talk.maria_writes("tem bolo?")
        await office.talk.answer("Tem.")
        yield office


async def test_a_scheduler_prunes_with_its_secret_and_not_without(office: Office):
    for headers in ({}, {"X-Cron-Secret": "x"}):
        answer = await office.api.post("/cron/prune", headers=headers)
        assert answer.status_code == 401
    await office.talk.travel(days=31)
    changes = await office.talk.value("select count(*) from changes")
    answer = await office.api.post("/cron/prune", headers={"X-Cron-Secret": CRON_SECRET})
    assert answer.json() == {
        "events": 1,
        "messages_deleted": 0,
        "messages_archived": 2,
        "turns": 1,
        "notices": 0,
        "relays": 0,
        "handoffs": 0,
        "spending": 0,
        "erased_messages": 0,
        "changes": changes,
        "more": False,
    }


async def test_a_tenants_own_retention_is_set_and_seen(office: Office):
    tenant = await office.get("/api/tenants/1")
    assert (tenant["retention_days"], tenant["on_retention"]) == (None, "archive")
    changed = await office.patch(
        "/api/tenants/1", json={"retention_days": 365, "on_retention": "delete"}
    )
    assert (changed["retention_days"], changed["on_retention"]) == (365, "delete")
    refused = await office.patch("/api/tenants/1", 422, json={"retention_days": 0})
    assert "retention_days" in refused["error"]["message"]
    await office.talk.travel(days=31)
    answer = await office.api.post("/cron/prune", headers={"X-Cron-Secret": CRON_SECRET})
    assert answer.json()["messages_archived"] == 0


async def test_how_much_is_stored_of_a_tenant(office: Office):
    stats = await office.get("/api/tenants/1/stats")
    assert stats["tables"]["messages"]["rows"] == 2
    assert stats["pruned_before"] is None
    await office.talk.travel(days=31)
    await office.api.post("/cron/prune", headers={"X-Cron-Secret": CRON_SECRET})
    stats = await office.get("/api/tenants/1/stats")
    assert stats["tables"]["messages"]["rows"] == 0
    assert stats["tables"]["messages_archive"]["rows"] == 2
    assert stats["pruned_before"] is not None
    assert (await office.get("/api/tenants/9/stats", 404))["error"]["code"] == "not_found"


async def test_the_script_works_until_nothing_is_left(office: Office, database_url: str):
    later = later_by(database_url, days=40)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": later, "RETENTION_DAYS": "30"}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(ROOT / "scripts" / "prune.py")],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    (said,) = [line for line in lines if line.get("action") == "pruned"]
    assert (said["messages_archived"], said["more"]) == (2, False)
    assert "bolo" not in done.stdout
