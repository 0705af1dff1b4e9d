"""The form in which a workflow lies in git: a diff shows what a builder changed, and no more."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

ROUTER_ADDRESS = "Router address"
DEFAULT_ROUTER_URL = "http://localhost:8000"
EXAMPLE_TOKEN = "00000000-0000-4000-8000-000000000000"  # noqa: S105 - it opens nothing

Workflow = Mapping[str, Any]

_FILES = {
    "hybridflowInbound": "inbound.json",
    "hybridflowError": "error.json",
    "hybridflowAutoResume": "auto_resume.json",
    "hybridflowHandoff": "handoff_notify.json",
    "hybridflowConnection": "connection_alert.json",
    "hybridflowAgent": "agent_example.json",
}
# What a workflow is. Everything else that n8n exports says when and by whom it was saved.
_KEPT = ("id", "name", "description", "settings", "nodes", "connections", "pinData", "nodeGroups")
_KEPT_IF_ANY = frozenset({"description", "nodeGroups", "pinData"})
_SECRET_NAMES = re.compile(r"(?i)^(authorization|apikey|api[-_]key|x-.*(key|secret|token)|cookie)$")
_SECRET_VALUES = re.compile(
    r"\bsk-[\w-]{16,}|\bsb_secret_\w+|\bBearer\s+[\w.~+/-]{16,}|\beyJ[\w-]{10,}\.[\w-]{10,}\."
    r"|\bhf[tn]_\d+_(?!0{8}-)[0-9a-f]{8}-"
)


class SecretInWorkflow(Exception):
    """A workflow holds what should be a credential; the text names the node and the parameter."""


def canonical(workflow: Workflow) -> dict[str, Any]:
    """Return the workflow without what changes by itself. Raises SecretInWorkflow."""
    secrets = tuple(find_secrets(workflow))
    if secrets:
        raise SecretInWorkflow(
            f"{workflow['name']}: {'; '.join(secrets)}. Use a credential, and nothing is written."
        )
    kept = {name: workflow[name] for name in _KEPT if name in workflow}
    kept["nodes"] = [_node(node) for node in sorted(workflow["nodes"], key=lambda n: str(n["id"]))]
    kept["pinData"] = _examples(workflow)
    addressed = with_router_url(kept, DEFAULT_ROUTER_URL)
    full = {name: v for name, v in addressed.items() if v or name not in _KEPT_IF_ANY}
    return {name: _as_in_javascript(v) for name, v in full.items()}


def to_text(workflow: Workflow) -> str:
    """Return the text of the file."""
    return json.dumps(workflow, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def file_name(workflow: Workflow) -> str:
    """Return the file of a workflow: one of the project's, or one made of the workflow's name."""
    if known := _FILES.get(workflow["id"]):
        return known
    made = re.sub(r"[^a-z0-9]+", "_", str(workflow["name"]).lower()).strip("_")
    return f"{made or 'workflow'}_{workflow['id']}.json"


def with_router_url(workflow: Workflow, url: str) -> dict[str, Any]:
    """Return the workflow with the router's address in its nodes "Router address".

    For workflows that no payload brings it; in the files it is the default.
    """
    return {**workflow, "nodes": [_addressed(node, url) for node in workflow["nodes"]]}


def find_secrets(workflow: Workflow) -> Iterator[str]:
    """Yield where a secret stands, never the secret."""
    for node in workflow["nodes"]:
        for path, name, value in _texts(node.get("parameters", {}), ""):
            literal = not value.startswith("=") and value != ""
            if (literal and _SECRET_NAMES.match(name)) or _SECRET_VALUES.search(value):
                yield f'the node "{node["name"]}" has a secret in {path}'
    for node_name, items in _examples(workflow).items():
        for path, _, value in _texts(items, ""):
            if _SECRET_VALUES.search(value):
                yield f'the pinned example of "{node_name}" has a secret in {path}'


def is_trigger(node: Mapping[str, Any]) -> bool:
    """Whether a flow begins with this node."""
    kind = str(node["type"]).rsplit(".", 1)[-1]
    return kind == "webhook" or kind.endswith("Trigger")


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
        name: [_without_headers(item) for item in items]
        for name, items in pinned.items()
        if name in triggers
    }


def _without_headers(item: Mapping[str, Any]) -> dict[str, Any]:
    """The headers of a real call carry the key that it was let in by."""
    kept = {name: value for name, value in item.items() if name == "json"}
    if "headers" in kept.get("json", {}):
        kept["json"] = {**kept["json"], "headers": {}}
    return kept


def _addressed(node: Mapping[str, Any], url: str) -> dict[str, Any]:
    if node["name"] != ROUTER_ADDRESS:
        return dict(node)
    assignments = [
        {**one, "value": url} if one["name"] == "router_url" else one
        for one in node["parameters"]["assignments"]["assignments"]
    ]
    parameters = {**node["parameters"], "assignments": {"assignments": assignments}}
    return {**node, "parameters": parameters}


def _as_in_javascript(value: Any) -> Any:
    """There, 60.0 is 60."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _as_in_javascript(inner) for name, inner in value.items()}
        case list():
            return [_as_in_javascript(inner) for inner in value]
        case _:
            return value


def _texts(value: Any, path: str, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (path, name, text) of every text; the name of a name-value pair is its own."""
    match value:
        case {"name": str() as own, "value": str() as text, **rest}:
            yield f"{path}.value".lstrip("."), own, text
            yield from _texts(rest, path)
        case Mapping():
            for key, inner in value.items():
                yield from _texts(inner, f"{path}.{key}", key)
        case list():
            for number, inner in enumerate(value):
                yield from _texts(inner, f"{path}[{number}]", name)
        case str():
            yield path.lstrip("."), name, value
