"""The rooms of `router/`: each knows only those below it. Their order stands here, once."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.for_each import for_each

ROOT = Path(__file__).parents[2]
ROUTER = ROOT / "router"
# From the lowest floor up. A name without a folder is a module of router/ itself.
ORDER = (
    "errors",
    "whatsapp",
    "configuration",
    "logs",
    "running",
    "sharing",
    "outbound",
    "evolution",
    "llm",
    "speech",
    "embedded",
    "state",
    "tenants",
    "people",
    "http",
    "gate",
    "safety",
    "kept",
    "senses",
    "replies",
    "sending",
    "intake/readers",
    "intake",
    "turns",
    "notices",
    "upkeep",
    "stories",
    "relays",
    "n8n",
    "feed",
    "api",
    "console",
    "routes",
    "workers",
    "wiring",
    "app",
    "main",
    "serving",
)
FILES = sorted(ROUTER.rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))


def module_of(path: Path) -> str:
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}


def room_of(module: str) -> str:
    """The innermost room that a module is in; the package itself has the errors' floor."""
    package, *parts = module.split(".")
    if package != "router":
        return package
    for end in range(len(parts), 0, -1):
        if (room := "/".join(parts[:end])) in ORDER:
            return room
    return "errors" if not parts else "/".join(parts)


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """What a file imports and which texts stand in it: it is read once for all tests."""
    looked_for = (ast.Import, ast.ImportFrom, ast.Constant)
    nodes = ast.walk(ast.parse(path.read_text()))
    return tuple(node for node in nodes if isinstance(node, looked_for))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """The modules of the project that a file imports, wherever in it, and in which line."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by dots: write the whole name"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield (whole if whole in MODULES else node.module or ""), node.lineno


def names_imported_from(module: str, path: Path) -> Iterator[tuple[str, int]]:
    """What a file imports from a module; the module's own name, where it imports all of it."""
    parent, _, own = module.rpartition(".")
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from ((own, node.lineno) for name in node.names if name.name == module)
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == parent:
            yield from ((own, node.lineno) for name in node.names if name.name == own)


def of_the_project(path: Path) -> Iterator[tuple[str, int]]:
    for module, line in imported(path):
        if module.split(".")[0] in ("router", "scripts", "loopback", "benchmarks", "tests"):
            yield module, line


def test_the_order_names_every_room_and_no_other():
    folders = {room_of(module_of(path)) for path in FILES if path.parent != ROUTER}
    loose = {path.stem for path in FILES if path.parent == ROUTER} - {"__init__"}
    assert folders | loose == set(ORDER)


@for_each("path", FILES, ids=module_of)
def test_a_room_imports_only_rooms_below_it(path: Path):
    here = room_of(module_of(path))
    for module, line in of_the_project(path):
        assert module.startswith("router"), f"{path}:{line}: router/ knows nothing of {module}"
        there = room_of(module)
        assert ORDER.index(there) <= ORDER.index(here), (
            f"{path}:{line}: {here} is below {there}, which it imports ({module}); move what it"
            " needs down, or have it handed in"
        )


def test_the_words_of_whatsapp_need_nothing_of_the_project_but_its_errors():
    for path in (ROUTER / "whatsapp").rglob("*.py"):
        for module, line in of_the_project(path):
            assert room_of(module) in ("whatsapp", "errors"), f"{path}:{line}: {module}"


def test_only_sending_calls_evolutions_message_endpoints():
    """Who puts everything together makes the client and calls nothing of it."""
    for path in (*FILES, *SCRIPTS):
        if room_of(module_of(path)) in ("evolution", "sending", "workers"):
            continue
        for module, line in of_the_project(path):
            assert module != "router.evolution.sends", f"{path}:{line}: send by Outbox.send"


ENDPOINTS = ("message/", "chat/sendPresence", "chat/markMessageAsRead", "chat/updateMessage")
NAMED_ELSEWHERE = "router.n8n.whitelist"  # what flows may ask for


def test_nobody_else_names_them_to_call_them():
    for path in (*FILES, *SCRIPTS):
        if room_of(module_of(path)) in ("evolution", "sending"):
            continue
        if module_of(path) == NAMED_ELSEWHERE:
            continue
        for text, line in texts(path):
            assert not text.startswith(ENDPOINTS), f"{path}:{line}: {text}"


def test_only_the_ingester_calls_ingest_events():
    for path in (*FILES, *SCRIPTS):
        if module_of(path) == "router.intake.ingester":
            continue
        for name, line in names_imported_from("router.state.calls.intake", path):
            assert name == "Decision", f"{path}:{line}: bring it by the Ingester"


def texts(path: Path) -> Iterator[tuple[str, int]]:
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("router", "errors"),
        ("router.errors", "errors"),
        ("router.intake.readers.chats", "intake/readers"),
        ("router.intake.events", "intake"),
        ("router.intake", "intake"),
        ("router.state.calls.turns", "state"),
        ("scripts.running", "scripts"),
    ],
)
def test_a_module_is_in_its_innermost_room(module: str, room: str):
    assert room_of(module) == room
