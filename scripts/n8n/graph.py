"""A workflow as nodes that lead to nodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

Node = Mapping[str, Any]
_CALLBACKS = (".urls.done", ".urls.fail")
_FRAGILE = ("httpRequest", "chainLlm", "agent", "code", "anthropic", "openAi", "executeWorkflow")


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by name, and for each the names behind its main outputs, in order."""

    nodes: Mapping[str, Node]
    outputs: Mapping[str, Sequence[Sequence[str]]]

    @classmethod
    def of(cls, workflow: Mapping[str, Any]) -> Self:
        """Read a workflow's nodes and main connections."""
        return cls(
            {node["name"]: node for node in workflow["nodes"]},
            {
                name: [[link["node"] for link in group or ()] for group in kinds.get("main", [])]
                for name, kinds in workflow["connections"].items()
            },
        )

    def of_kind(self, kind: str) -> list[Node]:
        """Return the nodes of a type, named without its package."""
        return [node for node in self.nodes.values() if self._kind(node) == kind]

    def steps(self) -> Iterator[Node]:
        """Yield the nodes that a flow passes through: no notes, no models or tools beside it."""
        passed = {name for groups in self.outputs.values() for group in groups for name in group}
        begins = {name for name, groups in self.outputs.items() if any(groups)}
        yield from (node for name, node in self.nodes.items() if name in passed | begins)

    def ends(self) -> Iterator[Node]:
        """Yield the nodes that nothing comes after."""
        yield from (node for node in self.steps() if not any(self.outputs.get(node["name"], [])))

    def leads_to_fail(self, name: str, *, output: str) -> bool:
        """Whether a way from a node's error output (its last) comes to urls.fail."""
        groups = self.outputs.get(name, [])
        first = groups[-1] if output == "error" and len(groups) > 1 else []
        seen: set[str] = set()
        waiting = list(first)
        while waiting:
            here = waiting.pop()
            if ".urls.fail" in self._url(self.nodes[here]):
                return True
            if here not in seen:
                seen.add(here)
                waiting += [n for group in self.outputs.get(here, []) for n in group]
        return False

    def is_callback(self, node: Node) -> bool:
        """Whether it ends the turn."""
        return any(callback in self._url(node) for callback in _CALLBACKS)

    def can_fail(self, node: Node) -> bool:
        """Whether it asks somebody else, who may not answer."""
        return self._kind(node) in _FRAGILE

    @staticmethod
    def _kind(node: Node) -> str:
        return str(node["type"]).rsplit(".", 1)[-1]

    @staticmethod
    def _url(node: Node) -> str:
        return str(node.get("parameters", {}).get("url", ""))
