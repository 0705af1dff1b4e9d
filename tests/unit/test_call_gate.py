"""How many calls are answered at once, and what the gate gives to the application behind it."""

import asyncio
import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jwt
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from router.errors import UnknownCaller
from router.gate.admission import SHORT_FLOW, CallLimits, Memory
from router.gate.gate import CallGate
from router.gate.proofs import Proofs
from router.gate.services import GateServices
from router.gate.user_tokens import TokenRules, UserTokens
from router.http.bodies import Bodies, BodyLimits, Patience
from router.http.callers import Callers
from router.http.services import provide
from router.sharing.rates import Rates
from router.state.entrances import acts_for
from tests.clients import patient
from tests.fixtures.looked_at import LOOKED_AT
from tests.for_each import for_each

LIMITS = CallLimits(
    calls_per_minute=600,
    address_calls_per_minute=3000,
    at_once=4,
    max_bytes=100,
    flow_bytes=1000,
    media_bytes=1000,
    max_depth=8,
)


KEYS = {name: SecretStr(f"the-key-of-{name}") for name in "abcde"}
CRON = "the-secret-of-cron"
FLOW = "hft_1_00000000-0000-0000-0000-000000000000"


class Nowhere:
    """A database, which knows the turns and keys that a test says. `go` lets it answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tenants: dict[int, int] = {}
        self.keys: dict[str, dict[str, int]] = {}
        self.users: dict[str, dict[str, int]] = {}
        self.most = self._at_once = 0
        self.go = asyncio.Event()
        self.go.set()

    async def call(self, function: str, argument: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(function)
        self._at_once += 1
        self.most = max(self.most, self._at_once)
        await self.go.wait()
        self._at_once -= 1
        if function == "prove_caller":
            if "user_id" in argument["caller"]:
                return self.users.get(argument["caller"]["user_id"], {})
            known = self.keys.get(argument["caller"]["key_hash"])
            if known is None:
                raise UnknownCaller("nobody")
            return known
        number = argument.get("turn_id", argument.get("notice_id"))
        if number is not None and (tenant := self.tenants.get(number)) is not None:
            return LOOKED_AT | {"tenant_id": tenant}
        return {"refused": "stale"}


class Turns:
    """The entrance by which turns are worked on; it notes for whom it is asked."""

    def __init__(self, database: Nowhere) -> None:
        self.asked: list[tuple[str | None, str]] = []
        self._database = database

    async def call(self, function: str, argument: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((acts_for(), function))
        return await self._database.call(function, argument)


class Calls:
    """A gate, an application that answers with what it was given, and callers with slow bodies."""

    def __init__(
        self,
        patience: float = 100,
        *,
        has_flows: bool = True,
        held: int = 100_000_000,
        **limits: Any,
    ) -> None:
        callers = Callers(["192.0.2.0/24"])
        self.memory = Memory(*(Bodies(self._bodies(patience, held), callers) for _ in range(4)))
        self.gate = CallGate(
            self._answer,
            replace(LIMITS, **limits),
            Rates(),
            callers,
            self.memory,
            Proofs(KEYS, SecretStr(CRON)),
            has_flows=has_flows,
        )
        self.sent = asyncio.Event()
        self.read = 0
        self.status = 200  # of what the application answers
        self.database = Nowhere()
        self.turns = Turns(self.database)
        tokens = UserTokens(patient(), TokenRules(None, None, SecretStr("s" * 40)))
        self._app = FastAPI()
        provide(self._app, GateServices(tokens, self.database, self.turns))
        self.go = asyncio.Event()
        self.go.set()

    @staticmethod
    def _bodies(patience: float, held: int) -> BodyLimits:
        return BodyLimits(arriving=3, held_bytes=held, patience=Patience(seconds=patience))

    async def _answer(self, _: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        await self.go.wait()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def ask(
        self,
        key: str = "",
        *,
        slow: bool = False,
        body: bytes = b"",
        path: str = "/api/tenants",
        headers: dict[str, str] | None = None,
        query: str = "",
        method: str = "POST",
        client: str = "198.51.100.1",
    ) -> tuple[int, bytes, bytes]:
        """Return the status, Retry-After and the body. `slow`: the body comes once it is sent."""
        answers: list[dict[str, Any]] = []
        chunks = [body[start : start + 30] for start in range(0, len(body), 30)] or [b""]

        async def receive() -> dict[str, Any]:
            if slow:
                await self.sent.wait()
            chunk = chunks.pop(0)
            self.read += len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            answers.append(message)

        shown = headers if headers is not None else {"x-api-key": f"the-key-of-{key}"}
        if (body or slow) and "transfer-encoding" not in shown:
            shown = {"content-length": str(len(body)), **shown}
        scope: dict[str, Any] = {
            "type": "http",
            "app": self._app,
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in shown.items()],
            "client": (client, 1),
        }
        await self.gate(scope, receive, send)
        told = dict(answers[0]["headers"])
        return answers[0]["status"], told.get(b"retry-after", b""), answers[1]["body"]


async def under_way(calls: Calls, keys: str) -> list["asyncio.Task[Any]"]:
    """Calls that are being answered, and will not be until `go`."""
    calls.go.clear()
    tasks = [asyncio.create_task(calls.ask(key)) for key in keys]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_one_caller_gets_half_of_the_places_and_the_next_gets_429():
    calls = Calls()
    held = await under_way(calls, "aa")
    assert (await calls.ask("a"))[:2] == (429, b"1")
    other = asyncio.create_task(calls.ask("b"))
    await asyncio.sleep(0)
    calls.go.set()
    assert [(await task)[0] for task in (*held, other)] == [200, 200, 200]
    assert (await calls.ask("a"))[0] == 200


async def test_where_every_place_is_taken_the_next_gets_503_but_not_the_health_check():
    calls = Calls()
    held = await under_way(calls, "abcd")
    assert (await calls.ask("e"))[:2] == (503, b"1")
    others = [
        asyncio.create_task(calls.ask("e", path=path, method="GET"))
        for path in ("/health", "/health/live", "/webhook/padaria")
    ]
    await asyncio.sleep(0)
    calls.go.set()
    assert [(await task)[0] for task in (*held, *others)] == [200] * 7


async def test_reports_of_flows_have_places_of_their_own():
    calls = Calls()
    held = await under_way(calls, "abcd")
    calls.database.tenants = {1: 1, 2: 2, 3: 3}
    reports = claiming(calls, 1, 2, path="/n8n/turns/1/done", size=10)
    await settled()
    (beyond,) = claiming(calls, 3, path="/n8n/turns/1/done", size=10)
    assert (await beyond)[:2] == (503, b"1")
    calls.go.set()
    assert [(await task)[0] for task in (*held, *reports)] == [200] * 6


async def test_a_caller_that_goes_away_gives_its_place_back():
    calls = Calls()
    held = await under_way(calls, "abcd")
    for task in held:
        task.cancel()
    await asyncio.wait(held)
    calls.go.set()
    assert (await calls.ask("e"))[0] == 200


async def test_bodies_that_do_not_come_hold_no_place_and_end_with_408():
    calls = Calls(patience=0.2)
    held = [
        asyncio.create_task(calls.ask(key, slow=True, client=f"198.51.100.{number}"))
        for number, key in enumerate("abcd" * 10)
    ]
    await asyncio.sleep(0)
    assert (await calls.ask("e"))[0] == 200
    assert {(await task)[0] for task in held} == {408}
    assert (await calls.ask("e"))[0] == 200


async def test_one_address_has_few_bodies_on_their_way_also_with_many_keys():
    calls = Calls()
    held = [asyncio.create_task(calls.ask(key, slow=True)) for key in "abc"]
    for _ in range(5):
        await asyncio.sleep(0)
    assert (await calls.ask("d", body=b"{}"))[0] == 429
    assert (await calls.ask("d"))[0] == 200  # which has no body
    assert (await calls.ask("d", body=b"{}", client="203.0.113.1"))[0] == 200
    calls.sent.set()
    assert [(await task)[0] for task in held] == [200] * 3
    assert (await calls.ask("d", body=b"{}"))[0] == 200


async def test_the_application_gets_the_whole_body():
    body = b'{"a": "' + b"x" * 80 + b'"}'
    assert (await Calls().ask("a", body=body))[2] == body


LARGE = b'"' + b"x" * 5_000_000 + b'"'
GATEWAY = "/n8n/evolution/message/sendMedia/x"


async def test_a_flow_may_send_more_than_an_operator():
    calls = Calls()
    large = b'"' + b"x" * 500 + b'"'
    assert (await calls.ask("a", body=large))[0] == 413
    calls.database.tenants = {1: 1}
    token = {"apikey": FLOW}
    assert (await calls.ask(headers=token, body=large, path=GATEWAY))[0] == 200
    assert (await calls.ask(headers=token, body=large, path="/n8n/turns/1/done"))[0] == 413
    deep = b"[" * 9 + b"]" * 9
    assert (await calls.ask(headers=token, body=deep, path="/n8n/turns/1/done"))[0] == 422


UNKNOWN = {"x-api-key": "hfk_" + "a" * 43}
JUNK = {
    "nothing": {},
    "a wrong key": {"x-api-key": "wrong"},
    "a key of the right form": UNKNOWN,
    "a token of nobody's": {"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"},
    "a token nested deep": {
        "authorization": "Bearer " + b64encode(b"[" * 20_000).decode().rstrip("=") + ".a.b"
    },
    "basic": {"authorization": "Basic dGhlLWtleS1vZi1h"},
    "cron's secret": {"x-cron-secret": CRON},
}


@for_each("shown", JUNK.values(), ids=JUNK)
@for_each("path", ["/api/tenants", "/api/nowhere", "/docs", "/nothing", GATEWAY])
async def test_of_a_call_without_a_right_credential_no_body_is_read(shown, path: str):
    calls = Calls(max_bytes=10_000_000, has_flows=False)
    status, _, body = await calls.ask(headers=shown, body=LARGE, path=path)
    if path.startswith("/api/") and shown == UNKNOWN:
        assert (status, b"unauthorised" in body) == (401, True)
    else:
        assert (status, body) == (200, b"")  # the endpoint refuses it
    assert calls.read == 0


@pytest.mark.parametrize(
    ("path", "shown", "status"),
    [
        (GATEWAY, {}, 401),
        (GATEWAY, {"apikey": "hft_1_x"}, 401),
        (GATEWAY, {"apikey": FLOW}, 409),
        (GATEWAY, {"apikey": FLOW.replace("hft", "hfn")}, 409),
        ("/n8n/turns/1/done", {}, 422),
        ("/n8n/turns/1/done", {"apikey": "x" * 50_000}, 409),
        ("/n8n/turns/1/done", {"apikey": FLOW}, 409),
        ("/n8n/notices/1/done", {"apikey": FLOW.replace("hft", "hfn")}, 409),
    ],
)
async def test_of_a_flow_without_a_turn_no_large_body_is_read(path: str, shown, status: int):
    calls = Calls(flow_bytes=10_000_000)
    assert (await calls.ask(headers=shown, body=LARGE, path=path))[0] == status
    assert calls.read == 0


async def test_what_is_large_needs_the_token_of_a_turn_that_is_held(monkeypatch):
    monkeypatch.setattr("router.gate.admission.SHORT_FLOW", 100)
    calls = Calls()
    calls.database.tenants = {1: 1}
    large = partial(calls.ask, body=b'"' + b"x" * 400 + b'"', path=GATEWAY)
    assert (await large(headers={"apikey": FLOW.replace("hft", "hfn")}))[0] == 413
    assert (await large(headers={"apikey": FLOW}))[0] == 200
    calls.database.tenants = {}  # its token was right a moment ago
    read = calls.read
    status, _, body = await large(headers={"apikey": FLOW})
    assert (status, json.loads(body)["response"]["reason"], calls.read) == (409, "stale", read)


def token_of(turn: int) -> str:
    return FLOW.replace("_1_", f"_{turn}_")


def claiming(calls: Calls, *numbers: int, path: str = GATEWAY, size: int = 400, **headers: str):
    """Requests of the flows of these turns, that are not answered before `go`."""
    calls.go.clear()
    return [
        asyncio.create_task(
            calls.ask(
                headers={"apikey": token_of(number), **headers},
                body=b'"' + b"x" * size + b'"',
                path=path,
                client=f"198.51.100.{number}",
            )
        )
        for number in numbers
    ]


@pytest.mark.parametrize("lengths", [{}, {"transfer-encoding": "chunked"}])
async def test_all_turns_of_a_tenant_are_one_sender_of_bodies(monkeypatch, lengths):
    monkeypatch.setattr("router.gate.admission.SHORT_FLOW", 100)
    calls = Calls(held=2000)
    calls.database.tenants = {1: 7, 2: 7, 3: 7, 4: 8}
    held = claiming(calls, 1, 2, **lengths)
    await settled()
    (third,) = claiming(calls, 3, **lengths)
    status, wait, body = await third
    assert (status, wait) == (503, b"5")
    assert json.loads(body)["response"]["reason"] == "too_many_at_once"
    (other,) = claiming(calls, 4, **lengths)
    await settled()
    calls.go.set()
    assert [(await task)[0] for task in (*held, other)] == [200] * 3


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_flows_that_nobody_knows_fill_no_memory(monkeypatch):
    monkeypatch.setattr("router.gate.admission.SHORT_FLOW", 450)
    calls = Calls(held=2000, at_once=100, max_bytes=1000)
    refused = [
        await asking
        for path in ("/n8n/turns/1/done", "/n8n/notices/1/done", GATEWAY)
        for asking in claiming(calls, *range(1, 6), path=path)
    ]
    assert {status for status, _, _ in refused} == {409}
    assert calls.read == 0


async def test_reports_of_one_tenant_fill_no_memory_but_their_own(monkeypatch):
    monkeypatch.setattr("router.gate.admission.SHORT_FLOW", 450)
    calls = Calls(held=2000, at_once=100, max_bytes=1000)
    calls.database.tenants = dict.fromkeys(range(1, 7), 7) | {8: 8, 9: 9}
    held = claiming(calls, *range(1, 3), path="/n8n/turns/1/done")
    await settled()
    assert not calls.memory.flows._held
    assert not calls.memory.calls._held
    (beyond,) = claiming(calls, 6, path="/n8n/turns/1/done")
    assert (await beyond)[:2] == (503, b"5")
    held += claiming(calls, 8, path="/n8n/turns/8/done") + claiming(calls, 9, size=800)
    await settled()
    calls.go.set()
    assert [(await task)[0] for task in held] == [200] * 4
    assert (await calls.ask("a", body=b'"' + b"x" * 500 + b'"'))[0] == 200


@pytest.mark.parametrize("path", ["/n8n/turns/1/done", "/n8n/notices/1/done", "/n8n/executions/1"])
async def test_of_a_report_no_more_than_a_short_body_is_read(path: str):
    calls = Calls(max_bytes=10_000_000, flow_bytes=10_000_000)
    calls.database.tenants = {1: 1}
    for headers in ({}, {"transfer-encoding": "chunked"}):
        assert (await calls.ask(headers={"apikey": FLOW, **headers}, body=LARGE, path=path))[
            0
        ] == 413
    assert calls.read <= SHORT_FLOW + 30


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", GATEWAY), ("TRACE", "/n8n/turns/1/done"), ("POST", "/n8n/x")]
)
async def test_what_is_no_request_of_a_flow_is_left_to_the_application_without_a_body(
    method: str, path: str
):
    calls = Calls(flow_bytes=10_000_000)
    shown = {"apikey": FLOW}
    got = await calls.ask(headers=shown, body=LARGE, path=path, method=method)
    assert (got[0], got[2], calls.read) == (200, b"", 0)


async def test_a_body_of_many_values_is_not_parsed():
    calls = Calls(max_bytes=1_000_000)
    many = b"[" + b"[]," * 30_000 + b"1]"
    status, _, body = await calls.ask("a", body=many)
    assert (status, b"too_many_values" in body) == (422, True)


def key_of(number: int) -> str:
    return f"hfk_{number:043}"


def known(key: str, **told: int) -> dict[str, dict[str, int]]:
    return {hashlib.sha256(key.encode()).hexdigest(): told}


FLOODS = {
    "keys": [({"x-api-key": key_of(number)}, "/api/tenants") for number in range(20)],
    "tokens of turns": [
        ({"apikey": token_of(number)}, f"/n8n/turns/{number}/done") for number in range(1, 21)
    ],
    "tokens of turns at the gateway": [
        ({"apikey": token_of(number)}, GATEWAY) for number in range(1, 21)
    ],
    "tokens of notices": [
        ({"apikey": token_of(number).replace("hft", "hfn")}, f"/n8n/notices/{number}/done")
        for number in range(1, 21)
    ],
    "tokens of notices at the gateway": [
        ({"apikey": token_of(number).replace("hft", "hfn")}, GATEWAY) for number in range(1, 21)
    ],
}


@pytest.mark.parametrize("size", [10, 600])
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_what_nobody_knows_is_looked_up_two_at_once_and_once_each(
    monkeypatch: pytest.MonkeyPatch, flood: list[tuple[dict[str, str], str]], size: int
):
    monkeypatch.setattr("router.gate.admission.SHORT_FLOW", 100)
    calls = Calls()
    right = key_of(99)
    calls.database.keys = known(right)
    calls.database.go.clear()
    body = b'"' + b"x" * size + b'"'
    asking = [
        asyncio.create_task(calls.ask(headers=shown, path=path, body=body))
        for shown, path in flood * 3
    ]
    await settled()
    assert calls.database.most == 2
    assert (await calls.ask("a"))[0] == 200  # which needs no look-up
    other = asyncio.create_task(calls.ask(headers={"x-api-key": right}, client="203.0.113.1"))
    await settled()
    assert calls.database.most == 3  # at once: it comes from elsewhere
    calls.database.go.set()
    assert (await other)[0] == 200
    assert {(await task)[0] for task in asking} <= {401, 409}
    assert len(calls.database.asked) == len(flood) + 1


async def test_a_key_that_was_revoked_is_asked_for_again_once_its_endpoint_refuses_it():
    calls = Calls()
    key = {"x-api-key": key_of(1)}
    calls.database.keys = known(key_of(1))
    assert (await calls.ask(headers=key))[0] == 200
    calls.database.keys = {}
    calls.status = 401  # the endpoint asks in the transaction that does the work
    assert (await calls.ask(headers=key, body=b"{}"))[0] == 401
    calls.status = 200
    assert (await calls.ask(headers=key))[0] == 401
    assert calls.database.asked == ["prove_caller"] * 2


@pytest.mark.parametrize("tenants", [(7, 7, 7, 7, 8), (None, None, None, None, None)])
async def test_all_keys_of_a_tenant_are_one_sender_of_bodies(tenants: tuple[int | None, ...]):
    calls = Calls(held=200, at_once=100)
    calls.go.clear()
    asking = []
    for number, tenant in enumerate(tenants):
        told = {} if tenant is None else {"tenant_id": tenant}
        calls.database.keys |= known(key_of(number), **told)
        shown, where = {"x-api-key": key_of(number)}, f"198.51.100.{number}"
        call = calls.ask(headers=shown, client=where, body=b'"' + b"x" * 28 + b'"')
        asking.append(asyncio.create_task(call))
    await settled()
    calls.go.set()
    statuses = [(await task)[0] for task in asking]
    assert statuses == ([200] * 5 if tenants[0] is None else [200, 200, 200, 429, 200])


async def test_all_keys_of_a_tenant_have_half_of_the_places():
    calls = Calls()
    calls.go.clear()
    for number in range(4):
        calls.database.keys |= known(key_of(number), tenant_id=7)
    held = [
        asyncio.create_task(calls.ask(headers={"x-api-key": key_of(number)})) for number in (0, 1)
    ]
    await settled()
    assert (await calls.ask(headers={"x-api-key": key_of(2)}))[0] == 429
    calls.go.set()
    assert [(await task)[0] for task in held] == [200, 200]


def user(number: int) -> tuple[str, dict[str, str]]:
    """Return a user of Supabase Auth, and the header with its token."""
    user_id = f"00000000-0000-0000-0000-{number:012}"
    claims = {"sub": user_id, "aud": "authenticated", "role": "authenticated"}
    token = jwt.encode({**claims, "exp": time.time() + 600}, "s" * 40, "HS256")
    return user_id, {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("tenants", [(7, 7, 7), (None, None, None)])
async def test_users_and_keys_of_a_tenant_have_half_of_the_places_and_so_have_users_of_none(
    tenants: tuple[int | None, ...],
):
    calls = Calls(at_once=8)
    shown = []
    for number, tenant in enumerate(tenants):
        user_id, header = user(number)
        calls.database.users[user_id] = {} if tenant is None else {"tenant_id": tenant}
        shown.append(header)
    if tenants[0] is not None:
        calls.database.keys = known(key_of(1), tenant_id=7)
        shown[0] = {"x-api-key": key_of(1)}
    calls.go.clear()
    held = [asyncio.create_task(calls.ask(headers=each)) for each in shown[:2] * 2]
    await settled()
    assert (await calls.ask(headers=shown[2]))[:2] == (429, b"1")
    calls.go.set()
    assert [(await task)[0] for task in held] == [200] * 4


async def test_however_many_tenants_call_the_deployments_keys_and_cron_have_places():
    calls = Calls(at_once=20)
    calls.go.clear()
    held = []
    for number in range(60):
        calls.database.keys |= known(key_of(number), tenant_id=number % 20)
        held.append(asyncio.create_task(calls.ask(headers={"x-api-key": key_of(number)})))
    cron = {"x-cron-secret": CRON}
    await settled()
    resuming = [
        asyncio.create_task(calls.ask(headers=cron, path="/cron/auto-resume")) for _ in range(6)
    ]
    ours = [asyncio.create_task(calls.ask(key)) for key in "ab"]
    await settled()
    calls.go.set()
    assert sorted([(await task)[0] for task in held])[:18].count(200) == 18
    assert [(await task)[0] for task in ours] == [200, 200]
    assert [(await task)[0] for task in resuming] == [200] * 4 + [503] * 2


async def test_two_tenants_with_many_keys_leave_places_for_a_third():
    calls = Calls(at_once=20)
    calls.go.clear()
    for number in range(41):
        tenant = 9 if number == 40 else number % 2
        calls.database.keys |= known(key_of(number), tenant_id=tenant)
    held = [
        asyncio.create_task(calls.ask(headers={"x-api-key": key_of(number)}))
        for number in range(40)
    ]
    await settled()
    third = asyncio.create_task(calls.ask(headers={"x-api-key": key_of(40)}))
    await settled()
    calls.go.set()
    assert (await third)[0] == 200
    statuses = [(await task)[0] for task in held]
    assert set(statuses) == {200, 429}


@pytest.mark.parametrize("client", ["198.51.100.1", "192.0.2.7"])  # also behind a proxy
async def test_junk_shuts_out_no_right_key(client: str):
    calls = Calls(address_calls_per_minute=3)
    for shown in JUNK.values():
        for _ in range(5):
            last = await calls.ask(headers=shown, client=client)
    assert last[0] == 429
    for right in ({"x-api-key": "the-key-of-a"}, {"authorization": "bearer the-key-of-b"}):
        assert (await calls.ask(headers=right, client=client))[0] == 200
    cron = {"x-cron-secret": CRON}
    path = "/cron/auto-resume"
    assert (await calls.ask(headers=cron, client=client, path=path))[0] == 200


async def test_junk_is_counted_by_the_callers_address_behind_a_proxy_and_by_64():
    calls = Calls(address_calls_per_minute=2)
    for number in range(4):
        told = {"x-forwarded-for": f"9.9.9.9, 2001:db8::{number}"}
        last = await calls.ask(headers=told, client="192.0.2.7")
    assert last[0] == 429
    for other in ("2001:db8:0:1::1", "203.0.113.9"):
        told = {"x-forwarded-for": other}
        assert (await calls.ask(headers=told, client="192.0.2.7"))[0] == 200
    lie = {"x-forwarded-for": "203.0.113.10"}
    assert [(await calls.ask(headers=lie))[0] for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    "spellings",
    [
        [
            {"x-api-key": "the-key-of-a"},
            {"authorization": "Bearer the-key-of-a"},
            {"authorization": "bearer the-key-of-a"},
            {"authorization": "BEARER   the-key-of-a "},
            {"x-api-key": "the-key-of-a", "authorization": "Bearer of-no-matter"},
        ],
    ],
)
async def test_one_key_is_one_caller_however_it_is_written(spellings):
    calls = Calls(calls_per_minute=3)
    statuses = [(await calls.ask(headers=shown))[0] for shown in spellings]
    assert statuses == [200, 200, 200, 429, 429]


@pytest.mark.parametrize(
    "written",
    [
        *("1", "01", "001", "%31", "+1", "%2B1", "%201", "1%20", "1.0", "7&tenant_id=1", "1&x=2"),
        *("0" * 40 + "1", "%20" * 40 + "1", "1." + "0" * 40, "1" + "%20" * 40),
    ],
)
async def test_one_tenant_is_one_however_it_is_written(written: str):
    calls = Calls(calls_per_minute=1)
    ask = partial(calls.ask, "a", path="/api/sessions", method="GET")
    assert (await ask(query="tenant_id=1"))[0] == 200
    assert (await ask(query=f"tenant_id={written}"))[0] == 429
    assert (await ask(query="tenant_id=2"))[0] == 200


async def test_a_tenant_in_the_path_is_the_one_in_the_query():
    calls = Calls(calls_per_minute=1)
    assert (await calls.ask("a", path="/api/sessions", method="GET", query="tenant_id=1"))[0] == 200
    for path in ("/api/tenants/1", "/api/tenants/01", "/api/tenants/1/spending"):
        assert (await calls.ask("a", path=path, method="GET"))[0] == 429


async def test_one_caller_has_a_limit_over_all_tenants():
    calls = Calls(calls_per_minute=5, address_calls_per_minute=8)
    ask = partial(calls.ask, "a", path="/api/sessions", method="GET")
    statuses = [(await ask(query=f"tenant_id={number}"))[0] for number in range(10)]
    assert statuses == [200] * 8 + [429] * 2


@pytest.mark.parametrize("path", [GATEWAY, "/n8n/turns/1/extend", "/n8n/notices/1/done"])
async def test_flows_of_one_tenant_call_so_often_however_many_their_turns_and_none_of_another(
    path: str,
):
    calls = Calls(flow_calls_per_minute=3)
    calls.database.tenants = {1: 7, 2: 7, 3: 8}

    async def status_of(number: int) -> int:
        return (await calls.ask(headers={"apikey": token_of(number)}, path=path))[0]

    assert [await status_of(number) for number in (1, 2, 1, 2, 1)] == [200, 200, 200, 503, 503]
    _, wait, body = await calls.ask(headers={"apikey": token_of(1)}, path=path)
    assert int(wait) > 0
    assert b"too_many_calls" in body
    assert await status_of(3) == 200


async def test_a_large_request_is_looked_at_at_its_tenants_cost_and_not_among_the_look_ups(
    monkeypatch,
):
    """Else a tenant's flows would take what new keys and tokens are looked up with."""
    monkeypatch.setattr("router.gate.admission.SHORT_FLOW", 100)
    calls = Calls()
    calls.database.tenants = {1: 7}
    body = b'"' + b"x" * 400 + b'"'
    assert (await calls.ask(headers={"apikey": FLOW}, body=body, path=GATEWAY))[0] == 200
    assert calls.turns.asked == [("tenant 7", "look_at_turn")]
