"""What is wrong with a workflow, found without starting n8n."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from router.n8n.payload import TurnPayload
from scripts.n8n.canonical import find_secrets, is_trigger
from scripts.n8n.catalogue import Catalogue
from scripts.n8n.credentials import EXAMPLE
from scripts.n8n.graph import Graph

_TURN_PATH = re.compile(r"(^|/)hybridflow-turn$")
_OWN_PATH = re.compile(r"(^|/)hybridflow-[a-z-]+$")
_EVOLUTION_PATH = re.compile(r"/(message/send\w+|chat/sendPresence)/")
_ENVIRONMENT = re.compile(r"\$env\b|\$vars\b|process\.env")
_ERROR_WORKFLOW = "hybridflowError"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong where, and the cure."""

    file: str
    node: str | None
    text: str

    def __str__(self) -> str:
        where = f'{self.file}: node "{self.node}"' if self.node else self.file
        return f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class _Workflow:
    file: str
    content: Mapping[str, Any]
    graph: Graph
    catalogue: Catalogue
    credentials: frozenset[str]

    def fault(self, node: str | None, text: str) -> Fault:
        return Fault(self.file, node, text)


def check_folder(folder: Path, catalogue: Catalogue) -> tuple[Fault, ...]:
    """Return the faults of every workflow in a folder."""
    credentials = frozenset(c["id"] for c in json.loads((folder / EXAMPLE).read_text()))
    faults: list[Fault] = []
    for file in sorted(folder.glob("*.json")):
        if file.name.endswith((".example.json", ".schema.json")):
            continue
        try:
            content = json.loads(file.read_text())
        except ValueError as error:
            faults.append(Fault(file.name, None, f"it is not JSON: {error}. Export it again."))
            continue
        faults += check_workflow(content, catalogue, credentials, file=file.name)
    return tuple(faults)


def check_workflow(
    content: Any, catalogue: Catalogue, credentials: frozenset[str], *, file: str
) -> tuple[Fault, ...]:
    """Return the faults of one workflow; an empty tuple if n8n and the router can use it."""
    shape = _shape_fault(content)
    if shape:
        return (Fault(file, None, shape),)
    workflow = _Workflow(file, content, Graph.of(content), catalogue, credentials)
    return tuple(fault for rule in _RULES for fault in rule(workflow))


def _shape_fault(content: Any) -> str | None:
    if not isinstance(content, dict):
        return "it is not a workflow. Export it again."
    missing = [name for name in ("id", "name", "nodes", "connections") if not content.get(name)]
    if missing:
        return f"it has no {', '.join(missing)}. Export it again."
    names = [node.get("name") for node in content["nodes"]]
    targets = {
        link["node"]
        for outputs in content["connections"].values()
        for groups in outputs.values()
        for group in groups
        for link in group or ()
    }
    if lost := sorted((set(content["connections"]) | targets) - set(names)):
        return f"a connection names {lost[0]}, which is no node of it. Connect it anew."
    return None


def _nodes_are_known(workflow: _Workflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        kind, version = node["type"], float(node["typeVersion"])
        if not workflow.catalogue.knows(kind):
            yield workflow.fault(node["name"], f"n8n has no node {kind}. Is its name right?")
        elif not workflow.catalogue.has(kind, version):
            yield workflow.fault(
                node["name"], f"n8n has no version {version:g} of {kind}. Export it from this n8n."
            )


def _credentials_are_named(workflow: _Workflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        for kind, named in (node.get("credentials") or {}).items():
            if set(named) != {"id", "name"}:
                text = f"the credential {kind} must be given by id and name alone."
                yield workflow.fault(node["name"], text)
            elif named["id"] not in workflow.credentials:
                yield workflow.fault(
                    node["name"],
                    f"the credential {named['id']} is not in {EXAMPLE}: import could not make it."
                    " Name it there.",
                )


def _no_secrets(workflow: _Workflow) -> Iterator[Fault]:
    for place in find_secrets(workflow.content):
        yield workflow.fault(None, f"{place}. Use a credential.")


def _no_environment(workflow: _Workflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        if _ENVIRONMENT.search(json.dumps(node.get("parameters", {}))):
            yield workflow.fault(
                node["name"],
                "it reads the environment, which n8n does not allow."
                " Take it from the payload, or from a credential.",
            )


def _webhook_is_locked(workflow: _Workflow) -> Iterator[Fault]:
    for node in workflow.graph.of_kind("webhook"):
        own = _OWN_PATH.search(node["parameters"].get("path", ""))
        if own and node["parameters"].get("authentication") != "headerAuth":
            yield workflow.fault(
                node["name"], "anybody could call it. Set its authentication to header auth."
            )


def _is_explained(workflow: _Workflow) -> Iterator[Fault]:
    if not workflow.graph.of_kind("stickyNote"):
        yield workflow.fault(None, "no sticky note explains it. Add one.")


def _crash_is_heard(workflow: _Workflow) -> Iterator[Fault]:
    if workflow.graph.of_kind("errorTrigger"):
        return
    if (workflow.content.get("settings") or {}).get("errorWorkflow") != _ERROR_WORKFLOW:
        yield workflow.fault(
            None, f"a crash in it is not heard. Set its error workflow to {_ERROR_WORKFLOW}."
        )


def _turn_example(workflow: _Workflow) -> Iterator[Fault]:
    for node in _turn_webhooks(workflow):
        pinned = (workflow.content.get("pinData") or {}).get(node["name"])
        if not pinned:
            yield workflow.fault(
                node["name"], "it has no pinned example, so that nobody can try it in the editor."
            )
            continue
        try:
            TurnPayload.model_validate(pinned[0]["json"]["body"])
        except (ValidationError, KeyError) as error:
            first = str(error).splitlines()[1:3]
            yield workflow.fault(
                node["name"],
                f"its example is not a turn ({' '.join(first)}). See turn.schema.json.",
            )


def _turn_goes_through_the_router(workflow: _Workflow) -> Iterator[Fault]:
    for _ in _turn_webhooks(workflow):
        text = json.dumps(workflow.content["nodes"])
        for name, cure in (("done", "closes the turn"), ("fail", "reports a failure")):
            if f".urls.{name}" not in text:
                yield workflow.fault(None, f"no node posts to urls.{name}, which {cure}. Add one.")
    for node in workflow.content["nodes"]:
        url = str(node.get("parameters", {}).get("url", ""))
        if _EVOLUTION_PATH.search(url + "/") and ".urls.gateway" not in url:
            yield workflow.fault(
                node["name"],
                "it sends past the fence. Begin its URL with the payload's urls.gateway.",
            )


def _failures_are_reported(workflow: _Workflow) -> Iterator[Fault]:
    """Every node of a turn's flow that can fail leads on to urls.fail."""
    if not list(_turn_webhooks(workflow)):
        return
    graph = workflow.graph
    for node in graph.steps():
        if graph.is_callback(node) or not graph.can_fail(node):
            continue
        handling = node.get("onError")
        if handling == "continueRegularOutput":
            continue
        if handling != "continueErrorOutput":
            yield workflow.fault(
                node["name"], "where it fails the flow dies. Set On Error to use an error output."
            )
        elif not graph.leads_to_fail(node["name"], output="error"):
            yield workflow.fault(
                node["name"],
                "its error output leads nowhere. Connect it on to a node that posts to urls.fail.",
            )


def _flow_ends_on_purpose(workflow: _Workflow) -> Iterator[Fault]:
    if not list(_turn_webhooks(workflow)):
        return
    for node in workflow.graph.ends():
        if not (workflow.graph.is_callback(node) or node["type"].endswith(".noOp")):
            yield workflow.fault(
                node["name"],
                "the flow ends here, and the router hears of it only when the lease is over."
                " Connect it on to urls.done or urls.fail, or to a No Operation node.",
            )


def _turn_webhooks(workflow: _Workflow) -> Iterator[Mapping[str, Any]]:
    for node in workflow.graph.of_kind("webhook"):
        if is_trigger(node) and _TURN_PATH.search(node["parameters"].get("path", "")):
            yield node


_RULES: tuple[Callable[[_Workflow], Iterator[Fault]], ...] = (
    _nodes_are_known,
    _credentials_are_named,
    _no_secrets,
    _no_environment,
    _webhook_is_locked,
    _is_explained,
    _crash_is_heard,
    _turn_example,
    _turn_goes_through_the_router,
    _failures_are_reported,
    _flow_ends_on_purpose,
)
