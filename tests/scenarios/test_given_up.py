"""Answers with a part that can never be had: the rest is said, and the gap is named."""

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from loopback.evolution import failures
from loopback.evolution.answers import error_body
from loopback.faults import Fault, wrong_answer
from loopback.receiver import WebhookReceiver
from loopback.server import LoopbackServer
from tests.clients import patient
from tests.fixtures.sends import PNG, SOUND
from tests.routers import API_KEY
from tests.scenarios.answering import AnsweringN8n
from tests.scenarios.flow import Flow, given
from tests.scenarios.flow import playing as playing_gateway
from tests.scenarios.stage import Stage
from tests.scenarios.test_flows_that_answer import playing

NO = wrong_answer(400, error_body(400, ['instance requires property "x"']))
NO_PICTURE = wrong_answer(500, error_body(500, "Input buffer contains unsupported image format"))


class Shelf(LoopbackServer):
    """Serves pictures; `answers` are the statuses of the next ones, then they are there."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        super().__init__(Starlette(routes=[Route("/{path:path}", self._give)]))

    async def _give(self, request: Request) -> Response:
        if request.url.path == "/huge.png":
            return Response(b"." * 3000)
        status = 404 if request.url.path == "/gone.png" else 200
        if self.answers:
            status = self.answers.pop(0)
        return Response(base64.b64decode(PNG), status_code=status)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Shelf() as shelf:
        yield shelf


@pytest.fixture
def n8n() -> Iterator[AnsweringN8n]:
    with AnsweringN8n() as n8n:
        yield n8n


@asynccontextmanager
async def answering(database_url, evolution, llm, n8n, **more: str) -> AsyncIterator[Stage]:
    terms = {"RETRY_BASE_SECONDS": "0.1", "MAX_MEDIA_BYTES": "1024", **more}
    async with playing(database_url, evolution, llm, n8n, **terms) as stage:
        yield stage


@pytest.fixture
async def stage(database_url: str, evolution, llm, n8n) -> AsyncIterator[Stage]:
    async with answering(database_url, evolution, llm, n8n) as stage:
        yield stage


async def story(stage: Stage, turn: dict[str, Any]) -> dict[str, Any]:
    async with patient(base_url=stage.router_url) as client:
        path = f"/api/turns/{turn['id']}/story?tenant_id={stage.tenant_id}"
        return (await client.get(path, headers={"X-API-Key": API_KEY})).json()


@pytest.mark.parametrize("path", ["gone.png", "huge.png"])
async def test_what_is_not_at_its_address_holds_up_nothing(
    stage: Stage, n8n: AnsweringN8n, shelf: Shelf, path: str
):
    media = {"media": f"{shelf.url}/{path}", "caption": "Bolo de milho"}
    n8n.says({"messages": [{"text": "um"}, media, {"text": "três"}]})
    await stage.maria.writes("tem foto?")
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == ["um", "Bolo de milho", "três"]
    assert (turn["state"], turn["incomplete"], turn["attempt"]) == ("sent", True, 1)
    assert turn["error"].startswith("part 2 (image) is given up: the media of the flow's answer: ")
    assert [each.path for each in n8n.received].count("/webhook/hybridflow-turn") == 1
    told = await story(stage, turn)
    assert "part 2 (image)" in told["answer"][1]
    assert [each for each in told["happenings"] if "never left" in each["says"]]
    (notice,) = await stage.sql("select kind, facts ->> 'reason' as reason from notices")
    assert notice["kind"] == "undelivered"
    assert notice["reason"].startswith("part 2 (image): ")


KINDS: dict[str, tuple[dict[str, Any], str, Fault]] = {
    "a picture": ({"media": PNG, "file_name": "a.png"}, "sendMedia", NO_PICTURE),
    "a document": ({"media": PNG, "file_name": "a.pdf"}, "sendMedia", NO),
    "a voice note": ({"audio": SOUND}, "sendWhatsAppAudio", failures.MEDIA_NOT_FOUND),
    "a sticker": ({"sticker": PNG}, "sendSticker", NO_PICTURE),
    "a place": (
        {"location": {"latitude": 1, "longitude": 2, "name": "Loja", "address": "Rua A"}},
        "sendLocation",
        NO,
    ),
    "a person": ({"contact": {"name": "Ana", "phone": "+55 11 95555-0009"}}, "sendContact", NO),
    "a text": ({"text": "dois"}, "sendText", NO),
    "what is too large": ({"sticker": PNG}, "sendSticker", wrong_answer(413, {})),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_evolution_refuses_for_good_holds_up_nothing(
    stage: Stage, n8n: AnsweringN8n, kind: str
):
    message, endpoint, fault = KINDS[kind]
    n8n.says({"messages": [message, {"text": "três"}]})
    stage.shop.fail(endpoint, fault)
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == ["três"]
    assert (turn["state"], turn["incomplete"]) == ("sent", True)
    assert turn["error"].startswith("part 1 (")


async def test_a_reaction_to_what_is_gone_holds_up_nothing(stage: Stage, n8n: AnsweringN8n):
    n8n.says(
        lambda payload: {
            "messages": [
                {"reaction": "👍", "to": payload["messages"][0]["wa_id"]},
                {"text": "dois"},
            ]
        }
    )
    stage.shop.fail("sendReaction", NO)
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == ["dois"]
    assert turn["error"].startswith("part 1 (reaction) is given up")


async def test_what_may_be_had_later_is_waited_for_and_the_order_kept(
    stage: Stage, n8n: AnsweringN8n, shelf: Shelf
):
    shelf.answers = [503, 429]
    media = {"media": f"{shelf.url}/bolo.png"}
    n8n.says({"messages": [{"text": "um"}, media, {"text": "três"}]})
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"], turn["attempt"]) == ("sent", False, 3)
    rows = await stage.sql("select kind from messages where from_me order by id")
    assert [row["kind"] for row in rows] == ["text", "image", "text"]
    assert len(n8n.received) == 1


@pytest.mark.parametrize("where", ["its address", "Meta"])
async def test_a_media_that_stays_away_is_given_up_with_the_last_attempt(
    database_url: str, evolution, llm, n8n: AnsweringN8n, shelf: Shelf, where: str
):
    async with answering(database_url, evolution, llm, n8n, TURN_MAX_ATTEMPTS="2") as stage:
        if where == "Meta":
            stage.shop.fail("sendMedia", failures.UPLOAD_REFUSED, times=None)
        else:
            shelf.answers = [503] * 9
        media = {"media": f"{shelf.url}/bolo.png", "caption": "Bolo"}
        n8n.says({"messages": [{"text": "um"}, media, {"text": "três"}]})
        await stage.maria.writes("oi")
        (turn,) = await stage.turns_end()
        assert stage.maria.replies == ["um", "Bolo", "três"]
        assert (turn["state"], turn["incomplete"], turn["attempt"]) == ("sent", True, 2)


@pytest.mark.parametrize(
    ("before", "media", "after", "state", "attempts"),
    [
        ([{"text": "um"}], {"caption": "Bolo"}, [{"text": "três"}], "sent", 6),
        ([], {"caption": "Bolo"}, [], "sent", 6),
        ([], {}, [], "dead", 7),
    ],
)
async def test_what_else_is_to_be_said_waits_for_no_media_through_all_attempts(
    database_url: str, evolution, llm, n8n: AnsweringN8n, shelf: Shelf,
    before: list[Any], media: dict[str, str], after: list[Any], state: str, attempts: int,
):  # fmt: skip
    """Of ten attempts the last are a quarter of an hour later, in which nothing else is said."""
    few = {"RETRY_BASE_SECONDS": "0.02", "TURN_MAX_ATTEMPTS": "7"}
    async with answering(database_url, evolution, llm, n8n, **few) as stage:
        shelf.answers = [503] * 9
        n8n.says({"messages": [*before, {"media": f"{shelf.url}/bolo.png", **media}, *after]})
        await stage.maria.writes("tem foto?")
        (turn,) = await stage.turns_end()
        assert (turn["state"], turn["attempt"]) == (state, attempts)
        said = [each["text"] for each in before + after]
        assert stage.maria.replies == [*said[:1], *media.values(), *said[1:]]


async def test_a_turn_of_which_nothing_can_be_had_is_dead_and_can_be_retried(
    stage: Stage, n8n: AnsweringN8n, shelf: Shelf
):
    n8n.says(
        {"messages": [{"media": f"{shelf.url}/gone.png"}, {"sticker": f"{shelf.url}/gone.png"}]},
        {"text": "Sem foto hoje."},
    )
    await stage.maria.writes("tem foto?")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["error_kind"]) == ("dead", "permanent")
    assert stage.maria.replies == []
    told = await story(stage, turn)
    assert told["answer"][0].startswith("It got no answer: the turn is dead.")
    await stage.post(f"/api/turns/{turn['id']}/retry?tenant_id={stage.tenant_id}")
    (turn,) = await stage.turns_end()
    assert (turn["state"], stage.maria.replies) == ("sent", ["Sem foto hoje."])


async def test_a_handoff_behind_it_is_done(stage: Stage, n8n: AnsweringN8n, shelf: Shelf):
    n8n.says(
        {"messages": [{"media": f"{shelf.url}/gone.png"}], "handoff": {"reason": "quer falar"}}
    )
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"], turn["incomplete"]) == ("sent", "handoff", True)
    assert await stage.paused()


async def test_what_concerns_every_part_is_no_part_of_it(stage: Stage, n8n: AnsweringN8n):
    """A refused key, or nobody at the number: nothing behind it is tried."""
    n8n.says({"messages": [{"sticker": PNG}, {"text": "dois"}]})
    stage.shop.fail("sendSticker", failures.BAD_KEY)
    await stage.maria.writes("oi")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["error_kind"]) == ("dead", "permanent")
    assert stage.maria.replies == []


async def test_a_human_who_has_taken_over_is_not_talked_over(
    stage: Stage, n8n: AnsweringN8n, shelf: Shelf
):
    gate = stage.shop.hold("sendMedia")
    stage.shop.fail("sendMedia", NO)
    media = {"media": f"{shelf.url}/bolo.png", "caption": "Bolo"}
    n8n.says({"messages": [media, {"text": "dois"}]})
    await stage.maria.writes("oi")
    await gate.reached()
    await stage.shop.owner.writes(stage.maria, "Eu respondo")
    await stage.until("select is_paused from sessions", lambda rows: rows[0]["is_paused"])
    gate.open()
    (turn,) = await stage.turns_end()
    assert turn["state"] == "cancelled"
    assert stage.maria.replies == []


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


async def test_a_flow_of_the_gateway_is_told_and_its_turn_is_incomplete(
    database_url: str, evolution, llm, receiver: WebhookReceiver, shelf: Shelf
):
    async with playing_gateway(database_url, evolution, llm, receiver) as stage:
        await stage.maria.writes("tem foto?")
        flow: Flow = await given(stage, receiver)
        media = {"mediatype": "image", "media": f"{shelf.url}/gone.png", "caption": "Bolo"}
        for _ in range(2):
            refused = await flow.calls("message/sendMedia", media)
            assert refused.status_code == 400
        assert (await flow.sends("Sem foto hoje.")).status_code == 201
        assert (await flow.reports("done")).is_success
        (turn,) = await stage.turns_end()
        assert (turn["state"], turn["incomplete"]) == ("sent", True)
        assert stage.maria.replies == ["Sem foto hoje."]
        told = await story(stage, turn)
        assert [each for each in told["happenings"] if "part 1 (image) never left" in each["says"]]


async def test_the_rest_of_a_text_behind_a_refused_piece_is_said(
    database_url: str, evolution, llm, receiver: WebhookReceiver
):
    """A gateway flow's text of three messages: the first in doubt, the second refused for good."""
    async with playing_gateway(database_url, evolution, llm, receiver) as stage:
        await stage.maria.writes("conta tudo")
        flow = await given(stage, receiver)
        stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
        stage.shop.fail("sendText", NO)
        paragraphs = "\n\n".join(letter * 3000 for letter in "abc")
        assert (await flow.sends(paragraphs)).status_code == 409
        await flow.reports("done")
        (turn,) = await stage.turns_end()
        assert [reply[0] for reply in stage.maria.replies] == ["a", "c"]
        assert (turn["state"], turn["incomplete"]) == ("sent", True)


@pytest.mark.parametrize("behind", [[], [{"text": "três"}]], ids=["alone", "before a text"])
async def test_the_caption_of_a_first_picture_that_evolution_refuses_is_said(
    stage: Stage, n8n: AnsweringN8n, behind: list[dict[str, str]]
):
    picture = {"media": PNG, "file_name": "a.png", "caption": "Bolo de milho"}
    n8n.says({"messages": [picture, *behind], "usage": {"tokens_in": 7, "tokens_out": 2}})
    stage.shop.fail("sendMedia", NO_PICTURE)
    await stage.maria.writes("tem foto?")
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == ["Bolo de milho", *(each["text"] for each in behind)]
    assert (turn["state"], turn["incomplete"], turn["attempt"]) == ("sent", True, 1)
    assert (turn["tokens_in"], turn["tokens_out"]) == (7, 2)
