"""Checks workflows without starting n8n."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.n8n.canonical import (
    DEFAULT_ROUTER_URL,
    ROUTER_ADDRESS,
    find_secrets,
    is_router_address,
)
from scripts.n8n.catalogue import COMMUNITY, Catalogue, named_community, package_of
from scripts.n8n.credentials import EXAMPLE, read_example
from scripts.n8n.faults import CheckedWorkflow, Fault, Rule
from scripts.n8n.flow_rules import FLOW_RULES
from scripts.n8n.graph import Graph, kind_of
from scripts.n8n.installation import OLDEST_TRIED, release
from scripts.n8n.json_rules import JSON_RULES
from scripts.n8n.llm_addresses import is_told_where
from scripts.n8n.shape import shape_fault

_ENVIRONMENT = re.compile(r"\$env\b|\$vars\b|\bprocess\.env\b")
_ERROR_WORKFLOW = "hybridflowError"


def check_folder(folder: Path, catalogue: Catalogue) -> tuple[Fault, ...]:
    """Return the faults of all workflows in a folder."""
    community = {**named_community(folder), **catalogue.community}
    catalogue = replace(catalogue, community=community)
    credentials = frozenset(each["id"] for each in read_example(folder))
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
    """Return the faults of one workflow; none: n8n and the router can use it."""
    shape = shape_fault(content)
    if shape:
        return (Fault(file, None, shape),)
    workflow = CheckedWorkflow(file, content, Graph.of(content), catalogue, credentials)
    return tuple(fault for rule in _RULES for fault in rule(workflow))


def _nodes_are_known(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        kind, version = str(node["type"]), float(node["typeVersion"])
        n8n = f"n8n {workflow.catalogue.n8n}"
        if workflow.catalogue.has_community(kind):
            continue
        if package_of(kind) in workflow.catalogue.community:
            yield workflow.fault(node["name"], f"{package_of(kind)} has no such node: {kind}.")
        elif workflow.catalogue.is_community(kind) and package_of(kind):
            yield workflow.fault(
                node["name"],
                f"it is of the community package {package_of(kind)}, which n8n does not have by"
                f" itself. Install it (Settings, Community nodes), or name it in {COMMUNITY}.",
            )
        elif not workflow.catalogue.knows(kind):
            yield workflow.fault(
                node["name"], f"{n8n} has no node {kind}. Is its name right?{_newer(workflow)}"
            )
        elif not workflow.catalogue.has(kind, version):
            yield workflow.fault(
                node["name"],
                f"{n8n} has no version {version:g} of {kind}. Export it from this n8n."
                + _newer(workflow),
            )


def _newer(workflow: CheckedWorkflow) -> str:
    """Return a sentence that names the oldest n8n that was tried, if this n8n is older."""
    if release(workflow.catalogue.n8n) >= release(OLDEST_TRIED):
        return ""
    return f" Or use a newer n8n: {OLDEST_TRIED} is the oldest that was tried."


def _credentials_are_named(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        for kind, named in (node.get("credentials") or {}).items():
            if not isinstance(named, dict) or set(named) != {"id", "name"}:
                text = f"the credential {kind} must be given by id and name alone. Export it again."
                yield workflow.fault(node["name"], text)
            elif named["id"] not in workflow.credentials:
                yield workflow.fault(
                    node["name"],
                    f"the credential {named['id']} is not in {EXAMPLE}: import could not make it."
                    " Name it there.",
                )


def _no_secrets(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for place in find_secrets(workflow.content):
        yield workflow.fault(None, f"{place}.")


def _no_environment(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        if kind_of(node) != "stickyNote" and _ENVIRONMENT.search(json.dumps(node["parameters"])):
            yield workflow.fault(
                node["name"],
                "it reads the environment, which n8n does not allow."
                " Take it from the payload, or from a credential.",
            )


def _is_explained(workflow: CheckedWorkflow) -> Iterator[Fault]:
    if not workflow.graph.of_kind("stickyNote"):
        yield workflow.fault(None, "no sticky note explains it. Add one.")


def _crash_is_heard(workflow: CheckedWorkflow) -> Iterator[Fault]:
    if workflow.graph.of_kind("errorTrigger"):
        return
    if (workflow.content.get("settings") or {}).get("errorWorkflow") != _ERROR_WORKFLOW:
        yield workflow.fault(
            None, f"a crash in it is not reported. Set its error workflow to {_ERROR_WORKFLOW}."
        )


def _address_can_be_set(workflow: CheckedWorkflow) -> Iterator[Fault]:
    """The router's URL differs in each deployment, so import needs one place to write it to."""
    cure = f'Read router_url from a Set node named "{ROUTER_ADDRESS}".'
    has_place = any(is_router_address(node) for node in workflow.content["nodes"])
    for node in workflow.content["nodes"]:
        url = str(node["parameters"].get("url", ""))
        if DEFAULT_ROUTER_URL in url:
            yield workflow.fault(node["name"], f"the router has that address only here. {cure}")
        elif "router_url" in url and not has_place:
            yield workflow.fault(node["name"], f"nothing sets router_url. {cure}")


def _keys_go_where_the_deployment_says(workflow: CheckedWorkflow) -> Iterator[Fault]:
    for node in workflow.content["nodes"]:
        if (provider := is_told_where(node)) is not None:
            yield workflow.fault(
                node["name"],
                "it sends an LLM's key to an address that comes from its data."
                f" Write {provider.own_url} there: import puts {provider.variable} in its place.",
            )


_RULES: tuple[Rule, ...] = (
    _nodes_are_known,
    _credentials_are_named,
    _no_secrets,
    _no_environment,
    _is_explained,
    _crash_is_heard,
    _address_can_be_set,
    _keys_go_where_the_deployment_says,
    *FLOW_RULES,
    *JSON_RULES,
)
