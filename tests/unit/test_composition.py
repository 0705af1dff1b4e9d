"""Everything is put together in one place: typed, frozen, and found by its type alone."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.types import Scope

from router.app import create_app
from router.configuration.settings import load_settings
from router.http.errors import UnexpectedErrors
from router.http.services import find, given, provide
from router.intake import routes
from router.routes import ROUTES
from router.wiring import Services
from tests.fixtures import webhook
from tests.services import intake_services

ROOT = Path(__file__).parents[2]
FOLDERS = ("router", "scripts", "loopback", "benchmarks", "tests")
THE_ONE_PLACE = ROOT / "router/http/services.py"
# Its own server puts the connection there, for whoever is told to cut it.
CUTS_CONNECTIONS = ROOT / "loopback/faults.py"
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
MOST_LINES = 45  # of create_app: what a screen shows
_A_STATE = re.compile(r"(?<!\brouter)\.state\b|[\"']state[\"']|\bState\b")
_APPLICATIONS = ("app", "_app", "application", "_application")


def reads_of_state(source: str) -> list[int]:
    """The lines that reach for the state of an application or a request, by whatever way."""
    if _A_STATE.search(source) is None:
        return []
    nodes: Iterator[Any] = ast.walk(ast.parse(source))
    return sorted(node.lineno for node in nodes if _reads(node))


def _reads(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="state", value=of):
            return _is_application(of) or _is_named(of, ("request", "_request"))
        case ast.Call(func=ast.Name(id="getattr"), args=[of, ast.Constant(value="state"), *_]):
            return _is_application(of)
        case ast.Subscript(value=of, slice=ast.Constant(value="state")):
            return _is_named(of, ("scope", "_scope"))
        case ast.ImportFrom(module="starlette.datastructures", names=names):
            return any(name.name == "State" for name in names)
    return False


def _is_application(node: ast.AST) -> bool:
    is_in_scope = isinstance(node, ast.Subscript) and ast.unparse(node.slice) == "'app'"
    return is_in_scope or _is_named(node, _APPLICATIONS)


def _is_named(node: ast.AST, names: tuple[str, ...]) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
    return False


@pytest.mark.parametrize(
    "source",
    [
        "settings = request.app.state.settings",
        "app.state.rates = Rates()",
        "state = self._app.state",
        "tokens = scope['app'].state.user_tokens",
        "database = office.app.state.database",
        "rates = getattr(request.app, 'state').rates",
        "caller = request.state.caller",
        "caller = self._request.state.caller",
        "caller = scope['state']['caller']",
        "from starlette.datastructures import Headers, State",
    ],
)
def test_reading_the_state_is_found(source: str):
    assert reads_of_state(source) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "state = turn.state",
        "connections = server.state.connections",
        "states = app.states",
        "find(request.scope, Settings)",
        "from starlette.datastructures import Headers",
    ],
)
def test_other_states_are_left_alone(source: str):
    assert reads_of_state(source) == []


def test_nobody_reads_the_state_of_the_application_but_the_one_place():
    for path in FILES:
        if path in (THE_ONE_PLACE, CUTS_CONNECTIONS, Path(__file__)):
            continue
        lines = reads_of_state(path.read_text())
        assert lines == [], f"{path}:{lines}: take a part with Depends(given(…)), or `find` it"
    assert len(reads_of_state(THE_ONE_PLACE.read_text())) == 3  # what was there, put, found


def test_create_app_fits_on_a_screen():
    lines = inspect.getsource(create_app).splitlines()
    assert len(lines) <= MOST_LINES, "move a step of it into a function with a name"


def parts_of_services() -> Iterator[type]:
    for kind in get_type_hints(Services).values():
        yield next(each for each in get_args(kind) or (kind,) if each is not NoneType)


def nothing_untyped(kind: Any) -> bool:
    return kind is not Any and all(nothing_untyped(each) for each in get_args(kind))


def test_services_are_frozen_and_typed():
    kinds: list[Any] = [Services, *parts_of_services()]
    assert len(set(kinds)) == len(kinds)  # each is found by its type
    for kind in kinds:
        if hasattr(kind, "__dataclass_fields__"):
            assert kind.__dataclass_params__.frozen, kind
            assert all(nothing_untyped(each) for each in get_type_hints(kind).values()), kind


def test_every_part_of_the_services_is_given_out_but_what_is_not_used():
    names = [field.name for field in fields(Services)]
    made: Any = Services
    whole = made(**{name: f"the part {name}" for name in names})
    assert whole.parts == tuple(f"the part {name}" for name in names)
    without = made(**{name: None if name == "flows" else name for name in names})
    assert None not in without.parts
    assert len(without.parts) == len(names) - 1
    with pytest.raises(FrozenInstanceError):
        whole.api = None


# --- found by its type


@dataclass(frozen=True)
class Tea:
    sort: str


@dataclass(frozen=True)
class Cake:
    sort: str


def scope_of(app: FastAPI) -> Scope:
    return {"type": "http", "app": app}


def test_each_room_finds_its_own_part_and_a_newer_one_takes_its_place():
    app = FastAPI()
    provide(app, Tea("mate"), Cake("fubá"))
    provide(app, Tea("preto"))
    assert find(scope_of(app), Tea) == Tea("preto")
    assert find(scope_of(app), Cake) == Cake("fubá")


def test_applications_share_nothing():
    one, other = FastAPI(), FastAPI()
    provide(one, Tea("mate"))
    provide(other, Cake("fubá"))
    with pytest.raises(RuntimeError, match="no Tea"):
        find(scope_of(other), Tea)


def test_what_is_not_there_is_named_with_the_cure():
    started = FastAPI()
    provide(started, Cake("fubá"))
    for app in (FastAPI(), started):
        with pytest.raises(RuntimeError, match=r"no Tea: start it \(its lifespan\)"):
            find(scope_of(app), Tea)


async def test_an_endpoint_takes_its_part_by_depends():
    app = FastAPI()
    provide(app, Tea("mate"))

    @app.get("/tea")
    async def tea(tea: Tea = Depends(given(Tea))) -> str:  # noqa: B008
        return tea.sort

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://router"
    ) as http:
        assert (await http.get("/tea")).json() == "mate"


async def test_before_its_start_a_router_answers_what_needs_nothing_and_says_no_more():
    settings = load_settings({"ANTHROPIC_API_KEY": "x"}, env_file=None)
    app = create_app(settings)
    assert any(each.cls is UnexpectedErrors for each in app.user_middleware)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://router"
    ) as http:
        assert (await http.get("/health/live")).status_code == 200
        for path in ("/health", "/api/tenants"):
            answer = await http.get(path)
            assert answer.status_code == 500
            assert "Services" not in answer.text
        assert (await http.post("/webhook/shop")).status_code == 500


# --- the way of every message


async def test_a_webhook_gets_its_services_once_and_nothing_is_solved_for_it(
    monkeypatch: pytest.MonkeyPatch,
):
    class Database:
        async def call(self, function: str, argument: Mapping[str, Any]) -> dict[str, Any]:
            if function == "webhook_guards":
                return {"now": "2026-11-26", "next": None, "guards": []}
            decision = {"outcome": "recorded", "decision": "turn_pending", "session_id": 1}
            return {"decisions": [decision for _ in argument["events"]]}

    async def solve(**_: object) -> None:
        raise AssertionError("a signature was read for a webhook")

    found: list[type] = []

    def finding(scope: Scope, kind: type[Any]) -> Any:
        found.append(kind)
        return find(scope, kind)

    monkeypatch.setattr("fastapi.routing.solve_dependencies", solve)
    monkeypatch.setattr(routes, "find", finding)
    secret = "webhook-secret-0000000000004"
    settings = load_settings(
        {"EVOLUTION_WEBHOOK_SHARED_SECRET": secret, "ANTHROPIC_API_KEY": "x"}, env_file=None
    )
    app = FastAPI()
    services = intake_services(settings, Database())
    provide(app, services)
    app.router.routes.extend(ROUTES)  # as the whole router has them
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://router",
        headers={"X-Webhook-Secret": secret},
    ) as http:
        body = webhook("messages_upsert__text") | {"instance": "padaria"}
        for path in ("padaria", "padaria/", "padaria/messages-upsert", "padaria//x"):
            assert (await http.post(f"/webhook/{path}", json=body)).status_code == 200
    assert found == [type(services)] * 4


def test_the_services_of_a_webhook_are_no_part_of_the_reference():
    app = FastAPI()
    app.router.routes.extend(routes.router.routes)
    for operations in app.openapi()["paths"].values():
        (operation,) = operations.values()
        assert {each["name"] for each in operation["parameters"]} <= {"instance_name", "event"}
        assert "requestBody" not in operation
