"""The examples that builders begin with, in a real n8n: each does what its note says."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from loopback.evolution import failures
from loopback.evolution.contents import image, voice
from loopback.openai import OpenAI
from loopback.replies import calls_tool
from loopback.server import LoopbackServer
from loopback.speech import SpeechService
from tests.n8n.test_trying import tries
from tests.n8n_server import TestN8n

pytestmark = pytest.mark.n8n
JPEG = b"\xff\xd8\xff" + b"a picture of a cake" * 20
ANSWERS = {"N8N_CONTRACT": "answer", "RETRY_BASE_SECONDS": "0.1", "TURN_MAX_ATTEMPTS": "1"}


class ShopApi(LoopbackServer):
    """What a shop has on the web: what it knows, and a calendar."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

        async def get(request: Request) -> JSONResponse:
            self.asked.append((request.url.path, dict(request.query_params)))
            return JSONResponse({"found": "carrot cake is R$ 32", "free": ["2026-11-27T15:00"]})

        async def book(request: Request) -> JSONResponse:
            self.asked.append((request.url.path, await request.json()))
            return JSONResponse({"booked": True}, status_code=201)

        routes = [
            Route("/knowledge", get),
            Route("/calendar/free", get),
            Route("/calendar/bookings", book, methods=["POST"]),
        ]
        super().__init__(Starlette(routes=routes))


@pytest.fixture
def shop(n8n: TestN8n) -> Iterator[ShopApi]:
    with ShopApi() as shop:
        n8n.shop.leads_to(shop.url)
        yield shop
        n8n.shop.leads_to(None)


async def test_a_voice_note_is_heard_in_the_flow(staged, n8n: TestN8n, llm):
    llm.answers("Anotado: dois bolos.")
    with SpeechService() as speech:
        n8n.openai.leads_to(speech.url)
        async with staged("media", **ANSWERS) as stage:
            await stage.maria.sends(voice())
            (turn,) = await stage.turns_end()
            assert stage.maria.replies == ["Anotado: dois bolos."]
        n8n.openai.leads_to(None)
    assert (turn["state"], turn["handler"]) == ("sent", "n8n")
    (heard,) = speech.heard
    assert (heard.name, heard.fields["model"]) == ("voice.ogg", "whisper-1")
    assert llm.requests[-1].body["messages"][-1]["content"] == "quero dois bolos de chocolate"


async def test_a_picture_is_seen_in_the_flow(staged, llm):
    llm.answers("Que bolo lindo!")
    async with staged("media", **ANSWERS) as stage:
        message = stage.maria.sends(image("o bolo"))
        stage.shop.received[message.wa_id] = JPEG
        await message
        (turn,) = await stage.turns_end()
        assert stage.maria.replies == ["Que bolo lindo!"]
    assert turn["handler"] == "n8n"
    picture, words = llm.requests[-1].body["messages"][-1]["content"]
    assert (picture["type"], picture["source"]["data"]) == ("image", b64encode(JPEG).decode())
    assert "o bolo" in words["text"]


async def test_a_media_that_cannot_be_had_is_told_and_ends_red(staged, n8n: TestN8n, llm):
    async with staged("media", **ANSWERS) as stage:
        stage.shop.fail("getBase64FromMediaMessage", failures.MEDIA_NOT_FOUND, times=None)
        await stage.maria.sends(image("o bolo"))
        (turn,) = await stage.turns_end()
        await n8n.falls_silent()
    assert turn["state"] == "dead"
    assert (await n8n.execution(turn["execution_id"]))["status"] == "error"


async def test_the_agent_remembers_looks_up_and_books_once(staged, llm, shop: ShopApi):
    llm.answers(calls_tool("Look_up", question="carrot cake"), "R$ 32.")
    async with staged("tools", **ANSWERS) as stage:
        await stage.maria.writes("quanto custa o de cenoura?")
        await stage.maria.answered()
        await stage.turns_end()
        llm.answers(
            calls_tool("Free_times", day="2026-11-27"),
            calls_tool("Book", time="2026-11-27T15:00", what="pick up"),
            "Marcado para as 15h.",
        )
        await stage.maria.writes("posso buscar amanhã?")
        await stage.maria.answered(2)
        (_, turn) = await stage.turns_end()
        assert stage.maria.replies == ["R$ 32.", "Marcado para as 15h."]
    said = [(role, text) for role, text in llm.requests[-1].messages[:3]]
    assert [role for role, _ in said] == ["user", "assistant", "user"]
    assert said[1][1] == "R$ 32."
    look_up, free, (path, booking) = shop.asked
    assert look_up == ("/knowledge", {"q": "carrot cake"})
    assert free == ("/calendar/free", {"day": "2026-11-27"})
    assert path == "/calendar/bookings"
    assert (booking["once"], booking["dry"]) == (f"turn-{turn['id']}", False)


async def test_the_agent_asks_the_tenants_own_provider(staged, n8n: TestN8n, llm):
    with OpenAI() as openai:
        openai.answers("Oi!")
        n8n.openai.leads_to(openai.url)
        async with staged("tools", **ANSWERS) as stage:
            await stage.sql("update tenants set llm_provider = 'openai', llm_model = 'gpt-own'")
            await stage.maria.writes("oi")
            await stage.turns_end()
            assert stage.maria.replies == ["Oi!"]
        n8n.openai.leads_to(None)
    assert openai.requests[-1].body["model"] == "gpt-own"
    assert llm.requests == []


@pytest.mark.parametrize("business", ["padaria-sol", "padaria"])
async def test_a_branch_for_a_business(staged, llm, business: str):
    llm.answers("Oi!")
    async with staged("branch", **ANSWERS) as stage:
        await stage.sql("update tenants set instance_name = $1", business)
        tried = await tries(stage, business)
    texts = [each["text"] for each in tried["said"]]
    mine = business == "padaria-sol"
    assert texts == (["Bem-vindo à Padaria Sol! Nosso cardápio:", None] if mine else ["Oi!"])
