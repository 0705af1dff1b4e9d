"""The offline check of flows that answer: every path of them ends in the Respond node."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.n8n.catalogue import Catalogue
from scripts.n8n.checking import check_workflow

CATALOGUE = Catalogue(
    {
        "n8n-nodes-base.webhook": frozenset({2.1}),
        "n8n-nodes-base.httpRequest": frozenset({4.2}),
        "n8n-nodes-base.if": frozenset({2.2}),
        "n8n-nodes-base.noOp": frozenset({1.0}),
        "n8n-nodes-base.executionData": frozenset({1.1}),
        "n8n-nodes-base.stopAndError": frozenset({1.0}),
        "n8n-nodes-base.respondToWebhook": frozenset({1.4}),
        "n8n-nodes-base.stickyNote": frozenset({1.0}),
    }
)
CREDENTIALS = frozenset({"hybridflowKey", "hybridflowAnthropic", "hybridflowOpenAi"})
Workflow = dict[str, Any]


@pytest.fixture
def inbound() -> Workflow:
    workflow: Workflow = json.loads(Path("n8n_workflows/inbound.json").read_text())
    return workflow


def faults(workflow: Workflow) -> list[str]:
    return [str(fault) for fault in check_workflow(workflow, CATALOGUE, CREDENTIALS, file="w.json")]


def named(workflow: Workflow, name: str) -> dict[str, Any]:
    return next(node for node in workflow["nodes"] if node["name"] == name)


def test_the_standard_flow_is_sound_and_small(inbound: Workflow):
    assert faults(inbound) == []
    nodes = [node for node in inbound["nodes"] if not node["type"].endswith(".stickyNote")]
    assert len(nodes) <= 7
    assert not any("code" in node["type"].lower() for node in nodes)


def test_positions_are_such_as_the_editor_gives(inbound: Workflow):
    assert not [node["name"] for node in inbound["nodes"] if any(n % 16 for n in node["position"])]


@pytest.mark.parametrize("name", ["Ask Claude", "Ask OpenAI", "OpenAI?"])
def test_a_path_without_an_answer_is_told(inbound: Workflow, name: str):
    inbound["connections"][name]["main"][0] = []
    told = [fault for fault in faults(inbound) if name in fault]
    assert any("without an answer" in fault for fault in told), told


def test_a_dead_end_of_another_kind_is_no_answer(inbound: Workflow):
    nothing = {"id": "nothing", "name": "Nothing", "type": "n8n-nodes-base.noOp", "typeVersion": 1}
    inbound["nodes"].append({**nothing, "position": [0, 0], "parameters": {}})
    inbound["connections"]["Ask Claude"]["main"][0][0]["node"] = "Nothing"
    assert any("Nothing" in fault and "without an answer" in fault for fault in faults(inbound))


def test_the_last_nodes_output_is_an_answer(inbound: Workflow):
    named(inbound, "Turn")["parameters"]["responseMode"] = "lastNode"
    inbound["nodes"].remove(named(inbound, "Answer"))
    inbound["nodes"].remove(named(inbound, "Failed"))
    for name in ("Ask Claude", "Ask OpenAI"):
        del inbound["connections"][name]
    assert faults(inbound) == []


def test_a_flow_that_answers_at_once_must_report(inbound: Workflow):
    named(inbound, "Turn")["parameters"]["responseMode"] = "onReceived"
    told = faults(inbound)
    assert any("urls.done" in fault for fault in told), told


def test_a_node_that_fails_needs_no_path_of_its_own(inbound: Workflow):
    for name in ("Ask Claude", "Ask OpenAI"):
        del named(inbound, name)["onError"]
        inbound["connections"][name]["main"].pop()
    inbound["nodes"].remove(named(inbound, "Failed"))
    assert faults(inbound) == []


@pytest.mark.parametrize("position", [[912, -64], [896, -48]])
def test_what_ends_a_flow_red_comes_after_its_answer(inbound: Workflow, position: list[int]):
    """n8n takes what one output leads to from top to bottom, and from left to right."""
    named(inbound, "Failed")["position"] = position
    (told,) = set(faults(inbound))
    assert "Failed" in told
    assert "below" in told


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('={ "text": "{{ $json.output }}" }', "between quotes"),
        ('={ "text": "Oi {{ $json.name }}, tudo bem?" }', "between quotes"),
        ('={{ { "handoff": { "reason": "asked" }} }}', "two closing braces"),
        ('={{ { "messages": [{ "location": { "latitude": $json.y }}] } }}', "two closing braces"),
        ('={{ { "handoff": { "reason": "asked" } } }}', None),
        ("={{ { text: $json.output } }}", None),
        ('={{ { "text": "a" + $json.output } }}', None),
        ('={ "text": {{ JSON.stringify($json.output) }} }', None),
        ('={ "text": "Oi{{ JSON.stringify($json.output).slice(1, -1) }}" }', None),
        ('{ "text": "Oi" }', None),
    ],
)
def test_json_that_a_customer_or_two_braces_would_break_is_told(
    inbound: Workflow, written: str, told: str | None
):
    """n8n publishes it, and tells the router "Error in workflow"."""
    named(inbound, "Answer")["parameters"]["responseBody"] = written
    found = faults(inbound)
    assert [told in fault for fault in found if told] == [True] * bool(told), found
    assert bool(found) is bool(told)


def test_a_webhook_that_waits_for_a_respond_node_is_told_of_none(inbound: Workflow):
    inbound["nodes"].remove(named(inbound, "Answer"))
    for kinds in inbound["connections"].values():
        kinds["main"] = [[to for to in group if to["node"] != "Answer"] for group in kinds["main"]]
    told = [fault for fault in faults(inbound) if "Ask" in fault]
    assert told
    assert all("Connect it on to a Respond to Webhook node" in fault for fault in told), told


def test_done_may_ride_on_the_last_send(inbound: Workflow):
    named(inbound, "Turn")["parameters"]["responseMode"] = "onReceived"
    gateway = "={{ $('Turn').first().json.body.urls.gateway }}/message/sendText/x"
    answer = named(inbound, "Answer")
    answer.update(type="n8n-nodes-base.httpRequest", typeVersion=4.2)
    answer["parameters"] = {"method": "POST", "url": gateway, "jsonBody": "={{ { done: true } }}"}
    told = faults(inbound)
    assert not [fault for fault in told if "urls.done," in fault or "ends here" in fault], told
    answer["parameters"]["jsonBody"] = "={{ { done: false } }}"
    assert [fault for fault in faults(inbound) if "urls.done," in fault]
