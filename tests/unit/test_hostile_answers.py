"""A server that a tenant names may answer anything: it is an answer, or one of our own errors."""

import json
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from router.evolution.errors import EvolutionError, SendInDoubt
from router.evolution.exchange import Instance
from tests.evolution import WholeEvolution
from tests.for_each import for_each

SHOP = Instance("http://evolution.example", SecretStr("a-key"), "padaria")
DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_MESSAGE = b'{"response": {"message": ' + b"[" * 900 + b"]" * 900 + b"}}"
HUGE = b'{"key": {"id": ' + b"9" * 5000 + b"}}"
STRANGE: list[Any] = [
    *(None, True, 7, 1e300, "text", [], [[]], {}, {"a": []}, [None], [{"key": 7}]),
    *({"messages": 7}, {"messages": {"records": 7, "pages": "x", "total": {}}}),
    *({"messages": {"records": [7, None], "pages": [1], "total": True}},),
    *({"instance": 7}, {"instance": {"state": {"a": 1}}}, {"code": {}, "base64": 7}),
    *({"url": {"a": 1}}, {"url": "http://x", "events": 7, "headers": [1]}),
    *({"url": "http://x", "events": [None, 1], "headers": {"a": {"b": 1}}},),
    *(
        {"response": {"message": {"message": [None, {"error": 7}]}}},
        {"exists": False, "number": []},
    ),
    *({"key": {"id": 7}}, {"key": {"id": ["a"]}}, {"key": {"id": {"a": 1}}}, {"key": "a"}),
    *({"code": 1e300}, {"code": True}, {"message": {"a": 1}}, {"error": ["x"]}),
]
BODIES = [DEEP, DEEP_MESSAGE, HUGE, b"{", b"\xff\xfe", b"", b"NaN", b'{"code": 1e999}']
BODIES += [json.dumps(value).encode() for value in STRANGE]


def client(status: int, body: bytes) -> WholeEvolution:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body)

    return WholeEvolution(httpx.AsyncClient(transport=httpx.MockTransport(answer)))


async def outcome(question: Awaitable[object]) -> object:
    try:
        return await question
    except EvolutionError as error:
        return str(error)[:3000].encode()  # it is going to be stored


@for_each("status", [200, 201, 400, 404, 500])
@for_each("place", range(len(BODIES)))
async def test_any_answer_is_an_answer_or_an_error_of_ours(status: int, place: int) -> None:
    evolution = client(status, BODIES[place])
    asked = [
        evolution.send(SHOP, "message/sendText", {"number": "5511", "text": "oi"}),
        evolution.send_presence(SHOP, "5511"),
        evolution.find_messages(SHOP, None),
        evolution.connection_state(SHOP),
        evolution.connect(SHOP),
        evolution.find_webhook(SHOP),
    ]
    for question in asked:
        said = str(await outcome(question))
        assert len(said) < 200_000


@pytest.mark.parametrize("wa_id", [7, ["a"], {"a": 1}, "", "\x00", "x" * 501, None, True])
async def test_a_send_without_an_id_that_can_be_kept_is_in_doubt(wa_id: Any) -> None:
    body = json.dumps({"key": {"id": wa_id, "remoteJid": "5511@s.whatsapp.net"}}).encode()
    with pytest.raises(SendInDoubt):
        await client(201, body).send(SHOP, "message/sendText", {"number": "5511", "text": "oi"})


@pytest.mark.parametrize("value", [7, ["a"], {"a": 1}, True, "\x00\ud800", "x" * 10_000, None])
async def test_what_else_a_send_answers_is_text_that_can_be_kept(value: Any) -> None:
    answer = {"key": {"id": "3EB0\x00AA", "remoteJid": value}, "status": value}
    body = json.dumps(answer).encode()
    sent = await client(201, body).send(SHOP, "message/sendText", {"number": "55", "text": "oi"})
    assert sent.wa_id == "3EB0AA"
    for kept in (sent.remote_jid, sent.status or ""):
        assert len(kept) <= 200
        assert "\x00" not in kept
        kept.lower().encode()


async def test_a_record_that_nobody_can_read_spoils_no_other() -> None:
    deep: Any = "text"
    for _ in range(300):
        deep = {"quoted": deep}
    found = {"messages": {"records": [deep, {"key": {"id": "A"}}, 7], "pages": 1, "total": 3}}
    page = await client(200, json.dumps(found).encode()).find_messages(SHOP, None)
    assert list(page.records) == [{"key": {"id": "A"}}]
