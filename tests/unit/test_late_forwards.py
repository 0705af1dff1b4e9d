"""A router that stood still forwards no turn that another router may have by then."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from router.n8n.answering import NotHeard
from router.n8n.flows import FlowRules
from router.n8n.handler import N8nHandler
from router.n8n.payload import Contract
from router.outbound.own import open_flows_http
from router.replies.making import HandedOver, Reply
from router.sending.outcomes import SendStopped
from tests.exchanges import OK, Line, Server, client, clock_of, server, stand_still
from tests.unit.test_answering import PROMPT, RULES, Database, Fallback
from tests.unit.test_fallback import turn
from tests.unit.test_flows_half_answers import completion

CONTRACTS: tuple[Contract, ...] = ("answer", "gateway")
LONG = 200.0  # longer than any lease here


class Fences(Database):
    """A state that gives these answers to those who forward, one after the other."""

    def __init__(self, *answers: Mapping[str, object]) -> None:
        super().__init__()
        self._answers = list(answers)

    async def call(self, function: str, argument: Mapping[str, object]) -> dict[str, Any]:
        answer = await super().call(function, argument)
        if function == "forward_turn" and self._answers:
            return dict(self._answers.pop(0))
        return answer

    @property
    def passed(self) -> int:
        """How often a turn was forwarded."""
        return [name for name, _ in self.asked].count("forward_turn")


def said(body: object) -> bytes:
    """Return n8n's answer with this body."""
    content = json.dumps(body).encode()
    return OK + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)


LACKS_ROOM = said(completion("", "length"))


async def without_room(line: Line) -> None:
    """Answer as a flow whose model used up all its tokens before it said a word."""
    while True:
        await line.hear()
        await line.say(LACKS_ROOM)


async def flows(line: Line) -> None:
    """Answer as a flow of the contract that the turn names."""
    while True:
        _, _, body = (await line.hear()).partition(b"\r\n\r\n")
        is_asked = json.loads(body)["contract"] == "answer"
        await line.say(said({"text": "Temos!"} if is_asked else {"execution_id": "7"}))


def rules(there: Server, contract: Contract) -> FlowRules:
    return replace(RULES, webhooks_url=there.url.rstrip("/"), contract=contract)


@pytest.mark.parametrize("contract", CONTRACTS)
async def test_a_turn_that_another_router_took_meanwhile_is_not_forwarded(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
):
    """Its flow would run twice, and order twice what the customer ordered."""
    stand_still(monkeypatch, LONG)
    state, fallback = Fences({"ok": True}, {"refused": "stale"}), Fallback()
    async with server(flows) as there, client() as http:
        handler = N8nHandler(http, state, rules(there, contract), fallback)
        with pytest.raises(SendStopped, match="stale"):
            await handler.make(turn(), PROMPT)
    assert there.asked == 0
    assert not fallback.made
    assert not handler.breaker.failures
    assert not handler.breakers.failures(1, "hybridflow-turn")


@pytest.mark.parametrize("contract", CONTRACTS)
async def test_a_turn_that_is_still_held_passes_the_fence_once_more(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
):
    stand_still(monkeypatch, LONG)
    state, fallback = Fences(), Fallback()
    async with server(flows) as there, client() as http:
        handler = N8nHandler(http, state, rules(there, contract), fallback)
        made = await handler.make(turn(), PROMPT)
    assert isinstance(made, Reply if contract == "answer" else HandedOver)
    assert (there.asked, state.passed) == (1, 2)
    assert not fallback.made
    assert not handler.breaker.failures


@pytest.mark.parametrize("contract", CONTRACTS)
async def test_an_n8n_that_no_request_reaches_within_a_lease_cannot_be_reached(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
):
    stand_still(monkeypatch, LONG, times=2)
    state, fallback = Fences(), Fallback()
    async with server(flows) as there, client() as http:
        handler = N8nHandler(http, state, rules(there, contract), fallback)
        await handler.make(turn(), PROMPT)
    assert there.asked == 0
    assert fallback.made == handler.breaker.failures == 1


@pytest.mark.parametrize(("contract", "seconds"), [("answer", 20), ("gateway", 40)])
async def test_a_router_that_stood_still_for_a_while_forwards_the_turn(
    contract: Contract, seconds: float, monkeypatch: pytest.MonkeyPatch
):
    stand_still(monkeypatch, seconds)
    state = Fences()
    async with server(flows) as there, client() as http:
        await N8nHandler(http, state, rules(there, contract), Fallback()).make(turn(), PROMPT)
    assert (there.asked, state.passed) == (1, 1)


async def test_a_flow_is_given_more_room_only_while_the_turn_is_held():
    """Its first answer may have taken longer than the lease, and the router stood still."""
    state = Fences({"ok": True}, {"refused": "stale"})
    async with server(without_room) as there, client() as http:
        handler = N8nHandler(http, state, rules(there, "answer"), Fallback())
        with pytest.raises(SendStopped, match="stale"):
            await handler.make(turn(), PROMPT)
    assert there.asked == 1


@pytest.mark.parametrize("seconds", [LONG, 20])
@pytest.mark.parametrize("contract", CONTRACTS)
async def test_a_router_that_stood_still_while_it_connected_does_not_take_n8n_for_away(
    contract: Contract, seconds: float, monkeypatch: pytest.MonkeyPatch
):
    """It has less time to connect than the flow has to answer."""
    stood_still, asked = clock_of(monkeypatch), 0

    async def resolve(host: str, port: int) -> list[str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            stood_still(seconds)
            for _ in range(10):  # rounds of the event loop; in the first the time-out ends
                await asyncio.sleep(0)
        return ["127.0.0.1"]

    state, fallback = Fences(), Fallback()
    async with server(flows) as there, client(resolve=resolve) as http:
        there_by_name = replace(
            rules(there, contract), webhooks_url=f"http://n8n.example:{there.port}"
        )
        made = await N8nHandler(http, state, there_by_name, fallback).make(turn(), PROMPT)
    assert isinstance(made, Reply if contract == "answer" else HandedOver)
    assert (there.asked, state.passed) == (1, 2)
    assert not fallback.made


@pytest.mark.parametrize("contract", CONTRACTS)
async def test_a_router_that_stood_still_while_n8n_answered_blames_nobody(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
):
    stood_still = clock_of(monkeypatch)

    async def answers(line: Line) -> None:
        await line.hear()
        stood_still(LONG)
        await line.ended()

    fallback = Fallback()
    async with server(answers) as there, client() as http:
        handler = N8nHandler(http, Fences(), rules(there, contract), fallback)
        if contract == "gateway":
            assert isinstance(await handler.make(turn(), PROMPT), HandedOver)
        else:
            with pytest.raises(NotHeard) as failed:
                await handler.make(turn(), PROMPT)
            assert failed.value.cause == "failed"
    assert not fallback.made
    assert not handler.breaker.failures
    assert not handler.breakers.failures(1, "hybridflow-turn")


async def test_a_router_that_stood_still_while_it_asked_for_more_room_asks_again_later(
    monkeypatch: pytest.MonkeyPatch,
):
    """The model has not refused the room, so the turn has not failed for good."""
    stood_still = clock_of(monkeypatch)

    async def answers(line: Line) -> None:
        await line.hear()
        await line.say(LACKS_ROOM)
        await line.hear()
        stood_still(LONG)
        await line.ended()

    async with server(answers) as there, client() as http:
        handler = N8nHandler(http, Fences(), rules(there, "answer"), Fallback())
        with pytest.raises(NotHeard):
            await handler.make(turn(), PROMPT)
    assert there.asked == 2
    assert not handler.breakers.failures(1, "hybridflow-turn")


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_a_router_that_stops_gives_back_no_turn_that_a_flow_may_have(
    by_proxy: bool, monkeypatch: pytest.MonkeyPatch
):
    """The next router would give it to n8n again, and its flow would run twice."""
    is_there = asyncio.Event()

    async def begins(line: Line) -> None:
        await line.hear()
        is_there.set()
        await line.ended()

    async with server(begins) as there:
        monkeypatch.delenv("NO_PROXY", raising=False)
        if by_proxy:
            monkeypatch.setenv("HTTP_PROXY", there.url)
        async with open_flows_http(600, most=4) as http:
            handler = N8nHandler(http, Fences(), rules(there, "gateway"), Fallback())
            making = asyncio.create_task(handler.make(turn(), PROMPT))
            await is_there.wait()
            making.cancel()
            assert isinstance(await making, HandedOver)
    assert not handler.breaker.failures


async def test_a_router_that_stops_gives_back_a_turn_whose_flow_has_not_begun():
    is_asked = asyncio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        is_asked.set()
        await asyncio.Event().wait()
        return []

    async with client(resolve=resolve) as http:
        there = replace(RULES, webhooks_url="http://n8n.example", contract="gateway")
        handler = N8nHandler(http, Fences(), there, Fallback())
        making = asyncio.create_task(handler.make(turn(), PROMPT))
        await is_asked.wait()
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("contract", CONTRACTS)
async def test_a_proxy_that_does_not_reach_n8n_has_begun_no_flow(
    contract: Contract, says_so: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("router.n8n.forwarding._ACCEPTED", 0.3)
    terms = replace(RULES.terms, answer=0.3)

    async def reaches_nobody(line: Line) -> None:
        await line.hear()
        if says_so:
            await line.say(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        await line.ended()

    fallback = Fallback()
    async with server(reaches_nobody) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with open_flows_http(600, most=4) as http:
            there = replace(
                RULES, webhooks_url="https://n8n.example", contract=contract, terms=terms
            )
            handler = N8nHandler(http, Fences(), there, fallback)
            assert isinstance(await handler.make(turn(), PROMPT), Reply)
    assert fallback.made == handler.breaker.failures == 1


async def test_a_router_that_stops_while_a_proxy_connects_gives_the_turn_back(
    monkeypatch: pytest.MonkeyPatch,
):
    is_asked = asyncio.Event()

    async def connects(line: Line) -> None:
        await line.hear()
        is_asked.set()
        await line.ended()

    async with server(connects) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with open_flows_http(600, most=4) as http:
            there = replace(RULES, webhooks_url="https://n8n.example", contract="gateway")
            handler = N8nHandler(http, Fences(), there, Fallback())
            making = asyncio.create_task(handler.make(turn(), PROMPT))
            await is_asked.wait()
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
