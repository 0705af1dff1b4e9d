"""What the API shows of a row has every column that the state gives, but for those named here.

A header says {session} or {items}, and the keys within come from a table: only the state knows
them. So a column that is added is shown, or named here as left out.
"""

from typing import Any

import pytest

from router.gate.identity import make_api_key
from router.state.calls.api_keys import ApiKey
from router.state.calls.audit import AuditLine
from router.state.calls.instances import InstanceFound
from router.state.calls.members import Member
from router.state.calls.model import Answer
from router.state.calls.people import ContactHead, ErasedContact, FoundContact
from router.state.calls.reading import Message, Session, Turn, TurnWithMessages
from router.state.calls.retention import Amount, Pruned, TenantStats
from router.state.calls.spending import Spending
from router.state.calls.tenants import Tenant
from router.state.calls.webhook_secrets import WebhookSecret
from router.state.database import Json
from tests.state.conversation import MARIA, POLICY, Conversation

BOSS = {"kind": "deployment", "name": "boss"}
USER = "0198c0de-0000-7000-8000-00000000a11a"
HASH = "ab" * 32
OF_A_TURN = {
    "handler_since",
    *("debounce_until", "execution_told_at", "reserved_on", "reserved_tokens"),
    *("retried_at", "stop_reason", "waits", "waits_for"),
}
LEFT_OUT: dict[type[Answer], set[str]] = {
    Message: {"failed_at", "failed_since", "sends", "undelivered_turns"},
    Turn: OF_A_TURN,
    TurnWithMessages: OF_A_TURN,
    ApiKey: {"made_by", "made_with"},
}
KEY: Json = {
    "name": "k",
    "role": "viewer",
    "tenant_ids": [1],
    "starts_with": "hfk_",
    "key_hash": make_api_key().key_hash,
}
MEMBER: Json = {"tenant_id": 1, "user_id": USER, "role": "viewer"}
SECRET: Json = {"tenant_id": 1, "secret_hash": HASH, "ends_with": "abcd", "created_by": "me"}
OWN: Json = {"tenant_id": 1}
SESSION: Json = {"tenant_id": 1, "session_id": 1, "policy": POLICY}
CONTACT: Json = {"tenant_id": 1, "jids": [MARIA]}


def inside(answer: Any, path: str) -> Any:
    for step in path.split():
        answer = answer[int(step) if step.isdigit() else step]
    return answer


@pytest.mark.parametrize(
    ("function", "asked", "path", "model"),
    [
        ("list_sessions", {**OWN, "policy": POLICY}, "items 0", Session),
        ("get_session", SESSION, "session", Session),
        ("pause_session", {**SESSION, "source": "operator"}, "session", Session),
        ("resume_session", {**SESSION, "source": "operator"}, "session", Session),
        ("list_messages", OWN, "items 0", Message),
        ("list_messages", SESSION, "items 0", Message),
        ("list_turns", OWN, "items 0", Turn),
        ("get_turn", {**OWN, "turn_id": 1}, "turn", TurnWithMessages),
        ("get_turn", {**OWN, "turn_id": 1}, "turn messages 0", Message),
        ("list_tenants", {}, "items 0", Tenant),
        ("get_tenant", OWN, "tenant", Tenant),
        ("change_tenant", {**OWN, "values": {"llm_model": "m"}}, "tenant", Tenant),
        ("get_instance", OWN, "", InstanceFound),
        ("get_spending", OWN, "", Spending),
        ("get_tenant_stats", OWN, "stats", TenantStats),
        ("get_tenant_stats", OWN, "stats tables messages", Amount),
        ("create_api_key", KEY, "api_key", ApiKey),
        ("set_member", MEMBER, "member", Member),
        ("add_webhook_secret", SECRET, "webhook_secret", WebhookSecret),
        ("list_audit", {}, "items 0", AuditLine),
        ("find_contact", CONTACT, "", FoundContact),
        ("export_contact", {**CONTACT, "rows_follow": True}, "contact", ContactHead),
        ("erase_contact", {**CONTACT, "hashes": {MARIA: [HASH]}}, "", ErasedContact),
    ],
)
async def test_every_key_of_a_row_is_shown_or_named_as_left_out(
    talk: Conversation, function: str, asked: Json, path: str, model: type[Answer]
):
    await talk.maria_writes("oi")
    as_operator = {"caller": BOSS, "function": "pause_session"}
    await talk.database.call(
        "as_operator", {**as_operator, "argument": {**SESSION, "source": "operator"}}
    )
    answer = await talk.database.call(
        "as_operator", {"caller": BOSS, "function": function, "argument": asked}
    )
    row = inside(answer["result"], path)
    assert set(row) - LEFT_OUT.get(model, set()) == set(model.model_fields)
    model.model_validate(row)


async def test_pruning_tells_every_count(talk: Conversation):
    assert set(await talk.database.call("prune", {})) == set(Pruned.model_fields)
