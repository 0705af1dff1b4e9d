"""The doors to SQL are as the functions' headers say, and nobody goes around them."""

import ast
import importlib
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from router.errors import DatabaseFault
from router.state.calls import model
from router.state.calls.gaps import CaughtUp, caught_up
from router.state.calls.model import Answer, NotRead, Refusal
from router.state.calls.safety import RefuseReply, refuse_reply
from router.state.calls.sends import BeginSend, FailSend
from router.state.calls.turns import (
    ClaimTurns,
    HeldTurn,
    MadeReply,
    RenewTurns,
    claim_turns,
)
from router.state.database import Json
from tests.for_each import for_each
from tests.sql_headers import FOR_AUDIT, Header, Shape, headers
from tests.unit.test_rooms import FILES, SCRIPTS, module_of, texts

CALLS = Path(model.__file__).parent
TOPICS = sorted(path.stem for path in CALLS.glob("*.py") if path.stem not in ("__init__", "model"))
FOR_OTHERS = FOR_AUDIT | {"detail"}  # read by as_operator, and by routers of 0.1.0
FOR_FORMER_RELEASES = {"finish_notice_send", "fail_notice_send", "fail_execution"}
OF_THE_RELAYS = {"begin_human_send"}  # send_message and begin_relay_send call it
PROGRAMS = ("auto_resume", "prune")  # scripts of the same name
GIVEN_BY_PAGES = {"export_contact.contact"}  # its lists, by export_rows
PUT_THERE = frozenset({"caller"})  # by as_operator, whoever is asked
Door = Callable[..., Awaitable[Any]]


def doors() -> Iterator[tuple[str, Door]]:
    """All of them, by their name: the public coroutine functions of the topics."""
    for topic in TOPICS:
        module = importlib.import_module(f"router.state.calls.{topic}")
        for name, value in vars(module).items():
            if inspect.iscoroutinefunction(value) and value.__module__ == module.__name__:
                yield name, value


DOORS = dict(doors())
assert DOORS


def request_of(door: Door) -> type | None:
    hint = get_type_hints(door).get("asked")
    assert hint is None or isinstance(hint, type)
    return hint


def answers_of(door: Door) -> tuple[type, ...]:
    hint = get_type_hints(door)["return"]
    return get_args(hint) or (hint,)


def fields_of(kind: type) -> dict[str, bool]:
    """The fields of a model or dataclass, and whether each must be given."""
    if issubclass(kind, BaseModel):
        return {name: field.is_required() for name, field in kind.model_fields.items()}
    assert is_dataclass(kind)
    return {
        field.name: field.default is MISSING and field.default_factory is MISSING
        for field in fields(kind)
    }


def models_in(hint: object) -> Iterator[type]:
    """The models and dataclasses that a type is made of, as the items of a list."""
    if get_origin(hint) is Annotated:
        yield from models_in(get_args(hint)[0])
    elif args := get_args(hint):
        for arg in args:
            yield from models_in(arg)
    elif isinstance(hint, type) and hint is not NotRead and is_described(hint):
        yield hint


def is_described(kind: type) -> bool:
    return issubclass(kind, BaseModel) or is_dataclass(kind)


def nested(kind: type) -> Iterator[tuple[str, type]]:
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for inside in models_in(hint):
            yield name, inside


def header_of(name: str) -> Header:
    assert name in headers(), f"{name}: there is a door, but no such public function"
    return headers()[name]


@for_each("name", DOORS)
def test_a_door_takes_what_the_header_asks_for(name: str):
    asked, argument = request_of(DOORS[name]), header_of(name).argument
    if asked is None:
        assert not argument.keys, f"{name} takes {sorted(argument.keys)}"
        return
    require_request(name, asked, argument)


def require_request(name: str, asked: type, argument: Shape) -> None:
    ours = fields_of(asked)
    choices: frozenset[str] = frozenset().union(*argument.alternatives)
    for each in argument.alternatives:
        assert each & ours.keys(), f"{name}: one of {sorted(each)} is needed"
    missing = argument.keys - choices - PUT_THERE - ours.keys()
    assert not missing, f"{name}: {asked.__name__} has no {sorted(missing)}"
    unknown = ours.keys() - argument.keys
    assert argument.is_open or not unknown, f"{name}: it takes no {sorted(unknown)}"
    needed = {key for key, is_needed in ours.items() if is_needed}
    required = argument.required - (PUT_THERE - ours.keys())
    assert required <= needed <= required | choices, f"{name}: what {asked.__name__} needs"
    for key, inside in nested(asked):
        if key in argument.nested:
            require_request(f"{name}.{key}", inside, argument.nested[key])


@for_each("name", DOORS)
def test_a_door_answers_what_the_header_promises(name: str):
    models = answers_of(DOORS[name])
    for shape in header_of(name).answers:
        refused = "refused" in shape.keys
        fitting = [each for each in models if issubclass(each, Refusal) is refused]
        assert len(fitting) == 1, f"{name}: {sorted(shape.keys)} has no model, or several"
        require_answer(name, fitting[0], shape)


def require_answer(name: str, told: type, shape: Shape) -> None:
    ours = fields_of(told)
    if issubclass(told, Refusal):  # several fences have one
        assert shape.keys <= ours.keys(), f"{name}: {told.__name__}"
    else:
        if name in GIVEN_BY_PAGES:
            assert ours.keys() < shape.keys
            return
        wrong = sorted(ours.keys() ^ (shape.keys - FOR_OTHERS))
        assert not wrong, f"{name}: {told.__name__} and the header differ in {wrong}"
    needed = {key for key, is_needed in ours.items() if is_needed}
    assert needed <= shape.required, f"{name}: {told.__name__} needs what is not always there"
    for key, inside in nested(told):
        if key in shape.nested and shape.nested[key].keys:
            require_answer(f"{name}.{key}", inside, shape.nested[key])


def test_every_function_has_a_door_but_those_that_only_former_releases_or_functions_call():
    assert headers().keys() - DOORS.keys() == FOR_FORMER_RELEASES | OF_THE_RELAYS


@for_each("name", DOORS)
def test_a_door_is_called_as_its_function(name: str):
    """The name stands in the door once, and no other function's does."""
    source = ast.parse(inspect.getsource(DOORS[name]))
    body = source.body[0]
    assert isinstance(body, ast.AsyncFunctionDef)
    named = [
        node.value
        for node in ast.walk(source)
        if isinstance(node, ast.Constant) and node.value in headers()
    ]
    assert named == [name]


@for_each("path", [*FILES, *SCRIPTS], ids=module_of)
def test_nobody_else_names_a_function(path: Path):
    if path.parent == CALLS:
        return
    for text, line in texts(path):
        if text in PROGRAMS and path.stem == text:
            continue
        assert text not in headers(), f"{path}:{line}: go by the door {text}"


@for_each("path", [*FILES, *SCRIPTS], ids=module_of)
def test_only_doors_and_what_carries_their_calls_call_the_database(path: Path):
    """Who carries calls is a `Database` itself: it is called, and calls another."""
    source = path.read_text()
    if path.parent == CALLS or not re.search(r"\bcall\b", source):
        return  # what is called so is named so
    tree = ast.parse(source)
    carried = {
        inside
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "call"
        for inside in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in carried or not isinstance(node, ast.Call):
            continue
        is_call = isinstance(node.func, ast.Attribute) and node.func.attr == "call"
        assert not is_call, f"{path}:{node.lineno}: go by a door"


def test_the_doors_know_nothing_of_what_is_above_them():
    for path in CALLS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("router"):
                assert (node.module or "").startswith(
                    ("router.state", "router.errors", "router.configuration", "router.whatsapp")
                ), f"{path}:{node.lineno}: {node.module}"


class Told:
    """A state that answers as it is told, and writes down what it was asked."""

    def __init__(self, **answer: object) -> None:
        self.answer: Json = answer
        self.asked: list[tuple[str, Mapping[str, object]]] = []

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        self.asked.append((function, argument))
        return self.answer


CLAIM = ClaimTurns(limit=3, lease_seconds=60, max_attempts=5, history_limit=50, worker="w")


def test_an_optional_key_that_is_none_is_left_out_and_a_needed_one_is_not():
    class Asked(model.Asked):
        needed: list[int] | None
        optional: str | None = None
        zero: int | None = None

    assert Asked(needed=None, zero=0).written() == {"needed": None, "zero": 0}
    assert FailSend(tenant_id=1, message_id=2).written() == {"tenant_id": 1, "message_id": 2}
    assert "own" not in CLAIM.written()


def test_what_is_inside_a_request_is_written_as_json():
    held = HeldTurn(turn_id=1, token="t")
    asked = RenewTurns(turns=(held,), worker="w", lease_seconds=60)
    assert asked.written()["turns"] == [{"turn_id": 1, "token": "t"}]
    moment = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    written = CaughtUp(tenant_id=1, until=moment).written()
    assert written == {"tenant_id": 1, "until": "2026-01-01T12:00:00.123456+00:00"}


def test_a_text_that_cannot_be_stored_is_for_the_transport_to_refuse():
    reply = MadeReply(parts=("half \ud83d",), handler="fallback")
    asked = BeginSend(
        turn_id=1, token="t", part=0, body="half \ud83d", lease_seconds=1, reply=reply
    )
    assert asked.written()["body"] == "half \ud83d"
    assert asked.written()["reply"]["parts"] == ["half \ud83d"]


def test_a_request_takes_no_key_that_the_function_has_not():
    with pytest.raises(ValueError, match="Extra inputs"):
        FailSend(tenant_id=1, message_id=2, chosen="secret")  # type: ignore[call-arg]


async def test_an_answer_may_say_more_but_nothing_else():
    later = Told(caught_up_at="2026-01-01T12:00:00+00:00", also="of a later schema")
    asked = CaughtUp(tenant_id=1, until=datetime.now(UTC))
    assert (await caught_up(later, asked)).caught_up_at == datetime(2026, 1, 1, 12, tzinfo=UTC)
    with pytest.raises(DatabaseFault, match="caught_up: its answer is not as expected") as raised:
        await caught_up(Told(caught_up_at="what maria wrote"), asked)
    assert "maria" not in str(raised.value)
    assert raised.value.__cause__ is None
    with pytest.raises(DatabaseFault, match="caught_up_at: Field required"):
        await caught_up(Told(), asked)


async def test_a_refusal_has_its_reason_and_needs_nothing_else():
    asked = RefuseReply(turn_id=1, token="t", rule="leak", detail="")
    refused = await refuse_reply(Told(refused="stale"), asked)
    assert isinstance(refused, Refusal)
    assert refused.refused == "stale"


async def test_one_turn_that_cannot_be_read_costs_no_other_its_attempt():
    claimed = await claim_turns(
        Told(
            turns=[{"turn_id": 8, "token": "maria's"}], too_old=[], now="2026-01-01T12:00:00+00:00",
            after_tenant=1, more=False, taken=1, next_due_at=None,
        ),
        CLAIM,
    )  # fmt: skip
    (turn,) = claimed.turns
    assert isinstance(turn, NotRead)
    assert turn.name == "8"
    assert "tenant: Field required" in turn.fault
    assert "maria" not in turn.fault


def test_an_answer_is_passed_on_as_it_was_told():
    class Extended(Answer):
        ok: bool
        until: model.Moment
        already: bool | None = None

    told = Extended.model_validate({"ok": True, "until": "2026-01-01T12:00:00.5+00:00"})
    assert told.as_told() == {"ok": True, "until": "2026-01-01T12:00:00.500000+00:00"}


def test_every_request_and_answer_can_be_built() -> None:
    """A router builds one when it is first used: after a message has left would be too late."""
    built = [kind for base in (model.Asked, model.Answer) for kind in descendants(base)]
    for kind in built:
        kind.model_rebuild(raise_errors=True)
        assert kind.__pydantic_complete__, kind
    assert len(built) > 250


def descendants(kind: type[BaseModel]) -> list[type[BaseModel]]:
    below = kind.__subclasses__()
    return below + [deeper for each in below for deeper in descendants(each)]
