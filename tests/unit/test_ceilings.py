"""What a tenant may cost on the deployment's key, whoever makes its replies."""

import pytest

from router.llm.provider import Prompt, PromptMessage
from router.n8n.payload import FlowTerms, build_payload
from router.replies.llm_keys import max_tokens_within
from tests.unit.test_fallback import turn

TERMS = FlowTerms("http://router.example", 90, {"anthropic": "c", "openai": "g"}, 1000)
PROMPT = Prompt("Be kind.", (PromptMessage("user", "oi"),))


@pytest.mark.parametrize(
    ("own", "own_key", "wanted"),
    [
        (None, None, 1000), (7, None, 7), (1000, None, 1000), (1001, None, 1000),
        (90_000, "", 1000), (90_000, "its-own", 90_000), (None, "its-own", 1000),
    ],
)  # fmt: skip
def test_no_more_tokens_than_the_deployment_gives_but_on_a_key_of_its_own(
    own: int | None, own_key: str | None, wanted: int
):
    tenant = turn(llm_max_tokens=own, llm_api_key=own_key).tenant
    assert max_tokens_within(tenant, 1000) == wanted


def test_a_flow_is_told_no_more_than_the_deployment_gives():
    told = build_payload(turn(llm_max_tokens=90_000), PROMPT, TERMS).tenant
    assert told.llm_max_tokens == 1000
    assert build_payload(turn(llm_max_tokens=7), PROMPT, TERMS).tenant.llm_max_tokens == 7
