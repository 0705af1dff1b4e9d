"""The canonical form of workflows in git: a diff shows only what a builder changed."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.n8n.llm_addresses import with_llm_addresses
from scripts.n8n.secret_texts import is_secret, looks_secret, texts

ROUTER_ADDRESS = "Router address"
DEFAULT_ROUTER_URL = "http://localhost:8000"

Workflow = Mapping[str, Any]

_OF_THE_ROUTER = "/n8n/"  # all paths in a payload's `urls` begin with this

_FILES = {
    "hybridflowInbound": "inbound.json",
    "hybridflowError": "error.json",
    "hybridflowAutoResume": "auto_resume.json",
    "hybridflowHandoff": "handoff_notify.json",
    "hybridflowConnection": "connection_alert.json",
    "hybridflowAgent": "agent_example.json",
    "hybridflowGateway": "gateway_example.json",
    "hybridflowMedia": "media_example.json",
    "hybridflowTools": "tools_example.json",
    "hybridflowBranch": "branch_example.json",
}
# The workflow itself. Everything else that n8n exports says when and by whom it was saved.
_KEPT = ("id", "name", "description", "settings", "nodes", "connections", "pinData", "nodeGroups")
_KEPT_IF_ANY = frozenset({"description", "nodeGroups", "pinData"})
# What the editor adds to a webhook's item when it is pinned: n8n's URL, and the mode of the run.
_OF_THE_CALL = frozenset({"webhookUrl", "executionMode"})


class SecretInWorkflow(Exception):
    """A workflow contains a secret, not a credential. The text names the node and the parameter."""


def canonical(workflow: Workflow) -> dict[str, Any]:
    """Return the workflow without the parts that n8n changes. Raises SecretInWorkflow.

    Nodes are sorted by id, so that a renamed node keeps its place in the diff.
    """
    secrets = tuple(find_secrets(workflow))
    if secrets:
        raise SecretInWorkflow(f"{workflow['name']}: {'; '.join(secrets)}. Nothing is written.")
    kept = {name: workflow[name] for name in _KEPT if name in workflow}
    kept["nodes"] = [_node(node) for node in sorted(workflow["nodes"], key=_place)]
    kept["pinData"] = _examples(workflow)
    addressed = with_llm_addresses(with_router_url(kept, DEFAULT_ROUTER_URL))
    full = {name: v for name, v in addressed.items() if v or name not in _KEPT_IF_ANY}
    return {name: _as_in_javascript(v) for name, v in full.items()}


def with_examples_of(workflow: Workflow, before: Workflow | None) -> Workflow:
    """Return the workflow with those pinned examples of its file that n8n no longer has.

    To try a flow in the editor, people unpin its webhook, and n8n saves that automatically.
    """
    pinned = workflow.get("pinData") or {}
    names = {node["name"] for node in workflow["nodes"]} - pinned.keys()
    kept = {name: v for name, v in ((before or {}).get("pinData") or {}).items() if name in names}
    return {**workflow, "pinData": {**pinned, **kept}} if kept else workflow


def to_text(workflow: Workflow) -> str:
    """Return the text of the file."""
    return json.dumps(workflow, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def file_name(workflow: Workflow) -> str:
    """Return the file name of a workflow: a known one, or one made from the workflow's name."""
    if known := _FILES.get(workflow["id"]):
        return known
    made = re.sub(r"[^a-z0-9]+", "_", str(workflow["name"]).lower()).strip("_")
    id_ = re.sub(r"[^A-Za-z0-9_-]+", "_", str(workflow["id"]))
    return f"{made or 'workflow'}_{id_}.json"


def with_router_url(workflow: Workflow, url: str) -> dict[str, Any]:
    """Return the workflow with the router's URL in its nodes "Router address" and its examples.

    This is for workflows whose payload does not contain the URL. The files have the default URL.
    """
    nodes = [_addressed(node, url) for node in workflow["nodes"]]
    pinned = workflow.get("pinData")
    if not pinned:
        return {**workflow, "nodes": nodes}
    examples = {name: [_example_at(item, url) for item in items] for name, items in pinned.items()}
    return {**workflow, "nodes": nodes, "pinData": examples}


def is_router_address(node: Mapping[str, Any]) -> bool:
    """Whether `with_router_url` puts the URL into this node."""
    return node["name"] == ROUTER_ADDRESS and any(
        one.get("name") == "router_url" for one in _assignments(node)
    )


def find_secrets(workflow: Workflow) -> Iterator[str]:
    """Yield where a secret is and what to do about it, never the secret itself."""
    for node in workflow["nodes"]:
        written = {"notes": node.get("notes"), **node.get("parameters", {})}
        for path, name, value in texts(written):
            if is_secret(name, value):
                yield f'the node "{node["name"]}" has a secret in {path}: use a credential'
    for node_name, items in _examples(workflow).items():
        for path, _, value in texts(items):
            if looks_secret(value):
                yield (
                    f'the pinned example of "{node_name}" has a secret in {path}:'
                    " pin an example that is made up"
                )


def is_trigger(node: Mapping[str, Any]) -> bool:
    """Whether a flow begins with this node."""
    kind = str(node["type"]).rsplit(".", 1)[-1]
    return kind == "webhook" or kind.endswith("Trigger")


def _as_in_javascript(value: Any) -> Any:
    """Write 60.0 as 60, as JavaScript does."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _as_in_javascript(inner) for name, inner in value.items()}
        case list():
            return [_as_in_javascript(inner) for inner in value]
        case _:
            return value


def _place(node: Mapping[str, Any]) -> tuple[str, str]:
    return str(node.get("id")), str(node["name"])


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(node)
    if credentials := node.get("credentials"):
        kept["credentials"] = {
            kind: {"id": named.get("id"), "name": named.get("name")}
            for kind, named in credentials.items()
        }
    return kept


def _examples(workflow: Workflow) -> dict[str, Any]:
    triggers = {node["name"] for node in workflow["nodes"] if is_trigger(node)}
    pinned = workflow.get("pinData") or {}
    return {
        name: [_without_the_call(item) for item in items]
        for name, items in pinned.items()
        if name in triggers
    }


def _without_the_call(item: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what the call added: the headers of a real call contain its key."""
    content = item.get("json")
    if not isinstance(content, Mapping):
        return {}
    kept = {name: value for name, value in content.items() if name not in _OF_THE_CALL}
    return {"json": {**kept, "headers": {}} if "headers" in kept else kept}


def _example_at(item: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Return a pinned example whose `urls` lead to a router at this URL."""
    match item:
        case {"json": {"body": {"urls": dict() as urls} as body} as content}:
            led = {name: _led_to(url, value) for name, value in urls.items()}
            return {**item, "json": {**content, "body": {**body, "urls": led}}}
        case _:
            return dict(item)


def _led_to(url: str, value: Any) -> Any:
    before, found, path = str(value).partition(_OF_THE_ROUTER)
    return f"{url.rstrip('/')}{found}{path}" if found and "://" in before else value


def _assignments(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    match node.get("parameters"):
        case {"assignments": {"assignments": [*given]}} if node["type"] == "n8n-nodes-base.set":
            return given
    return []


def _addressed(node: Mapping[str, Any], url: str) -> dict[str, Any]:
    if not is_router_address(node):
        return dict(node)
    assignments = [
        {**one, "value": url} if one.get("name") == "router_url" else one
        for one in _assignments(node)
    ]
    given = node["parameters"]
    within = {**given["assignments"], "assignments": assignments}
    return {**node, "parameters": {**given, "assignments": within}}
