"""The nodes that the installed n8n has, with their versions."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.n8n.installation import N8N_VERSION, Installation, wanted_version

COMMUNITY = "community_nodes.txt"
_PACKAGES = ("n8n-nodes-base", "@n8n/n8n-nodes-langchain")
# n8n itself leaves these out: nodes that access its machine, and nodes for tests.
_NOT_LOADED = frozenset({"executeCommand", "localFileTrigger", "e2eTest", "dynamicCredentialCheck"})
_KNOWN_TO_THE_EDITOR = {"n8n-nodes-base.stickyNote": frozenset({1.0})}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The versions of each node type; the nodes of community packages (None: they are not known).

    Community packages are installed in this n8n, or the workflows' folder names them as needed.
    `n8n` is the version that has these nodes.
    """

    types: Mapping[str, frozenset[float]]
    community: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    n8n: str = N8N_VERSION

    def knows(self, kind: str) -> bool:
        """Whether there is a node of this type."""
        return kind in self.types

    def has(self, kind: str, version: float) -> bool:
        """Whether there is a node of this type in this version."""
        return version in self.types.get(kind, frozenset())

    def is_community(self, kind: str) -> bool:
        """Whether this type would belong to a community package."""
        return package_of(kind) not in _PACKAGES

    def has_community(self, kind: str) -> bool:
        """Whether the package is installed or named, and has this node as far as is known."""
        package = package_of(kind)
        if package not in self.community:
            return False
        nodes = self.community[package]
        name = kind.rpartition(".")[2].lower()
        return nodes is None or name in nodes or name.removesuffix("tool") in nodes


def package_of(kind: str) -> str:
    """Return the npm package in the name of a node's type."""
    return kind.rpartition(".")[0]


def installed_community(user_folder: Path) -> dict[str, frozenset[str] | None]:
    """Return the community packages, with their nodes, of the n8n in this folder."""
    modules = user_folder / ".n8n" / "nodes" / "node_modules"
    files = [*modules.glob("*/package.json"), *modules.glob("@*/*/package.json")]
    found = {str(said["name"]): said for said in map(_package, files) if "n8n" in said}
    return {
        name: frozenset(Path(node).name.partition(".")[0].lower() for node in _nodes(said))
        for name, said in found.items()
    }


def named_community(folder: Path) -> dict[str, frozenset[str] | None]:
    """Return the community packages that the workflows of a folder need, as the folder says."""
    try:
        text = (folder / COMMUNITY).read_text()
    except FileNotFoundError:
        return {}
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {line.rpartition("@")[0] or line: None for line in lines if line}


def _package(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) and "name" in said else {}


def _nodes(package: Mapping[str, Any]) -> list[str]:
    own = package["n8n"]
    nodes = own.get("nodes") if isinstance(own, dict) else None
    return [str(node) for node in nodes or ()]


def catalogue_of(installation: Installation) -> Catalogue:
    """Return the catalogue of an installation, from its packages: n8n need not run."""
    found: dict[str, set[float]] = {}
    for package in _PACKAGES:
        file = installation.folder / "node_modules" / package / "dist" / "types" / "nodes.json"
        for kind, versions in _described(package, json.loads(file.read_text())):
            found.setdefault(kind, set()).update(versions)
    types = _KNOWN_TO_THE_EDITOR | {kind: frozenset(v) for kind, v in found.items()}
    return Catalogue(types, n8n=wanted_version())


def _described(
    package: str, descriptions: Iterable[Mapping[str, Any]]
) -> Iterable[tuple[str, set[float]]]:
    for node in descriptions:
        if node["name"] in _NOT_LOADED:
            continue
        given = node["version"]
        versions = {float(one) for one in (given if isinstance(given, list) else [given])}
        yield f"{package}.{node['name']}", versions
        if node.get("usableAsTool"):  # n8n also offers the node as a tool
            yield f"{package}.{node['name']}Tool", versions
        if _can_wait_for_an_answer(node):  # this one also asks a human before a tool is used
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
