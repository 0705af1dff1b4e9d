"""The input and the results of checks of workflows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.n8n.catalogue import Catalogue
from scripts.n8n.graph import Graph


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, where, and the fix."""

    file: str
    node: str | None
    text: str

    def __str__(self) -> str:
        where = f'{self.file}: node "{self.node}"' if self.node else self.file
        return f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class CheckedWorkflow:
    """A well-formed workflow, and what it is checked against: existing nodes and credentials."""

    file: str
    content: Mapping[str, Any]
    graph: Graph
    catalogue: Catalogue
    credentials: frozenset[str]

    def fault(self, node: str | None, text: str) -> Fault:
        """Return a fault of this workflow."""
        return Fault(self.file, node, text)


Rule = Callable[[CheckedWorkflow], Iterator[Fault]]
