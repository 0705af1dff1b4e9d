"""Which nodes the installed n8n knows, and in which versions."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.n8n.installation import Installation

_PACKAGES = ("n8n-nodes-base", "@n8n/n8n-nodes-langchain")
# It leaves these out itself: what reaches into its own machine, and what tests it.
_NOT_LOADED = frozenset({"executeCommand", "localFileTrigger", "e2eTest", "dynamicCredentialCheck"})
_KNOWN_TO_THE_EDITOR = {"n8n-nodes-base.stickyNote": frozenset({1.0})}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The versions of every node type."""

    types: Mapping[str, frozenset[float]]

    def knows(self, kind: str) -> bool:
        """Whether there is such a node."""
        return kind in self.types

    def has(self, kind: str, version: float) -> bool:
        """Whether there is such a node in this version."""
        return version in self.types.get(kind, frozenset())


def catalogue_of(installation: Installation) -> Catalogue:
    """Return what lies in the packages of an installation: n8n need not run."""
    found: dict[str, set[float]] = {}
    for package in _PACKAGES:
        file = installation.folder / "node_modules" / package / "dist" / "types" / "nodes.json"
        for kind, versions in _described(package, json.loads(file.read_text())):
            found.setdefault(kind, set()).update(versions)
    return Catalogue(_KNOWN_TO_THE_EDITOR | {kind: frozenset(v) for kind, v in found.items()})


def _described(
    package: str, descriptions: Iterable[Mapping[str, Any]]
) -> Iterable[tuple[str, set[float]]]:
    for node in descriptions:
        if node["name"] in _NOT_LOADED:
            continue
        given = node["version"]
        versions = {float(one) for one in (given if isinstance(given, list) else [given])}
        yield f"{package}.{node['name']}", versions
        if node.get("usableAsTool"):  # n8n makes a tool of it by itself
            yield f"{package}.{node['name']}Tool", versions
        if _can_wait_for_an_answer(node):  # and this one asks a human before a tool is used
            yield f"{package}.{node['name']}HitlTool", versions


def _can_wait_for_an_answer(node: Mapping[str, Any]) -> bool:
    if node["name"].endswith("Tool") or not node.get("webhooks"):
        return False
    return any(
        option.get("value") == "sendAndWait"
        for one in node["properties"]
        if one["name"] == "operation"
        for option in one.get("options") or ()
    )
