"""No count is read before an await and written after it: what others counted meanwhile is lost."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("router", "loopback", "benchmarks", "scripts", "tests")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))


def counts_over_an_await(source: str) -> list[int]:
    """The lines on which something is read, awaited for, and written: `x += await …` and kin."""
    if "await" not in source:
        return []
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt))
    return [node.lineno for node in nodes if _is_one(node)]


def _is_one(node: ast.AST) -> bool:
    if isinstance(node, ast.AugAssign):
        return _awaits(node.value) or _awaits(node.target)
    if isinstance(node, ast.Assign) and _awaits(node.value):
        read = {ast.unparse(part) for part in _outside_of_awaits(node.value)}
        return any(ast.unparse(target) in read for target in node.targets)
    return False


def _awaits(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Await) for part in ast.walk(node))


def _outside_of_awaits(node: ast.AST) -> Iterator[ast.AST]:
    """What is read beside what is awaited; an argument of the call is read for the call alone."""
    if isinstance(node, ast.Await):
        return
    yield node
    for part in ast.iter_child_nodes(node):
        yield from _outside_of_awaits(part)


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n    failed += await g() != 200",
        "async def f():\n    self.failed += 1 if await g() else 0",
        "async def f():\n    failed = failed + await g()",
        "async def f():\n    self.count = await g() + self.count",
        "async def f():\n    counts[await g()] += 1",
    ],
)
def test_a_count_over_an_await_is_seen(source: str):
    assert counts_over_an_await(source) == [2]


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n    status = await g()\n    counts[status] += 1",
        "async def f():\n    page = await g(page)",
        "rows += [1]",
    ],
)
def test_what_is_awaited_before_it_is_counted_is_none(source: str):
    assert counts_over_an_await(source) == []


def test_nothing_counts_over_an_await():
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in FILES
        for line in counts_over_an_await(file.read_text(encoding="utf-8"))
    ]
    assert found == []
