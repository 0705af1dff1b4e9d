"""GET /api/handoffs, as who asks over HTTP sees it: whose they are, which, and in pages."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.scenarios.office import Office, open_office
from tests.state.test_handoffs import OPERATOR, hand_off


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url) as office:
        yield office


async def test_they_are_filtered_paged_and_their_tenants_alone(office: Office):
    talk = office.talk
    await hand_off(talk, "upset", summary="bolo seco")
    await talk.database.call("resume_session", {**OPERATOR, "policy": {}})
    await hand_off(talk, "not_known")
    await talk.open_shop("others")
    first = await office.get("/api/handoffs", tenant_id=1, limit=1)
    second = await office.get("/api/handoffs", tenant_id=1, limit=1, cursor=first["next_cursor"])
    assert [each["id"] for each in first["items"] + second["items"]] == [2, 1]
    assert second["next_cursor"] is None
    (done,) = (await office.get("/api/handoffs", tenant_id=1, state="done"))["items"]
    assert (done["reason"], done["summary"], done["reminded"]) == ("upset", "bolo seco", False)
    waiting = await office.get("/api/handoffs", tenant_id=1, session_id=1, state="waiting")
    assert [each["reason"] for each in waiting["items"]] == ["not_known"]
    assert (await office.get("/api/handoffs", tenant_id=2))["items"] == []
    await office.get("/api/handoffs", 404, tenant_id=99)
    refused: tuple[dict[str, Any], ...] = (
        {},
        {"tenant_id": 1, "state": "lost"},
        {"tenant_id": 1, "cursor": "x"},
    )
    for meant in refused:
        await office.get("/api/handoffs", 422, **meant)


async def test_who_may_see_another_tenant_alone_and_who_shows_no_key_see_none(office: Office):
    await hand_off(office.talk, "upset")
    await office.talk.open_shop("others")
    for tenant_id, status in ((1, 200), (2, 404)):
        wanted = {"name": f"of {tenant_id}", "role": "viewer", "tenant_ids": [tenant_id]}
        key = (await office.post("/api/api-keys", 201, json=wanted))["key"]
        asked: dict[str, Any] = {"params": {"tenant_id": 1}, "headers": {"X-API-Key": key}}
        answer = await office.api.get("/api/handoffs", **asked)
        assert answer.status_code == status, answer.text
        if status == 200:
            assert [each["state"] for each in answer.json()["items"]] == ["waiting"]
    nobody: dict[str, Any] = {"params": {"tenant_id": 1}, "headers": {"X-API-Key": "wrong"}}
    assert (await office.api.get("/api/handoffs", **nobody)).status_code == 401
