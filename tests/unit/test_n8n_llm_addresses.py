"""A key of an LLM goes where the deployment says: in the flow's URL, and in the credential."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.n8n.canonical import canonical
from scripts.n8n.credentials import fill_in, read_example
from scripts.n8n.library import WORKFLOWS
from scripts.n8n.llm_addresses import with_llm_addresses
from tests.unit.test_n8n_check_of_answers import faults, named

BASES = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9/", "OPENAI_BASE_URL": "https://llm.example/v1"}
ASK_CLAUDE, ASK_OPENAI = "Ask Claude", "Ask OpenAI"


@pytest.fixture
def inbound() -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads(Path("n8n_workflows/inbound.json").read_text())
    return workflow


def urls(workflow: dict[str, Any]) -> list[str]:
    return [named(workflow, name)["parameters"]["url"] for name in (ASK_CLAUDE, ASK_OPENAI)]


OWN = ["https://api.anthropic.com/v1/messages", "https://api.openai.com/v1/chat/completions"]


def test_in_git_it_is_the_providers_own(inbound: dict[str, Any]):
    assert urls(inbound) == OWN
    assert urls(with_llm_addresses(inbound)) == OWN


def test_import_puts_the_deployments_there_and_export_takes_it_out(inbound: dict[str, Any]):
    before = copy.deepcopy(inbound)
    deployed = with_llm_addresses(inbound, BASES)
    assert urls(deployed) == [
        "http://127.0.0.1:9/v1/messages",
        "https://llm.example/v1/chat/completions",
    ]
    assert inbound == before
    assert canonical(deployed) == canonical(inbound) == inbound


def test_whatever_else_shows_no_key_of_an_llm_is_left_alone():
    url = "https://shop.example/v1/messages"
    node = {"name": "a", "type": "n8n-nodes-base.httpRequest", "parameters": {"url": url}}
    assert with_llm_addresses({"nodes": [node]}, BASES) == {"nodes": [node]}


@pytest.mark.parametrize("name", [ASK_CLAUDE, ASK_OPENAI])
@pytest.mark.parametrize(
    "url",
    [
        "={{ $json.body.tenant.llm_url }}",
        "=https://api.openai.com{{ $json.body.x }}",
        "={{ $('Turn').first().json.body.tenant.llm_url }}",
    ],
)
def test_the_check_refuses_an_address_that_comes_from_the_payload(
    inbound: dict[str, Any], name: str, url: str
):
    named(inbound, name)["parameters"]["url"] = url
    (told,) = faults(inbound)
    assert name in told
    assert "_BASE_URL" in told
    assert urls(with_llm_addresses(inbound, BASES)).count(url) == 1  # never made to look right


@pytest.mark.parametrize("kind", ["lmChatOpenAi", "openAi", "httpRequestTool"])
def test_the_check_knows_the_other_nodes_that_show_a_key(inbound: dict[str, Any], kind: str):
    node = named(inbound, ASK_OPENAI)
    node["parameters"] = {"options": {"baseURL": "={{ $json.body.tenant.llm_url }}"}}
    node["type"] = f"@n8n/n8n-nodes-langchain.{kind}"
    assert any("sends an LLM's key" in told for told in faults(inbound))


@pytest.mark.parametrize(
    ("variables", "hosts"),
    [
        ({}, ["api.anthropic.com", "api.openai.com"]),
        (BASES, ["127.0.0.1", "llm.example"]),
    ],
)
def test_a_credential_may_be_shown_to_the_deployments_host_alone(
    variables: dict[str, str], hosts: list[str]
):
    filled = fill_in(read_example(WORKFLOWS), variables)
    llms = [each["data"] for each in filled if each["type"] in ("anthropicApi", "openAiApi")]
    assert [each["allowedHttpRequestDomains"] for each in llms] == ["domains", "domains"]
    assert [each["allowedDomains"] for each in llms] == hosts
