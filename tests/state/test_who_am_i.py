"""What a caller is told of itself: what it may do, where, and nothing of others."""

import pytest

from router.errors import UnknownCaller
from router.state.database import Json
from tests.state.conversation import Conversation

BOSS = {"kind": "deployment", "name": "boss"}
USER = "0198c0de-0000-7000-8000-00000000a11a"
HASH = "ab" * 32


async def asked(talk: Conversation, caller: Json) -> Json:
    asked = {"caller": caller, "function": "who_am_i", "argument": {}}
    result: Json = (await talk.database.call("as_operator", asked))["result"]
    return result


async def test_a_key_of_the_deployment_is_admin_everywhere(talk: Conversation):
    assert await asked(talk, BOSS) == {
        "kind": "deployment",
        "name": "boss",
        "role": "admin",
        "roles": [],
    }


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_a_key_of_some_tenants_is_told_of_them_alone(talk: Conversation, role: str):
    await talk.open_shop("pharmacy")
    made = {"name": "k", "role": role, "tenant_ids": [2], "starts_with": "hfk_", "key_hash": HASH}
    call = {"caller": BOSS, "function": "create_api_key", "argument": made}
    await talk.database.call("as_operator", call)
    assert await asked(talk, {"kind": "key", "key_hash": HASH}) == {
        "kind": "key",
        "name": "k",
        "role": None,
        "roles": [{"tenant_id": 2, "instance_name": "pharmacy", "role": role}],
    }


async def test_a_user_is_told_of_its_memberships(talk: Conversation):
    assert (await asked(talk, {"kind": "user", "user_id": USER}))["roles"] == []
    await talk.open_shop("pharmacy")
    for tenant_id, role in ((1, "viewer"), (2, "admin")):
        member = {"tenant_id": tenant_id, "user_id": USER, "role": role}
        await talk.database.call(
            "as_operator", {"caller": BOSS, "function": "set_member", "argument": member}
        )
    roles = (await asked(talk, {"kind": "user", "user_id": USER}))["roles"]
    assert [(each["tenant_id"], each["role"]) for each in roles] == [(1, "viewer"), (2, "admin")]


async def test_nobody_is_told_nothing(talk: Conversation):
    with pytest.raises(UnknownCaller):
        await asked(talk, {"kind": "key", "key_hash": HASH})
