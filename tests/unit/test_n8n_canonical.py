"""Workflows as they lie in git: only what a builder made, no secrets, the same each time."""

import copy
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.n8n.canonical import (
    DEFAULT_ROUTER_URL,
    SecretInWorkflow,
    canonical,
    file_name,
    to_text,
    with_examples_of,
    with_router_url,
)
from scripts.n8n.secret_texts import EXAMPLE_TOKEN


def node(name: str, kind: str = "n8n-nodes-base.noOp", **given: Any) -> dict[str, Any]:
    return {
        "id": name.lower().replace(" ", "-"),
        "name": name,
        "type": kind,
        "typeVersion": 1,
        "position": [120, -40],
        "parameters": {},
        **given,
    }


def workflow(*nodes: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {
        "id": "padaria",
        "name": "Padaria Aurora",
        "nodes": list(nodes),
        "connections": {},
        "settings": {"executionOrder": "v1"},
        **given,
    }


WEBHOOK = node("Turn", "n8n-nodes-base.webhook", webhookId="hybridflow-turn")


def router_address(url: str) -> dict[str, Any]:
    assignment = {"id": "a", "name": "router_url", "type": "string", "value": url}
    return node(
        "Router address",
        "n8n-nodes-base.set",
        parameters={"assignments": {"assignments": [assignment]}, "options": {}},
    )


def test_an_example_whose_pin_was_taken_off_to_try_the_flow_stays_in_the_file():
    example = {"Turn": [{"json": {"body": {}}}], "Gone": [{"json": {}}]}
    before = workflow(WEBHOOK, pinData=example)
    assert with_examples_of(workflow(WEBHOOK), before)["pinData"] == {"Turn": example["Turn"]}
    mine = {"Turn": [{"json": {"body": {"turn_id": 2}}}]}
    assert with_examples_of(workflow(WEBHOOK, pinData=mine), before)["pinData"] == mine
    assert with_examples_of(workflow(WEBHOOK), None) == workflow(WEBHOOK)


def test_what_n8n_notes_about_the_saving_is_left_out():
    # The fields of `n8n export:workflow --backup`, version 2.40.7.
    volatile = {
        "updatedAt": "2026-11-20T10:00:00.000Z",
        "createdAt": "2026-11-20T09:00:00.000Z",
        "versionId": "8f0e",
        "activeVersionId": "8f0e",
        "versionCounter": 7,
        "triggerCount": 1,
        "versionMetadata": {"name": None},
        "shared": [{"role": "workflow:owner", "project": {"name": "Ana <ana@example.com>"}}],
        "sourceWorkflowId": None,
        "staticData": {"node:Every": {"recurrenceRules": []}},
        "active": True,
        "activeVersion": {"nodes": []},
        "isArchived": False,
        "parentFolder": None,
        "parentFolderId": "f1",
        "homeProject": {"id": "p1"},
        "meta": {"instanceId": "cafe", "templateCredsSetupCompleted": True},
        "tags": [{"id": "t", "name": "x", "updatedAt": "2026-11-20T10:00:00.000Z"}],
    }
    plain = workflow(WEBHOOK)
    assert canonical({**plain, **volatile}) == canonical(plain)


def test_what_a_builder_made_is_kept():
    made = workflow(
        WEBHOOK,
        node("Say nothing", notes="Nothing to say.", disabled=True),
        connections={"Turn": {"main": [[{"node": "Say nothing", "type": "main", "index": 0}]]}},
        description="Answers at night",
    )
    kept = canonical(made)
    assert {name: kept[name] for name in made if name != "nodes"} == {
        name: value for name, value in made.items() if name != "nodes"
    }
    assert sorted(kept["nodes"], key=str) == sorted(made["nodes"], key=str)


def test_a_renamed_node_stays_where_it_is():
    before = workflow(node("A"), node("B"), node("C"))
    renamed = copy.deepcopy(before)
    renamed["nodes"][0]["name"] = "Z"
    one, other = to_text(canonical(before)), to_text(canonical(renamed))
    changed = [
        pair
        for pair in zip(one.splitlines(), other.splitlines(), strict=True)
        if len(set(pair)) > 1
    ]
    assert [(a.strip(), b.strip()) for a, b in changed] == [('"name": "A",', '"name": "Z",')]


def test_the_order_in_which_n8n_gives_the_nodes_does_not_matter():
    nodes = [node("A"), node("B"), WEBHOOK]
    assert canonical(workflow(*nodes)) == canonical(workflow(*reversed(nodes)))


def test_the_text_is_sorted_readable_and_ends_with_a_newline():
    text = to_text(canonical(workflow(node("Olá"))))
    assert text.endswith("}\n")
    assert '"name": "Olá"' in text
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def test_of_pinned_data_only_the_example_of_the_trigger_stays():
    pinned = {"Turn": [{"json": {"body": {"turn_id": 1}}}], "Answer": [{"json": {"text": "Oi"}}]}
    kept = canonical(workflow(WEBHOOK, node("Answer"), pinData=pinned))
    assert kept["pinData"] == {"Turn": [{"json": {"body": {"turn_id": 1}}}]}


def test_a_pinned_example_tells_nothing_of_the_call_that_it_came_from():
    call = {
        "headers": {"x-n8n-api-key": "live"},
        "body": {"turn_id": 1},
        "webhookUrl": "https://n8n.example.com/webhook-test/hybridflow-turn",
        "executionMode": "test",
    }
    pinned = {"Turn": [{"json": call, "binary": {"data": {}}, "pairedItem": {"item": 0}}]}
    kept = canonical(workflow(WEBHOOK, pinData=pinned))
    assert kept["pinData"] == {"Turn": [{"json": {"headers": {}, "body": {"turn_id": 1}}}]}


def test_a_credential_is_kept_by_id_and_name_alone():
    given = {"anthropicApi": {"id": "c1", "name": "Anthropic", "__aiGatewayManaged": False}}
    (kept,) = canonical(workflow(node("Claude", credentials=given)))["nodes"]
    assert kept["credentials"] == {"anthropicApi": {"id": "c1", "name": "Anthropic"}}


@pytest.mark.parametrize(
    "parameters",
    [
        {"headerParameters": {"parameters": [{"name": "Authorization", "value": "abc"}]}},
        {"headerParameters": {"parameters": [{"name": "apikey", "value": "B6D711FC"}]}},
        {"headerParameters": {"parameters": [{"name": "apikey", "value": "=B6D711FC"}]}},
        {"headerParameters": {"parameters": [{"name": "X-Cron-Secret", "value": "abc"}]}},
        {"apiKey": "abc"},
        {"password": "abc"},
        {"jsonHeaders": '{"apikey": "B6D711FC"}'},
        {"jsCode": "const key = 'sk-ant-api03-abcdefghijklmnop';"},
        {"jsCode": "call({ headers: { Authorization: 'abc' } });"},
        {"value": "=Bearer abcdefghijklmnop1234"},
        {"url": "https://api.example.com/v1?api_key=abc"},
        {"url": "postgres://ana:senha@db.example.com/loja"},
        {"text": "hft_7_3f2b8c1e-1111-4222-8333-444455556666"},
    ],
)
def test_a_secret_is_an_error_that_names_its_place_and_not_itself(parameters: dict[str, Any]):
    with pytest.raises(SecretInWorkflow) as error:
        canonical(workflow(node("Call", parameters=parameters)))
    assert 'the node "Call" has a secret in ' in str(error.value)
    assert next(iter(parameters)) in str(error.value)
    for secret in ("abc", "B6D711FC", "sk-ant", "senha", "3f2b8c1e"):
        assert secret not in str(error.value)


@pytest.mark.parametrize(
    "parameters",
    [
        {"headerParameters": {"parameters": [{"name": "apikey", "value": "={{ $json.token }}"}]}},
        {"headerParameters": {"parameters": [{"name": "apikey", "value": ""}]}},
        {"jsonHeaders": '={"apikey": "{{ $json.token }}"}'},
        {"jsCode": "call({ headers: { apikey: $json.body.token } });"},
        {"url": "=https://api.example.com/v1?token={{ $json.token }}"},
        {"authentication": "headerAuth", "options": {"maxTokens": 300}},
        {"content": "Send the turn's token as the header `apikey: <token>`; a bearer token is no."},
        {"content": "The task-list of the risk-management-department"},
    ],
)
def test_what_only_speaks_of_secrets_is_none(parameters: dict[str, Any]):
    canonical(workflow(node("Call", parameters=parameters)))


def test_a_secret_in_the_notes_of_a_node_is_found():
    with pytest.raises(SecretInWorkflow, match="notes"):
        canonical(workflow(node("Call", notes="sk-ant-api03-abcdefghijklmnop")))


def test_a_pinned_turn_that_was_real_is_refused_and_the_made_up_one_is_not():
    def pinned(secret: str) -> dict[str, Any]:
        return {"Turn": [{"json": {"body": {"token": f"hft_1_{secret}"}}}]}

    canonical(workflow(WEBHOOK, pinData=pinned(EXAMPLE_TOKEN)))
    with pytest.raises(SecretInWorkflow, match="made up"):
        canonical(workflow(WEBHOOK, pinData=pinned("3f2b8c1e-1111-4222-8333-444455556666")))


def test_the_routers_address_goes_in_for_the_import_and_comes_out_for_git():
    in_git = canonical(workflow(WEBHOOK, router_address(DEFAULT_ROUTER_URL)))
    deployed = with_router_url(in_git, "https://router.example.com")
    assert "https://router.example.com" in to_text(deployed)
    assert DEFAULT_ROUTER_URL not in to_text(deployed)
    assert canonical(deployed) == in_git


def test_a_workflow_that_a_payload_brings_the_address_keeps_every_node():
    plain = canonical(workflow(WEBHOOK, node("Router address")))
    assert with_router_url(plain, "https://router.example.com") == plain


@pytest.mark.parametrize(
    ("id_", "name", "file"),
    [
        ("hybridflowInbound", "Renamed by a builder", "inbound.json"),
        ("hybridflowAutoResume", "x", "auto_resume.json"),
        ("hybridflowHandoff", "x", "handoff_notify.json"),
        ("hybridflowConnection", "x", "connection_alert.json"),
        ("hybridflowAgent", "x", "agent_example.json"),
        ("hybridflowError", "x", "error.json"),
        ("k3Xy", "Pão & Cia: pedidos", "p_o_cia_pedidos_k3Xy.json"),
        ("k3Xy", "../../etc/passwd", "etc_passwd_k3Xy.json"),
        ("../k3", "🙂", "workflow__k3.json"),
    ],
)
def test_the_file_is_named_by_the_id_or_safely_by_the_name(id_: str, name: str, file: str):
    assert file_name({"id": id_, "name": name}) == file


WORDS = st.text(string.ascii_lowercase + " é{}=$", max_size=12)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    ),
    max_leaves=8,
)
NODES = st.builds(
    lambda name, id_, kind, parameters, extra: {
        **node(name, kind, parameters=parameters),
        "id": id_,
        **extra,
    },
    st.sampled_from(["Turn", "Router address", "Answer", "Say"]),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from(["n8n-nodes-base.webhook", "n8n-nodes-base.set", "n8n-nodes-base.noOp"]),
    st.one_of(
        st.dictionaries(st.sampled_from("abcd"), JSON, max_size=3),
        WORDS.map(lambda url: router_address(url)["parameters"]),
    ),
    st.fixed_dictionaries({}, optional={"notes": WORDS, "webhookId": WORDS, "onError": WORDS}),
)
WORKFLOWS = st.builds(
    lambda nodes, extra: {**workflow(*nodes), **extra},
    st.lists(NODES, max_size=5, unique_by=lambda given: given["name"]),
    st.fixed_dictionaries(
        {},
        optional={
            "pinData": st.dictionaries(
                st.sampled_from(["Turn", "Answer", "Gone"]),
                st.lists(st.fixed_dictionaries({"json": JSON, "pairedItem": JSON}), max_size=2),
            ),
            "description": WORDS,
            "versionId": WORDS,
            "meta": JSON,
        },
    ),
)


@given(made=WORKFLOWS)
def test_the_canonical_form_is_its_own_and_nothing_given_is_changed(made: dict[str, Any]):
    before = copy.deepcopy(made)
    once = canonical(made)
    assert canonical(once) == once
    assert to_text(canonical(json.loads(to_text(once)))) == to_text(once)
    assert made == before
    assert canonical({**made, "nodes": made["nodes"][::-1]}) == once


def test_a_whole_number_has_no_decimals_for_javascript_knows_none():
    workflow = {"id": "a", "name": "a", "nodes": [], "connections": {}, "settings": {"x": 60.0}}
    assert '"x": 60\n' in to_text(canonical(workflow))
