"""What n8n's webhooks answer is made by flows: nothing in it may hold the router up."""

import codecs
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from router.llm.errors import LlmFailed
from router.llm.provider import Prompt, PromptMessage
from router.n8n.executions import ExecutionEraser, ExecutionsApi
from router.n8n.flows import FlowRules
from router.n8n.handler import N8nHandler
from router.n8n.notice_flows import NoticeFlows, NoticeTerms
from router.n8n.payload import FlowTerms
from router.outbound.answers import beginning
from router.replies.making import HandedOver
from tests.unit.test_fallback import turn

TERMS = FlowTerms("http://router.example", 90, {"anthropic": "c", "openai": "g"}, 1000)
RULES = FlowRules("http://n8n.example/webhook", SecretStr("key"), TERMS, True, 15, "gateway")
PROMPT = Prompt("Be kind.", (PromptMessage("user", "oi"),))
NAMED = "text/plain; charset=takes-the-square"


@pytest.fixture(autouse=True)
def encoding() -> Iterator[None]:
    """An encoding that Python knows, and that nobody may use."""

    def never(*_: Any) -> Any:
        raise AssertionError("read in the encoding that the answer named")

    def find(name: str) -> codecs.CodecInfo | None:
        if name.replace("_", "-") != "takes-the-square":
            return None
        return codecs.CodecInfo(never, never, incrementaldecoder=never, name=name)  # type: ignore[arg-type]

    codecs.register(find)
    yield
    codecs.unregister(find)


class Database:
    async def call(self, function: str, argument: Any) -> Any:
        return {"ok": True}


def answering(response: httpx.Response) -> httpx.AsyncClient:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.content or request.method == "DELETE":
            return response
        return httpx.Response(403)  # a probe

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def handler(response: httpx.Response) -> N8nHandler:
    return N8nHandler(answering(response), Database(), RULES, None)  # type: ignore[arg-type]


async def test_an_error_is_read_as_utf_8_whatever_it_names():
    refused = httpx.Response(500, headers={"Content-Type": NAMED}, content=b"o fluxo \xff morreu")
    with pytest.raises(LlmFailed, match="n8n answered 500: o fluxo � morreu"):
        await handler(refused).make(turn(), PROMPT)


async def test_so_it_is_where_notices_and_executions_are_refused():
    refused = httpx.Response(500, headers={"Content-Type": NAMED}, content="não".encode())
    http = answering(refused)
    eraser = ExecutionEraser(
        Database(), http, ExecutionsApi("http://n8n.example", SecretStr("key"))
    )
    assert await eraser._delete("7") == "n8n answered 500: não"
    terms = NoticeTerms("http://n8n.example/webhook", SecretStr("key"), "http://r.example", 90)
    flows = NoticeFlows(http, handler(refused), terms)
    assert flows is not None


@pytest.mark.parametrize(
    "said", [b"[" * 100_000, b"[" + b"[]," * 400_000 + b"1]", b'{"execution_id": 1e999}', b"\xff"]
)
async def test_what_is_monstrous_names_no_execution_and_the_flow_has_the_turn(said: bytes):
    taken = httpx.Response(200, headers={"Content-Type": NAMED}, content=said)
    assert isinstance(await handler(taken).make(turn(), PROMPT), HandedOver)


def test_a_beginning_is_no_longer_than_it_may_be():
    assert beginning("ã".encode() * 1000, 10) == "ã" * 10
    assert beginning(b"", 10) == ""
