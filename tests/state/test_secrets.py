"""Webhook secrets in the state: hashed, rotated with an overlap, of one tenant alone."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from router.errors import Conflict, Invalid, NotFound
from router.state.direct import DirectDatabase
from tests.state.conversation import Conversation


@pytest.fixture
async def talk(database_url: str) -> AsyncIterator[Conversation]:
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database)
    await talk.open_shop()
    yield talk
    await database.close()


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def add(talk: Conversation, text: str, **more: Any) -> dict[str, Any]:
    argument = {"tenant_id": 1, "secret_hash": hashed(text), "ends_with": text[-4:], **more}
    return (await talk.database.call("add_webhook_secret", argument))["webhook_secret"]


async def retire(talk: Conversation, secret_id: int, **more: Any) -> dict[str, Any]:
    argument = {"tenant_id": 1, "webhook_secret_id": secret_id, **more}
    return (await talk.database.call("retire_webhook_secret", argument))["webhook_secret"]


async def accepted(talk: Conversation) -> list[str]:
    guards = (await talk.database.call("webhook_guards", {}))["guards"]
    return [text for guard in guards for text in guard["hashes"]]


async def test_only_a_hash_is_kept_and_not_even_that_is_shown(talk):
    kept = await add(talk, "first-secret", created_by="ana")
    assert (kept["ends_with"], kept["created_by"], kept["is_active"]) == ("cret", "ana", True)
    listed = await talk.database.call("list_webhook_secrets", {"tenant_id": 1})
    assert listed["items"] == [kept]
    (row,) = await talk.sql("select w::text as text from webhook_secrets as w")
    assert "first-secret" not in row["text"]
    assert hashed("first-secret") not in f"{listed}"


async def test_during_a_rotation_both_hold_until_the_old_one_ends(talk):
    await add(talk, "old")
    await add(talk, "new", retire_others_after_hours=2)
    assert await accepted(talk) == [hashed("new"), hashed("old")]
    await talk.travel(hours=2)
    assert await accepted(talk) == [hashed("new")]
    listed = (await talk.database.call("list_webhook_secrets", {"tenant_id": 1}))["items"]
    assert [item["is_active"] for item in listed] == [True, False]


async def test_a_retired_secret_stays_retired(talk):
    old = await add(talk, "old")
    await retire(talk, old["id"])
    assert not (await retire(talk, old["id"], after_hours=48))["is_active"]
    assert await accepted(talk) == []


async def test_the_last_secret_is_not_retired_where_the_shared_one_does_not_hold(talk):
    last = await add(talk, "last")
    await talk.set_rule("shared_webhook_secret", False)
    with pytest.raises(Conflict, match="every webhook would be refused"):
        await retire(talk, last["id"])
    assert await accepted(talk) == [hashed("last")]
    await add(talk, "next")
    assert not (await retire(talk, last["id"]))["is_active"]


async def test_another_tenants_secret_is_not_found(talk):
    other = await talk.database.call(
        "create_tenant", {"values": {"instance_name": "nova", "evo_server_url": "https://e.test"}}
    )
    mine = await add(talk, "mine")
    argument = {"tenant_id": other["tenant"]["id"], "webhook_secret_id": mine["id"]}
    with pytest.raises(NotFound):
        await talk.database.call("retire_webhook_secret", argument)
    with pytest.raises(NotFound):
        await talk.database.call("list_webhook_secrets", {"tenant_id": 99})


async def test_a_tenant_has_ten_secrets_at_most(talk):
    for number in range(10):
        await add(talk, f"secret {number}")
    with pytest.raises(Conflict, match="ten"):
        await add(talk, "one more")
    await add(talk, "instead", retire_others_after_hours=0)


@pytest.mark.parametrize("text", ["", "no hash", "AB" * 32, "ab" * 31])
async def test_what_is_no_hash_is_refused(talk, text):
    argument = {"tenant_id": 1, "secret_hash": text, "ends_with": "0000"}
    with pytest.raises(Invalid, match="SHA-256"):
        await talk.database.call("add_webhook_secret", argument)


async def test_the_guards_name_those_tenants_only_that_have_one(talk):
    await talk.open_shop("plain")
    assert (await talk.database.call("webhook_guards", {}))["guards"] == []
    await talk.database.call(
        "change_tenant",
        {"tenant_id": 1, "values": {"webhook_networks": ["203.0.113.0/24", "2001:db8::1"]}},
    )
    (guard,) = (await talk.database.call("webhook_guards", {}))["guards"]
    assert guard == {
        "tenant_id": 1,
        "instance_name": talk.instance,
        "networks": ["203.0.113.0/24", "2001:db8::1/128"],
        "shared": True,
        "hashes": [],
        "retiring": {},
    }


@pytest.mark.parametrize("networks", [["203.0.113.7/24"], ["here"], [], "203.0.113.0/24"])
async def test_what_is_no_network_is_refused(talk, networks):
    with pytest.raises(Invalid, match="webhook_networks"):
        await talk.database.call(
            "change_tenant", {"tenant_id": 1, "values": {"webhook_networks": networks}}
        )


async def test_secrets_that_are_made_and_retired_again_have_an_end(talk: Conversation):
    for number in range(70):
        made = await talk.database.call(
            "add_webhook_secret",
            {"tenant_id": 1, "secret_hash": f"{number:064x}", "ends_with": "x"},
        )
        retired = {"tenant_id": 1, "webhook_secret_id": made["webhook_secret"]["id"]}
        if number:
            await talk.database.call("retire_webhook_secret", retired)
    items = (await talk.database.call("list_webhook_secrets", {"tenant_id": 1}))["items"]
    assert len(items) == 52  # the one that holds, fifty, and the last
    assert [item["is_active"] for item in items] == [False] * 51 + [True]
