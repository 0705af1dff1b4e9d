"""A workflow as a graph of nodes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

Node = Mapping[str, Any]
_FRAGILE = frozenset(
    {"httpRequest", "chainLlm", "agent", "code", "anthropic", "openAi", "executeWorkflow"}
)


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes by name, and for each node the names behind its main outputs, in order."""

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
        """Return the nodes of a type; its name is given without the package."""
        return [node for node in self.nodes.values() if kind_of(node) == kind]

    def steps(self) -> Iterator[Node]:
        """Yield the nodes that a flow passes through, without notes, models and tools."""
        passed = {name for groups in self.outputs.values() for group in groups for name in group}
        begins = {name for name, groups in self.outputs.items() if any(groups)}
        yield from (node for name, node in self.nodes.items() if name in passed | begins)

    def after(self, name: str) -> set[str]:
        """Return the names of all nodes that a node leads to, directly or through others."""
        return self._reached(n for group in self.outputs.get(name, []) for n in group)

    def next_to(self, name: str) -> list[str]:
        """Return the names of the nodes directly behind a node."""
        return [n for group in self.outputs.get(name, []) for n in group]

    def after_failure(self, name: str) -> set[str]:
        """Return the names of all nodes that a node's error output, its last one, leads to."""
        groups = self.outputs.get(name, [])
        return self._reached(groups[-1] if len(groups) > 1 else ())

    def loose_outputs(self, node: Node) -> list[int]:
        """Return the outputs that lead nowhere, counted from 0, without error outputs."""
        groups = self.outputs.get(node["name"], [])
        return [n for n in range(_outputs_of(node)) if n >= len(groups) or not groups[n]]

    def _reached(self, first: Iterator[str] | Sequence[str]) -> set[str]:
        seen: set[str] = set()
        waiting = list(first)
        while waiting:
            here = waiting.pop()
            if here not in seen:
                seen.add(here)
                waiting += [n for group in self.outputs.get(here, []) for n in group]
        return seen


def kind_of(node: Node) -> str:
    """Return the type of a node without its package."""
    return str(node["type"]).rsplit(".", 1)[-1]


def posts_to(node: Node, *callbacks: str) -> bool:
    """Whether a node calls one of the payload's `urls`; a disabled node does not."""
    if node.get("disabled"):
        return False
    url = str(node.get("parameters", {}).get("url", ""))
    return any(begins_with(url, callback) for callback in callbacks)


def begins_with(url: str, name: str) -> bool:
    """Whether a URL begins with the payload's `urls.<name>`, not with an address of its own."""
    return re.match(rf"=\s*\{{\{{[^}}]*\burls\W{{1,4}}{name}\b", url) is not None


_DONE = re.compile(r"\bdone\b\W{1,4}(?:true\b|\{)")


def sends_the_last(node: Node) -> bool:
    """Whether a send through the gateway also reports `done`."""
    given = node.get("parameters", {})
    is_send = not node.get("disabled") and begins_with(str(given.get("url", "")), "gateway")
    return is_send and _DONE.search(str(given.get("jsonBody", ""))) is not None


_OUR_ADDRESSES = re.compile(r"\burls\W|\bllm_url\b|\brouter_url\b|\bnotify\W{1,4}url\b")


def is_call(node: Node) -> bool:
    """Whether a node makes an HTTP request, as a node or as a tool."""
    return not node.get("disabled") and kind_of(node) in ("httpRequest", "httpRequestTool")


def is_made_up(url: str) -> bool:
    """Whether a URL begins with an expression that is not the payload's or the router's URL."""
    begins = re.match(r"=\s*(\{\{.*?\}\})", url, re.DOTALL)
    return begins is not None and not _OUR_ADDRESSES.search(begins[1])


def never_fails(node: Node) -> bool:
    """Whether a node accepts an HTTP error as an answer."""
    options = node["parameters"].get("options") or {}
    response = (options.get("response") or {}).get("response") or {}
    return is_call(node) and response.get("neverError") is True


def can_fail(node: Node) -> bool:
    """Whether a node calls another service, which may fail; a credential shows that, too."""
    if node.get("disabled"):
        return False
    return kind_of(node) in _FRAGILE or bool(node.get("credentials"))


def _outputs_of(node: Node) -> int:
    given = node["parameters"]
    if kind_of(node) == "stopAndError":
        return 0
    if kind_of(node) == "if":
        return 2
    if kind_of(node) != "switch":
        return 1
    if given.get("mode") == "expression":
        return int(given.get("numberOutputs", 4))
    rules = (given.get("rules") or {}).get("values", [])
    extra = (given.get("options") or {}).get("fallbackOutput") == "extra"
    return len(rules) + (1 if extra else 0)
