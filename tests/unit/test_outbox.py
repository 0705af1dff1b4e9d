"""A place, the fence, Evolution, the record: the order of a send, and what each failure means."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from router.configuration.servers import Servers
from router.errors import DatabaseAway, NotFound
from router.evolution.errors import MessageRefused
from router.evolution.sends import EvolutionSends
from router.n8n.media import emptied
from router.n8n.requests import messages_of
from router.n8n.whitelist import read_request
from router.sending.outbox import Outbox, SendTerms
from router.sending.outcomes import InDoubt, SendFailed, SendStopped, Sent
from router.sending.outgoing import Outgoing
from router.sending.speakers import Speaker, flow, notice
from router.sending.times import SendTimes
from router.sharing.places import SendPlaces
from router.state.calls.flows import TurnOfFlow
from router.state.database import Json
from router.state.flow_tokens import NoticeToken, TurnToken
from router.tenants.instance import InstanceKeys
from tests.fixtures.looked_at import JID, LINE, LOOKED_AT
from tests.fixtures.sends import SENDS

OK = {"ok": True, "message_id": 31, "jid": JID, "chosen_id": "3EB0C0", "part": 0}
TURN = TurnOfFlow.model_validate(LOOKED_AT)
TOKEN = TurnToken(5, "secret")
SERVERS = Servers.of(["http://evolution.example"])
KEYS = InstanceKeys(SecretStr("a-key"), servers=SERVERS)
NO_KEYS = InstanceKeys(None, servers=SERVERS)


def flow_with(keys: InstanceKeys) -> Speaker:
    return flow(TOKEN, keys.line(TURN), "oi", 0)


SPEAKER = flow_with(KEYS)
HELLO = Outgoing.plain("oi")
NAMED = {"tenant_id": 7, "message_id": 31}
TIMES = SendTimes(timeout=30, settle=90, lease=10)


class Ledger:
    """A state that writes down what it is asked, and answers as it is told."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[str, Json]] = []
        self.answers: dict[str, Any] = {"begin_flow_send": OK, **answers}

    async def call(self, function: str, argument: Any) -> Json:
        self.calls.append((function, dict(argument)))
        answer = self.answers.get(function, {"ok": True, "turn_state": None})
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer

    @property
    def functions(self) -> list[str]:
        return [function for function, _ in self.calls]


class Phone:
    """An Evolution that answers each send so, and writes down its body."""

    def __init__(self, answer: Callable[[], httpx.Response] | Exception | None = None) -> None:
        self.bodies: list[Json] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.begins_by: float | None = None
        self.answer = answer
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        self.paths.append(request.url.path)
        self.times.append(request.extensions["timeout"]["read"])
        self.begins_by = request.extensions["begin_by"]
        await self.goes_on.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer()
        key = {"remoteJid": JID, "fromMe": True, "id": "3EB0C0"}
        return httpx.Response(201, json={"key": key, "status": "PENDING"})


def outbox(
    ledger: Ledger,
    phone: Phone,
    *,
    places: int = 5,
    keys: InstanceKeys = KEYS,
    clock: Callable[[], float] = lambda: 0.0,
) -> Outbox:
    http = httpx.AsyncClient(transport=httpx.MockTransport(phone))
    terms = SendTerms(TIMES, check_after=3, policy={"debounce_seconds": 2})
    return Outbox(ledger, EvolutionSends(http), keys, SendPlaces(places), terms, clock=clock)


def emptied_sends() -> list[Outgoing]:
    found = []
    for send in SENDS:
        asked = read_request(send.path, {**send.body, "number": JID}, (JID,))
        if asked.media is not None:
            found += [emptied(asked, message) for message in messages_of(asked)]
    return found


@pytest.mark.parametrize("message", emptied_sends(), ids=lambda message: str(message.path))
async def test_a_repeat_without_its_media_is_never_posted(message: Outgoing) -> None:
    """What it repeats was under way when it was read, and has failed by the time of the fence."""
    ledger, phone = Ledger(), Phone()
    with pytest.raises(SendFailed) as failed:
        await outbox(ledger, phone).send(SPEAKER, message)
    assert failed.value.is_away
    assert phone.bodies == []
    assert ledger.functions == ["begin_flow_send", "fail_send"]


async def test_a_repeat_without_its_media_is_told_what_became_of_the_message() -> None:
    sent = {"refused": "already_sent", "wa_id": "3EB0C0", "jid": JID, "body": "[image]"}
    ledger, phone = Ledger(begin_flow_send=sent), Phone()
    assert await outbox(ledger, phone).send(SPEAKER, emptied_sends()[0]) == Sent(
        "3EB0C0", JID, "[image]", None
    )
    assert phone.bodies == []


def refusing(status: int, message: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status, json={"response": {"message": [message]}})


async def test_a_message_is_written_down_sent_and_recorded() -> None:
    ledger, phone = Ledger(), Phone()
    sent = await outbox(ledger, phone).send(SPEAKER, HELLO)
    assert sent == Sent("3EB0C0", JID, "oi", 31)
    assert ledger.calls == [
        (
            "begin_flow_send",
            {
                **TOKEN.held,
                "text": "oi",
                "next_part": 0,
                "kind": "text",
                "body": "oi",
                "identity": HELLO.identity,
                "told_as": list(HELLO.told_as),
                "lease_seconds": TIMES.fence(),
            },
        ),
        (
            "finish_send",
            {
                **NAMED,
                "wa_id": "3EB0C0",
                "jid": JID,
                "status": "pending",
                "policy": {"debounce_seconds": 2},
            },
        ),
    ]
    assert phone.paths == ["/message/sendText/padaria"]
    assert phone.bodies == [{"text": "oi", "number": JID, "messageId": "3EB0C0"}]


async def test_a_large_media_has_more_time_and_the_fence_knows_how_much() -> None:
    ledger, phone = Ledger(), Phone()
    way_out = outbox(ledger, phone)
    await way_out.send(SPEAKER, Outgoing.of("message/sendMedia", {"media": "A" * 21_400_000}))
    (_, asked), _ = ledger.calls
    assert asked["upload_seconds"] == 42
    assert asked["lease_seconds"] == TIMES.fence(42)
    await way_out.send(SPEAKER, HELLO)
    assert phone.times == [TIMES.exchange(42), TIMES.exchange()] == [72, 30]


async def test_a_lease_that_is_renewed_while_it_sends_is_short() -> None:
    ledger = Ledger()
    await outbox(ledger, Phone()).send(replace(SPEAKER, is_renewed=True), HELLO)
    assert ledger.calls[0][1]["lease_seconds"] == 10


async def test_a_reaction_has_no_room_for_an_id() -> None:
    phone = Phone()
    reaction = Outgoing.of("message/sendReaction", {"key": {"id": "A"}, "reaction": "👍"})
    await outbox(Ledger(), phone).send(SPEAKER, reaction)
    assert "messageId" not in phone.bodies[0]


async def test_what_the_fence_refuses_is_not_sent() -> None:
    ledger, phone = Ledger(begin_flow_send={"refused": "paused"}), Phone()
    with pytest.raises(SendStopped) as stopped:
        await outbox(ledger, phone).send(SPEAKER, HELLO)
    assert stopped.value.reason == "paused"
    assert phone.bodies == []


async def test_the_same_message_again_is_what_it_was_before() -> None:
    before = {"refused": "already_sent", "message_id": 30, "wa_id": "3EB0B0", "jid": JID}
    ledger, phone = Ledger(begin_flow_send=before), Phone()
    assert await outbox(ledger, phone).send(SPEAKER, HELLO) == Sent("3EB0B0", JID, "oi", 30)
    ledger.answers["begin_flow_send"] = {"refused": "in_doubt", "message_id": 30}
    assert await outbox(ledger, phone).send(SPEAKER, HELLO) == InDoubt("", "oi", 30)
    assert phone.bodies == []


async def test_without_a_place_the_fence_is_not_asked() -> None:
    ledger, phone = Ledger(), Phone()
    phone.goes_on.clear()
    full = outbox(ledger, phone, places=1)
    first = asyncio.create_task(full.send(SPEAKER, HELLO))
    while not phone.bodies:
        await asyncio.sleep(0)
    with pytest.raises(SendFailed) as failed:
        await full.send(SPEAKER, Outgoing.plain("outra"))
    assert failed.value.is_away
    assert ledger.functions == ["begin_flow_send"]
    phone.goes_on.set()
    assert isinstance(await first, Sent)


@pytest.mark.parametrize(
    ("answer", "is_away"),
    [
        (refusing(400, "Error: Connection Closed"), True),
        (refusing(429, "slow down"), True),
        (httpx.ConnectTimeout("no"), True),
        (httpx.ConnectError("no"), True),
        (httpx.PoolTimeout("no"), True),
        (refusing(401, "Unauthorized"), False),
        (refusing(400, "Text is required"), False),
    ],
)
async def test_what_was_certainly_not_sent_may_be_begun_again(
    answer: Callable[[], httpx.Response] | Exception, is_away: bool
) -> None:
    ledger = Ledger()
    with pytest.raises(SendFailed) as failed:
        await outbox(ledger, Phone(answer)).send(SPEAKER, HELLO)
    assert failed.value.is_away is is_away
    told = {**NAMED, "chosen_id": "3EB0C0", "policy": {"debounce_seconds": 2}}
    if isinstance(failed.value.cause, MessageRefused):  # what is refused for good is given up
        told["given_up"] = "400: Text is required"
    assert ledger.calls[1:] == [("fail_send", told)]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout("no answer"),
        httpx.ReadError("reset"),
        refusing(500, "Internal Server Error"),
        RuntimeError("nobody foresaw this"),
    ],
)
async def test_a_send_whose_answer_was_lost_is_in_doubt(
    answer: Callable[[], httpx.Response] | Exception,
) -> None:
    ledger = Ledger()
    way_out = outbox(ledger, Phone(answer))
    heard: list[str] = []
    way_out.doubted = lambda: heard.append("doubt")
    assert await way_out.send(SPEAKER, HELLO) == InDoubt(JID, "oi", 31)
    function, argument = ledger.calls[1]
    assert function == "doubt_send"
    assert argument | {**NAMED, **TOKEN.held, "check_after": 3} == argument
    assert heard == ["doubt"]


async def test_a_record_that_fails_is_tried_again_until_it_is_written() -> None:
    away = [DatabaseAway("gone"), RuntimeError("the driver is confused"), {"turn_state": "sent"}]
    ledger = Ledger(finish_send=away)
    assert isinstance(await outbox(ledger, Phone()).send(SPEAKER, HELLO), Sent)
    assert ledger.functions == ["begin_flow_send"] + ["finish_send"] * 3


async def test_what_the_state_refuses_to_record_is_on_the_phone_all_the_same() -> None:
    ledger = Ledger(finish_send=NotFound("erased"))
    assert isinstance(await outbox(ledger, Phone()).send(SPEAKER, HELLO), Sent)
    assert ledger.functions == ["begin_flow_send", "finish_send"]


async def test_a_router_that_stood_still_behind_the_fence_sends_nothing() -> None:
    ledger, phone = Ledger(), Phone()
    times = iter([0.0, 60.0] + [60.0] * 9)
    with pytest.raises(SendFailed) as failed:
        await outbox(ledger, phone, clock=lambda: next(times)).send(SPEAKER, HELLO)
    assert failed.value.is_away
    assert phone.bodies == []
    assert ledger.functions == ["begin_flow_send", "fail_send"]


async def test_a_request_may_begin_only_as_long_as_the_fence_is_fresh() -> None:
    phone = Phone()
    times = iter([100.0, 101.0])
    await outbox(Ledger(), phone, clock=lambda: next(times)).send(SPEAKER, HELLO)
    assert phone.begins_by == 100.0 + TIMES.patience


async def test_who_waits_for_a_send_may_go_the_send_goes_on() -> None:
    ledger, phone = Ledger(), Phone()
    phone.goes_on.clear()
    way_out = outbox(ledger, phone)
    waiting = asyncio.create_task(way_out.send(SPEAKER, HELLO))
    while not phone.bodies:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    phone.goes_on.set()
    await way_out.stop()
    assert ledger.functions == ["begin_flow_send", "finish_send"]


async def test_a_notice_goes_to_the_number_as_it_was_typed() -> None:
    fence = {"ok": True, "message_id": 31, "number": "5531988880001", **LINE}
    ledger, phone = Ledger(begin_notice_send=fence), Phone()
    speaker = notice(NoticeToken(3, "secret"), instance_name="padaria")
    await outbox(ledger, phone).send(speaker, HELLO)
    assert phone.bodies == [{"text": "oi", "number": "5531988880001"}]
    assert ledger.calls[0][1]["instance_name"] == "padaria"
    assert ledger.calls[1][1] | NAMED == ledger.calls[1][1]


@pytest.mark.parametrize("speaker", [flow_with(NO_KEYS), notice(NoticeToken(3, "secret"))])
async def test_without_a_key_nothing_is_sent(speaker: Speaker) -> None:
    ledger = Ledger(begin_notice_send={**OK, **LINE, "number": "5531988880001"})
    phone = Phone()
    with pytest.raises(SendFailed) as failed:
        await outbox(ledger, phone, keys=NO_KEYS).send(speaker, HELLO)
    assert not failed.value.is_away
    assert phone.bodies == []
    assert ledger.functions in ([], ["begin_notice_send", "fail_send"])


async def test_that_an_answer_names_another_messages_id_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger = Ledger(finish_send={"turn_state": "sent", "id_taken": True})
    with caplog.at_level(logging.WARNING):
        await outbox(ledger, Phone()).send(SPEAKER, HELLO)
    (line,) = caplog.records
    assert "id of another message" in line.message
    assert line.__dict__["fields"] == NAMED
