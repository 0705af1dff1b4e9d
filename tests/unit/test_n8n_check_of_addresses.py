"""The offline check: community nodes, addresses that are made up, errors taken for answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.n8n.catalogue import Catalogue, installed_community, named_community
from scripts.n8n.checking import check_folder, check_workflow
from scripts.n8n.library import WORKFLOWS
from tests.unit.test_n8n_check import (
    CATALOGUE,
    CREDENTIALS,
    Workflow,
    main,
    named,
    node,
    notice_flow,
    request,
    turn_flow,
)

EVOLUTION = "n8n-nodes-evolution-api"
NEVER = {"response": {"response": {"neverError": True}}}


def faults(workflow: Workflow, catalogue: Catalogue = CATALOGUE) -> list[str]:
    return [str(fault) for fault in check_workflow(workflow, catalogue, CREDENTIALS, file="w.json")]


def with_node(kind: str) -> Workflow:
    flow = turn_flow()
    flow["nodes"].append(node("Extra", kind, 1))
    return flow


# --- community nodes


def test_a_community_node_is_named_with_the_cure():
    (fault,) = faults(with_node(f"{EVOLUTION}.evolutionApi"))
    assert f"community package {EVOLUTION}" in fault
    assert "Install it (Settings, Community nodes), or name it in community_nodes.txt" in fault


def test_a_node_of_n8ns_own_packages_is_no_community_node():
    (fault,) = faults(with_node("n8n-nodes-base.evolutionApi"))
    assert "n8n 2.40.7 has no node n8n-nodes-base.evolutionApi" in fault


@pytest.mark.parametrize("package", [EVOLUTION, "@someone/n8n-nodes-evolution"])
def test_one_that_is_installed_is_known(package: str, tmp_path: Path):
    folder = tmp_path / ".n8n" / "nodes" / "node_modules" / package
    folder.mkdir(parents=True)
    nodes = {"nodes": ["dist/nodes/EvolutionApi/EvolutionApi.node.js"]}
    (folder / "package.json").write_text(json.dumps({"name": package, "n8n": nodes}))
    beside = tmp_path / ".n8n" / "nodes" / "node_modules" / "axios"
    beside.mkdir()
    (beside / "package.json").write_text('{"name": "axios"}')
    installed = installed_community(tmp_path)
    assert installed == {package: frozenset({"evolutionapi"})}
    catalogue = Catalogue(CATALOGUE.types, installed)
    assert faults(with_node(f"{package}.evolutionApi"), catalogue) == []
    assert faults(with_node(f"{package}.evolutionApiTool"), catalogue) == []
    (fault,) = faults(with_node(f"{package}.telegram"), catalogue)
    assert f"{package} has no such node" in fault


def test_nothing_is_installed_where_there_is_no_n8n(tmp_path: Path):
    assert installed_community(tmp_path) == {}


def test_one_that_the_folder_names_is_known(tmp_path: Path):
    (tmp_path / "credentials.example.json").write_text("[]")
    (tmp_path / "flow.json").write_text(json.dumps(with_node(f"{EVOLUTION}.evolutionApi")))
    told = [str(each) for each in check_folder(tmp_path, CATALOGUE)]
    assert [each for each in told if "community package" in each]
    (tmp_path / "community_nodes.txt").write_text(f"# what flows need\n{EVOLUTION}@1.0.4\n\n")
    told = [str(each) for each in check_folder(tmp_path, CATALOGUE)]
    assert not [each for each in told if "community package" in each]


def test_a_named_package_may_have_a_scope_and_a_version(tmp_path: Path):
    lines = "@someone/nodes@2.0\n@someone/others\nplain  # why\n"
    (tmp_path / "community_nodes.txt").write_text(lines)
    assert set(named_community(tmp_path)) == {"@someone/nodes", "@someone/others", "plain"}


# --- addresses


@pytest.mark.parametrize(
    "url",
    [
        "={{ $json.url }}",
        "={{ $('Set').first().json.base }}/orders",
        "= {{ 'https://' + $json.host }}",
        "={{ $json.server_url }}/x",
    ],
)
def test_a_post_to_an_address_that_is_made_up_is_told(url: str):
    flow = turn_flow()
    named(flow, "Answer")["type"] = "n8n-nodes-base.httpRequest"
    named(flow, "Answer")["typeVersion"] = 4.2
    named(flow, "Answer")["parameters"] = {"method": "POST", "url": url}
    (fault,) = faults(flow)
    assert 'node "Answer": its whole URL is made while it runs' in fault


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "https://crm.example/{{ $json.id }}"),
        ("POST", "=https://crm.example/{{ $json.id }}"),
        ("POST", "={{ $json.body.tenant.llm_url }}"),
        ("POST", "={{ $('Turn').item.json.body.urls['gateway'] }}/chat/sendPresence/padaria"),
        ("GET", "={{ $json.picture }}"),
    ],
)
def test_an_address_that_can_be_told_and_what_only_reads_are_sound(method: str, url: str):
    flow = turn_flow()
    named(flow, "Answer")["type"] = "n8n-nodes-base.httpRequest"
    named(flow, "Answer")["typeVersion"] = 4.2
    named(flow, "Answer")["parameters"] = {"method": method, "url": url}
    assert faults(flow) == []


# --- errors that are taken for answers


def test_a_send_that_never_fails_is_looked_at_before_done():
    flow = turn_flow()
    named(flow, "Reply")["parameters"]["options"] = NEVER
    (fault,) = faults(flow)
    assert 'node "Reply": it never fails (Never Error), and the flow ends' in fault
    flow["nodes"].append(node("Sent?", "if", 2.2))
    flow["connections"]["Reply"] = main(("Sent?",), ("Refused?",))
    flow["connections"]["Sent?"] = main(("Done",), ("Fail",))
    assert faults(flow) == []


def test_so_is_one_of_a_notice():
    flow = notice_flow()
    named(flow, "Tell")["parameters"]["options"] = NEVER
    (fault,) = faults(flow)
    assert "Never Error" in fault


def test_a_callback_that_never_fails_is_sound():
    flow = turn_flow()
    for name in ("Done", "Fail"):
        named(flow, name)["parameters"]["options"] = NEVER
    assert faults(flow) == []


@pytest.mark.parametrize("mode", ["responseNode", "lastNode"])
def test_in_a_flow_that_answers_an_error_is_no_answer(mode: str):
    types = {**CATALOGUE.types, "n8n-nodes-base.respondToWebhook": frozenset({1.4})}
    flow: dict[str, Any] = turn_flow()
    kept = [each for each in flow["nodes"] if each["name"] in ("Turn", "Note")]
    kept[0]["parameters"]["responseMode"] = mode
    ask = request("Ask", "https://llm.example/v1/messages")
    ask["parameters"]["options"] = NEVER
    answer = node("Answer", "respondToWebhook", 1.4)
    ends = [answer] if mode == "responseNode" else []
    flow["nodes"] = [*kept, ask, *ends]
    flow["connections"] = {"Turn": main(("Ask",))}
    if ends:
        flow["connections"]["Ask"] = main(("Answer",))
    (fault,) = faults(flow, Catalogue(types))
    assert 'node "Ask": it never fails' in fault
    ask["parameters"]["options"] = {}
    assert faults(flow, Catalogue(types)) == []


@pytest.mark.parametrize(
    "file",
    [each for each in sorted(WORKFLOWS.glob("*.json")) if "nodes" in json.loads(each.read_text())],
    ids=lambda file: file.name,
)
def test_what_is_shipped_has_none_of_these_faults(file: Path):
    every = Catalogue({})
    told = [
        str(each)
        for each in check_workflow(json.loads(file.read_text()), every, frozenset(), file=file.name)
    ]
    assert not [each for each in told if "Never Error" in each or "whole URL" in each]
