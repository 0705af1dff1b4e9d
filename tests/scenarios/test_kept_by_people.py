"""Labels, owners and notes by the REST API."""

from collections.abc import AsyncIterator

import pytest

from tests.scenarios.office import Office, open_office


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url) as office:
        yield office


async def test_a_conversation_is_labelled_owned_and_noted(office: Office):
    await office.talk.maria_writes("oi")
    path = "/api/sessions/1"
    done = await office.post(f"{path}/labels", tenant_id=1, json={"add": ["vip", "no-ai"]})
    assert done["session"]["labels"] == ["no-ai", "vip"]
    assert done["cancelled_turns"] == 1
    done = await office.post(f"{path}/labels", tenant_id=1, json={"remove": ["no-ai"]})
    assert done["session"]["labels"] == ["vip"]
    await office.post(f"{path}/labels", 422, tenant_id=1, json={"add": ["Not One"]})
    note = await office.post(f"{path}/notes", 201, tenant_id=1, json={"body": "alérgica"})
    assert (note["body"], note["session_id"]) == ("alérgica", 1)
    notes = await office.get(f"{path}/notes", tenant_id=1)
    assert [each["id"] for each in notes["items"]] == [note["id"]]
    gone = await office.api.delete(f"{path}/notes/{note['id']}?tenant_id=1")
    assert gone.json() == {"removed": True}
    owned = await office.api.put(f"{path}/owner?tenant_id=1", json={"owner": "Ana"})
    assert owned.json()["owner"] == "Ana"
    free = await office.api.put(f"{path}/owner?tenant_id=1", json={"owner": None})
    assert free.json()["owner"] is None


async def test_hours_that_cannot_be_are_refused_with_what_is_wrong(office: Office):
    path = "/api/tenants/1"
    week = {"mon": ["09:00-18:00"]}
    for values, word in (
        ({"timezone": "Brasil"}, "America/Sao_Paulo"),
        ({"away_message": "Estamos fechados."}, "{time}"),
        ({"opening_hours": {"weekly": {"mon": ["9-18"]}}}, "09:00-18:00"),
        ({"opening_hours": {"weekly": week, "holidays": "XX"}}, "BR-SP"),
        ({"opening_hours": {"weekly": week, "hours": 1}}, "hours"),
        ({"facts": "x" * 100_001}, "100,000"),
    ):
        refused = await office.patch(path, 422, json=values)
        assert word in str(refused), refused
    kept = await office.patch(path, json={"opening_hours": {"weekly": week}})
    assert kept["opening_hours"] == {"weekly": week}
    assert (await office.patch(path, json={"opening_hours": None}))["opening_hours"] is None
