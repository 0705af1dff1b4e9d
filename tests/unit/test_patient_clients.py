"""Tests wait for busy machines: none asks with httpx's own five seconds, or with few of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.for_each import for_each

TESTS = Path(__file__).parents[1]
_METHODS = {"get", "post", "put", "patch", "delete", "request", "stream"}
_ASKING = {"AsyncClient", "Client"} | _METHODS
_FEW_SECONDS = {str(seconds) for seconds in range(30)}


@for_each("path", [path for path in sorted(TESTS.rglob("*.py")) if "httpx." in path.read_text()])
def test_no_test_gives_up_before_a_busy_machine_answers(path: Path):
    hasty = [call.lineno for call in _calls_of_httpx(path) if _is_hasty(call)]
    assert not hasty, f"{path.name}, lines {hasty}: ask with `tests.clients.patient()`"


def _calls_of_httpx(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("httpx"), attr=name)):
                if name in _ASKING:
                    yield node


def _is_hasty(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "transport" in given:  # nothing is waited for but the test's own code
        return False
    within = given.get("timeout")
    return within is None or ast.unparse(within) in _FEW_SECONDS
