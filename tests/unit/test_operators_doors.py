"""The doors that operators go through: what they send, and how they stand with the REST API."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from router.api.bound_database import CallersDatabase
from router.api.routes import ROUTES as OPERATORS_ROUTES
from router.errors import DatabaseFault
from router.gate.identity import CallerIdentity
from router.state.calls.api_keys import CreateApiKey, ListApiKeys, list_api_keys
from router.state.calls.members import ListMembers, list_members
from router.state.calls.pauses import AutoResume
from router.state.calls.tenants import ChangeTenant, GetTenant, get_tenant
from router.state.database import Json
from router.state.pages import all_items

ANA = CallerIdentity("user ana", {"kind": "user", "user_id": "ana"})
MEMBER = {
    "tenant_id": 1,
    "role": "viewer",
    "created_by": None,
    "user_id": "0198c0de-0000-7000-8000-00000000a11a",
    "created_at": "2026-01-01T00:00:00+00:00",
}


@dataclass
class Told:
    """A state that gives these answers, one after the other."""

    answers: list[Json]
    calls: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        self.calls.append((function, argument))
        return self.answers.pop(0)


async def test_a_door_is_gone_through_as_the_caller_where_the_state_is_the_callers():
    state = Told([{"caller": "ana", "result": {"items": [MEMBER]}}])
    found = await list_members(CallersDatabase(state, ANA), ListMembers(tenant_id=7))
    assert found.items[0].role == "viewer"
    asked = {"caller": ANA.claim, "function": "list_members", "argument": {"tenant_id": 7}}
    assert state.calls == [("as_operator", asked)]


async def test_what_the_function_answers_is_judged_also_behind_as_operator():
    state = Told([{"caller": "ana", "result": {"tenant": {"id": 1, "notify_url": "s3cret"}}}])
    with pytest.raises(DatabaseFault, match="get_tenant") as fault:
        await get_tenant(CallersDatabase(state, ANA), GetTenant(tenant_id=1))
    assert "s3cret" not in str(fault.value)


def test_a_key_for_every_tenant_says_so_and_leaves_nothing_to_a_default():
    asked = CreateApiKey(name="n", key_hash="h", starts_with="hfk_", role="admin", tenant_ids=None)
    assert asked.written() == {
        "name": "n",
        "key_hash": "h",
        "starts_with": "hfk_",
        "role": "admin",
        "tenant_ids": None,
    }
    with pytest.raises(ValueError, match="tenant_ids"):
        CreateApiKey(name="n", key_hash="h", starts_with="hfk_", role="admin")  # type: ignore[call-arg]


def test_null_takes_a_tenants_value_away_so_it_is_sent():
    asked = ChangeTenant(tenant_id=1, values={"llm_model": None, "webhook_networks": None})
    assert asked.written() == {
        "tenant_id": 1, "values": {"llm_model": None, "webhook_networks": None}
    }  # fmt: skip


def test_no_sessions_is_another_wish_than_whichever():
    assert AutoResume(policy={}, session_ids=()).written() == {"policy": {}, "session_ids": []}
    assert AutoResume(policy={}).written() == {"policy": {}}


def key(number: int) -> Json:
    return {
        "id": number,
        "name": "k",
        "starts_with": "hfk_",
        "role": "admin",
        "tenant_ids": None,
        "every_tenant": True,
        "created_by": None,
        "created_at": "2026-01-01T00:00:00+00:00",
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        "is_active": True,
    }


async def test_a_list_is_gone_through_to_its_last_page_also_past_an_empty_one():
    state = Told(
        [
            {"items": [key(9), key(8)], "next_cursor": "a"},
            {"items": [], "next_cursor": "b"},
            {"items": [key(7)], "next_cursor": None},
        ]
    )
    found = [item.id async for item in all_items(list_api_keys, state, ListApiKeys(limit=2))]
    assert found == [9, 8, 7]
    assert [argument for _, argument in state.calls] == [
        {"limit": 2}, {"limit": 2, "cursor": "a"}, {"limit": 2, "cursor": "b"},
    ]  # fmt: skip


def answers_of(model: Any) -> set[type[BaseModel]]:
    """Return a model and all those that it has within."""
    found: set[type[BaseModel]] = set()
    waiting = [model]
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
            found.add(kind)
            waiting += [each.annotation for each in kind.model_fields.values()]
    return found


def test_what_the_state_answers_is_described_once():
    """A model of the API's own has a name of its own, and repeats no list of the state's fields."""
    shown = set().union(*map(answers_of, models_of(OPERATORS_ROUTES)))
    fields = {kind: {str(each) for each in kind.__annotations__.items()} for kind in shown}
    of_the_state = {kind for kind in shown if kind.__module__.startswith("router.state.calls.")}
    assert {kind.__name__ for kind in of_the_state} >= {"Session", "Turn", "Tenant", "ApiKey"}
    for kind in shown - of_the_state:
        for other in of_the_state:
            again = fields[kind] & fields[other]
            assert len(again) < 3, f"{kind} says again of {other.__name__}: {sorted(again)}"


def models_of(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield what each of the routes answers, also of those that were put together."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route.response_model
        else:
            yield from models_of(route.original_router.routes)
