"""The offline check of workflows: a sound one passes, and each fault is told with its cure."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.n8n.catalogue import Catalogue, catalogue_of
from scripts.n8n.checking import check_folder, check_workflow
from scripts.n8n.installation import Installation
from tests.for_each import for_each

Workflow = dict[str, Any]
Change = Callable[[Workflow], object]

CATALOGUE = Catalogue(
    {
        "n8n-nodes-base.webhook": frozenset({2.0, 2.1}),
        "n8n-nodes-base.httpRequest": frozenset({4.2}),
        "n8n-nodes-base.code": frozenset({2.0}),
        "n8n-nodes-base.if": frozenset({2.2}),
        "n8n-nodes-base.switch": frozenset({3.2}),
        "n8n-nodes-base.set": frozenset({3.4}),
        "n8n-nodes-base.noOp": frozenset({1.0}),
        "n8n-nodes-base.postgres": frozenset({2.6}),
        "n8n-nodes-base.stickyNote": frozenset({1.0}),
        "n8n-nodes-base.scheduleTrigger": frozenset({1.2}),
        "n8n-nodes-base.errorTrigger": frozenset({1.0}),
        "@n8n/n8n-nodes-langchain.chainLlm": frozenset({1.7}),
        "@n8n/n8n-nodes-langchain.lmChatAnthropic": frozenset({1.3}),
    }
)
CREDENTIALS = frozenset({"hybridflowKey", "hybridflowAnthropic"})
REPORT = "Connect it on to a node that posts to urls.fail."
TURN: dict[str, Any] = {
    "version": 1,
    "turn_id": 1,
    "attempt": 1,
    "token": "hft_1_00000000-0000-4000-8000-000000000000",
    "lease_seconds": 120,
    "correlation_id": None,
    "tenant": {
        "tenant_id": 1,
        "instance_name": "padaria",
        "llm_provider": "anthropic",
        "llm_model": "claude-example",
        "llm_max_tokens": 800,
    },
    "session": {
        "session_id": 1,
        "chat": "contact",
        "number": "5511900000001@s.whatsapp.net",
        "contact_name": "Ana",
    },
    "messages": [],
    "history": [],
    "prompt": {
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Oi"}],
        "transcript": "",
        "question": "Oi",
    },
    "urls": {
        name: f"http://localhost:8000/{name}"
        for name in ("gateway", "began", "done", "fail", "handoff", "extend")
    },
}


def node(name: str, kind: str, version: float, **given: Any) -> dict[str, Any]:
    return {
        "id": name.lower(),
        "name": name,
        "type": kind if "." in kind else f"n8n-nodes-base.{kind}",
        "typeVersion": version,
        "position": [0, 0],
        "parameters": {},
        **given,
    }


def request(name: str, url: str, **given: Any) -> dict[str, Any]:
    return node(name, "httpRequest", 4.2, parameters={"method": "POST", "url": url}, **given)


def main(*outputs: tuple[str, ...]) -> dict[str, Any]:
    return {"main": [[{"node": n, "type": "main", "index": 0} for n in group] for group in outputs]}


def urls(name: str) -> str:
    return f"={{{{ $('Turn').first().json.body.urls.{name} }}}}"


def turn_flow() -> Workflow:
    """A turn's flow with nothing wrong: answer, send, done; and fail from wherever it fails."""
    return {
        "id": "hybridflowInbound",
        "name": "HybridFlow: inbound",
        "settings": {"errorWorkflow": "hybridflowError"},
        "nodes": [
            node(
                "Turn",
                "webhook",
                2.1,
                parameters={"path": "hybridflow-turn", "authentication": "headerAuth"},
                credentials={"httpHeaderAuth": {"id": "hybridflowKey", "name": "Key"}},
            ),
            node(
                "Answer",
                "@n8n/n8n-nodes-langchain.chainLlm",
                1.7,
                onError="continueErrorOutput",
            ),
            node(
                "Claude",
                "@n8n/n8n-nodes-langchain.lmChatAnthropic",
                1.3,
                credentials={"anthropicApi": {"id": "hybridflowAnthropic", "name": "Anthropic"}},
            ),
            request(
                "Reply",
                urls("gateway") + "/message/sendText/padaria",
                onError="continueErrorOutput",
            ),
            node("Refused?", "if", 2.2),
            node("Say nothing", "noOp", 1),
            request("Done", urls("done")),
            request("Fail", urls("fail")),
            node("Note", "stickyNote", 1, parameters={"content": "Never read $env here."}),
        ],
        "connections": {
            "Turn": main(("Answer",)),
            "Answer": main(("Reply",), ("Fail",)),
            "Claude": {"ai_languageModel": [[{"node": "Answer", "index": 0}]]},
            "Reply": main(("Done",), ("Refused?",)),
            "Refused?": main(("Say nothing",), ("Fail",)),
        },
        "pinData": {"Turn": [{"json": {"headers": {}, "body": TURN}}]},
    }


def notice_flow() -> Workflow:
    """A notice's flow: it knows no `fail`, for a notice that is not done is told again."""
    flow = turn_flow()
    flow["nodes"] = [
        node(
            "Turn",
            "webhook",
            2.1,
            parameters={"path": "hybridflow-alarm", "authentication": "headerAuth"},
            credentials={"httpHeaderAuth": {"id": "hybridflowKey", "name": "Key"}},
        ),
        request("Tell", "https://hooks.example.com/alarm", onError="continueErrorOutput"),
        node("Later", "noOp", 1),
        request("Done", urls("done")),
        node("Note", "stickyNote", 1),
    ]
    flow["connections"] = {"Turn": main(("Tell",)), "Tell": main(("Done",), ("Later",))}
    return flow


def schedule_flow() -> Workflow:
    """A flow that no payload starts."""
    address = {"id": "a", "name": "router_url", "type": "string", "value": "http://localhost:8000"}
    return {
        "id": "hybridflowAutoResume",
        "name": "HybridFlow: auto-resume",
        "settings": {"errorWorkflow": "hybridflowError"},
        "nodes": [
            node("Clock", "scheduleTrigger", 1.2),
            node(
                "Router address",
                "set",
                3.4,
                parameters={"assignments": {"assignments": [address]}},
            ),
            request("Resume", "={{ $json.router_url }}/cron/auto-resume"),
            node("Note", "stickyNote", 1),
        ],
        "connections": {"Clock": main(("Router address",)), "Router address": main(("Resume",))},
    }


def found(workflow: Any) -> list[str]:
    return [str(fault) for fault in check_workflow(workflow, CATALOGUE, CREDENTIALS, file="w.json")]


def named(workflow: Workflow, name: str) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = workflow["nodes"]
    (one,) = (given for given in nodes if given["name"] == name)
    return one


def changed(flow: Workflow, change: Change) -> Workflow:
    given = copy.deepcopy(flow)
    change(given)
    return given


def add(flow: Workflow, given: dict[str, Any], *, after: str, output: int = 0) -> None:
    flow["nodes"].append(given)
    outputs = flow["connections"][after]["main"]
    given_to = [link["node"] for link in outputs[output]]
    outputs[output] = [{"node": given["name"], "type": "main", "index": 0}]
    flow["connections"][given["name"]] = main(tuple(given_to))


@pytest.mark.parametrize("flow", [turn_flow, notice_flow, schedule_flow])
def test_a_sound_workflow_has_no_faults(flow: Callable[[], Workflow]):
    assert found(flow()) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "it is not a workflow. Export it again."),
        ({"id": "a"}, "(name: Field required)"),
        (turn_flow() | {"nodes": []}, "(nodes: List should have at least 1 item"),
        (turn_flow() | {"nodes": [{"name": "A"}]}, "(nodes.0.id: Field required)"),
        (turn_flow() | {"connections": {"Turn": []}}, "(connections.Turn: "),
        (
            turn_flow() | {"connections": {"Gone": main(("Turn",))}},
            'a connection names "Gone", but there is no such node. Connect it again.',
        ),
        (
            turn_flow() | {"connections": {"Turn": main(("Gone",))}},
            'a connection names "Gone", but there is no such node. Connect it again.',
        ),
        (
            turn_flow() | {"nodes": [*turn_flow()["nodes"], node("Done", "noOp", 1)]},
            'two nodes are named "Done". Rename one.',
        ),
    ],
)
def test_what_is_no_workflow_is_told_and_not_looked_at_further(content: Any, told: str):
    (fault,) = found(content)
    assert fault.startswith("w.json: ")
    assert told in fault


CHANGES: list[tuple[Change, str]] = [
    (
        lambda w: named(w, "Say nothing").update(type="n8n-nodes-base.nop"),
        'node "Say nothing": n8n 2.40.7 has no node n8n-nodes-base.nop.',
    ),
    (
        lambda w: named(w, "Answer").update(typeVersion=9.9),
        'node "Answer": n8n 2.40.7 has no version 9.9 of @n8n/n8n-nodes-langchain.chainLlm.',
    ),
    (
        lambda w: named(w, "Claude")["credentials"]["anthropicApi"].update(apiKey="x"),
        'node "Claude": the credential anthropicApi must be given by id and name alone.',
    ),
    (
        lambda w: named(w, "Claude").update(credentials={"anthropicApi": "Anthropic"}),
        'node "Claude": the credential anthropicApi must be given by id and name alone.',
    ),
    (
        lambda w: named(w, "Claude")["credentials"]["anthropicApi"].update(id="mine"),
        'node "Claude": the credential mine is not in credentials.example.json',
    ),
    (
        lambda w: named(w, "Answer")["parameters"].update(apiKey="abc"),
        'the node "Answer" has a secret in apiKey: use a credential.',
    ),
    (
        lambda w: named(w, "Answer")["parameters"].update(text="={{ $env.OPENAI_API_KEY }}"),
        'node "Answer": it reads the environment',
    ),
    (
        lambda w: named(w, "Answer")["parameters"].update(text="={{ $vars.prompt }}"),
        'node "Answer": it reads the environment',
    ),
    (
        lambda w: named(w, "Answer")["parameters"].update(text="={{ process.env.HOME }}"),
        'node "Answer": it reads the environment',
    ),
    (lambda w: w["nodes"].pop(), "w.json: no sticky note explains it. Add one."),
    (
        lambda w: w["settings"].clear(),
        "w.json: a crash in it is not reported. Set its error workflow to hybridflowError.",
    ),
    (
        lambda w: named(w, "Turn")["parameters"].update(authentication="none"),
        'node "Turn": anybody could call it. Set its authentication to header auth.',
    ),
    (
        lambda w: named(w, "Turn").update(credentials={}),
        'node "Turn": it has no key to compare with.',
    ),
    (
        lambda w: named(w, "Turn")["credentials"]["httpHeaderAuth"].update(id="hybridflowCron"),
        'node "Turn": it would refuse the router, which shows another key.',
    ),
    (lambda w: w.pop("pinData"), 'node "Turn": it has no pinned example'),
    (
        lambda w: w["pinData"]["Turn"][0]["json"]["body"].pop("urls"),
        'node "Turn": its pinned example is not what the router posts (body.urls: Field required)',
    ),
    (
        lambda w: w["pinData"]["Turn"][0].update(json="Oi"),
        'node "Turn": its pinned example is not what the router posts (body: ',
    ),
    (
        lambda w: named(w, "Reply")["parameters"].update(
            url="http://evolution.example.com:8080/message/sendText/padaria"
        ),
        'node "Reply": it sends past the fence.',
    ),
    (
        lambda w: named(w, "Reply")["parameters"].update(
            url="={{ $json.server_url }}/message/sendMedia/padaria?from={{ $json.urls.gateway }}"
        ),
        'node "Reply": it sends past the fence.',
    ),
    (
        lambda w: add(
            w,
            node(
                "Send",
                "code",
                2,
                parameters={"jsCode": "await post(server + '/message/sendText/padaria')"},
                onError="continueRegularOutput",
            ),
            after="Answer",
        ),
        'node "Send": it sends past the fence.',
    ),
    (
        lambda w: named(w, "Done")["parameters"].update(url=urls("began")),
        'node "Turn": nothing behind it posts to urls.done, which closes the turn.',
    ),
    (
        lambda w: named(w, "Fail")["parameters"].update(url=urls("handoff")),
        'node "Turn": nothing behind it posts to urls.fail, which reports a failure.',
    ),
    (
        lambda w: named(w, "Done").update(disabled=True),
        'node "Turn": nothing behind it posts to urls.done',
    ),
    (
        lambda w: named(w, "Answer").pop("onError"),
        'node "Answer": if it fails, the flow fails. Set On Error to use an error output.',
    ),
    (
        lambda w: w["connections"]["Answer"]["main"].pop(),
        f'node "Answer": its error output leads nowhere. {REPORT}',
    ),
    (
        lambda w: w["connections"].update(Answer=main(("Reply",), ("Say nothing",))),
        f'node "Answer": its error output reports nothing. {REPORT}',
    ),
    (
        lambda w: add(
            w,
            node(
                "Look up", "postgres", 2.6, credentials={"p": {"id": "hybridflowKey", "name": ""}}
            ),
            after="Turn",
        ),
        'node "Look up": if it fails, the flow fails.',
    ),
    (
        lambda w: w["connections"].update(Reply=main((), ("Refused?",))),
        'node "Reply": the flow ends here, and the router hears of it only when the lease is over.',
    ),
    (
        lambda w: w["connections"].update({"Refused?": main((), ("Fail",))}),
        'node "Refused?": the flow ends here at output 1',
    ),
    (
        lambda w: w["connections"].update({"Refused?": main(("Fail",))}),
        'node "Refused?": the flow ends here at output 2',
    ),
    (
        lambda w: named(w, "Say nothing").update(type="n8n-nodes-base.set", typeVersion=3.4),
        'node "Say nothing": the flow ends here',
    ),
    (
        lambda w: named(w, "Refused?").update(
            type="n8n-nodes-base.switch",
            typeVersion=3.2,
            parameters={"rules": {"values": [{}, {}]}, "options": {}},
        ),
        'node "Refused?": an item that matches none of its rules ends here without a report.',
    ),
    (
        lambda w: named(w, "Refused?").update(
            type="n8n-nodes-base.switch",
            typeVersion=3.2,
            parameters={"rules": {"values": [{}, {}]}, "options": {"fallbackOutput": "extra"}},
        ),
        'node "Refused?": the flow ends here at output 3',
    ),
]


@for_each(("change", "told"), CHANGES, ids=[told[:70] for _, told in CHANGES])
def test_a_fault_is_told_with_its_place(change: Change, told: str):
    faults = found(changed(turn_flow(), change))
    assert any(told in fault for fault in faults), faults
    assert all(fault.startswith("w.json: ") for fault in faults)


SOUND: list[Change] = [
    lambda w: named(w, "Answer").update(onError="continueRegularOutput"),
    lambda w: named(w, "Turn")["parameters"].update(path="padaria/hybridflow-turn"),
    lambda w: named(w, "Reply")["parameters"].update(
        url="={{ $('Turn').item.json.body['urls']['gateway'] }}/message/sendText/padaria"
    ),
    lambda w: w["connections"].update(Answer=main(("Reply",), ("Refused?",))),
    lambda w: named(w, "Refused?").update(
        type="n8n-nodes-base.switch",
        typeVersion=3.2,
        parameters={"rules": {"values": [{}]}, "options": {"fallbackOutput": "extra"}},
    ),
    lambda w: add(w, node("Look up", "postgres", 2.6, disabled=True), after="Turn"),
]


@pytest.mark.parametrize("change", SOUND)
def test_what_a_builder_may_change_is_no_fault(change: Change):
    assert found(changed(turn_flow(), change)) == []


def test_a_note_that_names_a_callback_does_not_call_it():
    flow = turn_flow()
    named(flow, "Note")["parameters"]["content"] = urls("done")
    named(flow, "Done")["parameters"]["url"] = urls("extend")
    assert any("nothing behind it posts to urls.done" in fault for fault in found(flow))


def test_a_flow_may_end_with_the_call_for_a_human_whose_failure_is_handled():
    def end_with_handoff(flow: Workflow) -> None:
        call = request("Human", urls("handoff"), onError="continueErrorOutput")
        add(flow, call, after="Refused?")
        flow["connections"]["Human"] = main((), ("Fail",))

    assert found(changed(turn_flow(), end_with_handoff)) == []
    unhandled = changed(turn_flow(), end_with_handoff)
    del named(unhandled, "Human")["onError"]
    assert [fault for fault in found(unhandled) if '"Human": if it fails' in fault]


def test_a_webhook_of_the_routers_that_is_no_turn_is_held_to_the_same():
    def unlocked(flow: Workflow) -> None:
        named(flow, "Turn")["parameters"].pop("authentication")

    def without_done(flow: Workflow) -> None:
        named(flow, "Done")["parameters"]["url"] = "https://example.com"

    def unhandled(flow: Workflow) -> None:
        flow["connections"]["Tell"]["main"].pop()

    def past_the_fence(flow: Workflow) -> None:
        named(flow, "Tell")["parameters"]["url"] = "http://evolution:8080/message/sendText/p"

    assert any("anybody could call it" in f for f in found(changed(notice_flow(), unlocked)))
    assert any("urls.done" in f for f in found(changed(notice_flow(), without_done)))
    assert any("Stop and Error" in f for f in found(changed(notice_flow(), unhandled)))
    assert any("the fence" in f for f in found(changed(notice_flow(), past_the_fence)))


def test_the_example_of_a_handoff_must_be_a_notice():
    flow = notice_flow()
    named(flow, "Turn")["parameters"]["path"] = "hybridflow-handoff"
    assert any("not what the router posts (body.notice_id: " in fault for fault in found(flow))


def test_the_error_workflow_needs_no_error_workflow():
    flow = schedule_flow()
    flow["settings"] = {}
    assert found(flow)
    named(flow, "Clock").update(type="n8n-nodes-base.errorTrigger", typeVersion=1)
    assert found(flow) == []


def test_an_address_that_no_import_could_set_is_told():
    flow = schedule_flow()
    named(flow, "Resume")["parameters"]["url"] = "http://localhost:8000/cron/auto-resume"
    (fault,) = found(flow)
    assert fault.startswith('w.json: node "Resume": the router has that address only here.')

    flow = schedule_flow()
    named(flow, "Router address")["name"] = "Address"
    flow["connections"] = {"Clock": main(("Address",)), "Address": main(("Resume",))}
    (fault,) = found(flow)
    assert 'Set node named "Router address"' in fault


def test_a_folder_is_checked_file_by_file(tmp_path: Path):
    credentials = [{"id": id_, "name": id_, "type": "x", "data": {}} for id_ in CREDENTIALS]
    unlocked = turn_flow()
    named(unlocked, "Turn")["parameters"].pop("authentication")
    (tmp_path / "credentials.example.json").write_text(json.dumps(credentials))
    (tmp_path / "turn.schema.json").write_text("{}")
    (tmp_path / "good.json").write_text(json.dumps(turn_flow()))
    (tmp_path / "open.json").write_text(json.dumps(unlocked))
    (tmp_path / "torn.json").write_text('{"id": "a"')
    (tmp_path / "odd.json").write_bytes(b"\xff\xfe")
    faults = check_folder(tmp_path, CATALOGUE)
    assert [(fault.file, fault.node) for fault in faults] == [
        ("odd.json", None),
        ("open.json", "Turn"),
        ("torn.json", None),
    ]
    assert "it is not JSON" in str(faults[-1])


def test_a_folder_that_was_only_exported_to_has_the_credentials_of_this_project(tmp_path: Path):
    (tmp_path / "good.json").write_text(json.dumps(turn_flow()))
    assert check_folder(tmp_path, CATALOGUE) == ()


def test_the_catalogue_is_read_from_the_installed_packages(tmp_path: Path):
    approval = {"name": "operation", "options": [{"value": "send"}, {"value": "sendAndWait"}]}
    described = {
        "n8n-nodes-base": [
            {"name": "webhook", "version": [1, 1.1], "properties": []},
            {"name": "webhook", "version": 2, "properties": []},
            {"name": "httpRequest", "version": 4.2, "usableAsTool": True, "properties": []},
            {"name": "slack", "version": 2.3, "webhooks": [{}], "properties": [approval]},
            {"name": "executeCommand", "version": 1, "properties": []},
        ],
        "@n8n/n8n-nodes-langchain": [{"name": "agent", "version": 3, "properties": []}],
    }
    for package, nodes in described.items():
        file = tmp_path / "node_modules" / package / "dist" / "types" / "nodes.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(nodes))
    catalogue = catalogue_of(Installation(tmp_path))
    assert catalogue.types == {
        "n8n-nodes-base.stickyNote": {1},
        "n8n-nodes-base.webhook": {1, 1.1, 2},
        "n8n-nodes-base.httpRequest": {4.2},
        "n8n-nodes-base.httpRequestTool": {4.2},
        "n8n-nodes-base.slack": {2.3},
        "n8n-nodes-base.slackHitlTool": {2.3},
        "@n8n/n8n-nodes-langchain.agent": {3},
    }
    assert not catalogue.knows("n8n-nodes-base.executeCommand")


@pytest.mark.parametrize(
    ("n8n", "is_told"), [("2.9.4", True), ("1.123.0", True), ("2.20.12", False), ("2.41.0", False)]
)
def test_what_an_n8n_lacks_that_is_older_than_any_that_was_tried(n8n: str, is_told: bool):
    flow = turn_flow()
    named(flow, "Answer").update(typeVersion=9.9)
    (fault,) = check_workflow(flow, replace(CATALOGUE, n8n=n8n), CREDENTIALS, file="w.json")
    assert f"n8n {n8n} has no version 9.9" in str(fault)
    assert ("use a newer n8n: 2.20.12 is the oldest" in str(fault)) == is_told


def test_the_editor_chooses_the_routers_credential_for_a_new_webhook():
    """Of several that are as old it takes the last by their names."""
    named_so = json.loads((Path("n8n_workflows") / "credentials.example.json").read_text())
    locks = [each for each in named_so if each["type"] == "httpHeaderAuth"]
    assert max(locks, key=lambda each: each["name"].casefold())["id"] == "hybridflowKey"


@pytest.mark.parametrize("name", ["gateway_example", "agent_example"])
def test_what_the_gateway_refuses_for_now_is_tried_again(name: str):
    workflow = json.loads((Path("n8n_workflows") / f"{name}.json").read_text())
    (switch,) = (node for node in workflow["nodes"] if node["name"] == "Is it sent?")
    (away,) = (
        rule["conditions"]
        for rule in switch["parameters"]["rules"]["values"]
        if rule["outputKey"] == "Evolution away"
    )
    assert away["combinator"] == "or"
    assert {each["rightValue"] for each in away["conditions"]} == {503, 429, 408}
