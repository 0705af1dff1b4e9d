"""That one LLM answers says nothing of another one."""

import itertools

from pydantic import SecretStr

from router.llm.reach import Reach
from router.replies.llm_keys import llm_of
from router.state.calls.claimed_turn import TurnTenant


def tenant(tenant_id: int, provider: str, model: str | None, key: str | None) -> TurnTenant:
    return TurnTenant(
        tenant_id=tenant_id,
        instance_name="shop",
        evo_server_url="https://evolution.example",
        evo_api_key=None,
        system_prompt=None,
        llm_provider=provider,
        llm_api_key=None if key is None else SecretStr(key),
        llm_model=model,
        llm_max_tokens=None,
    )


def test_what_works_for_one_provider_model_or_key_works_for_no_other() -> None:
    tenants = [
        tenant(1, "anthropic", None, None),
        tenant(1, "openai", None, None),
        tenant(1, "anthropic", "large", None),
        tenant(1, "anthropic", None, "own"),
        tenant(2, "anthropic", None, "own"),
    ]
    for works, other in itertools.permutations(tenants, 2):
        reach = Reach(clock=itertools.count().__next__)
        began = reach.now()
        reach.worked(llm_of(works))
        assert reach.worked_since(llm_of(works), began)
        assert not reach.worked_since(llm_of(other), began)


def test_on_the_deployments_key_what_works_for_one_tenant_works_for_all() -> None:
    assert llm_of(tenant(1, "openai", "m", None)) == llm_of(tenant(2, "openai", "m", ""))
