"""A flow that means harm: to another customer, a tenant, the router, or Evolution's network."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from loopback.evolution import failures
from loopback.faults import wrong_answer
from loopback.server import LoopbackServer
from loopback.waiting import Changes, Gate
from router.n8n.requests import understood
from tests.clients import patient
from tests.fixtures.sends import PNG, SOUND
from tests.scenarios.flow import Flow, given, n8n, playing, stage
from tests.scenarios.stage import Stage

__all__ = ["n8n", "stage"]
JOAO = "5511955550002"
SEND = "/n8n/evolution/message/sendText/padaria"


async def maria_asks(stage: Stage, n8n) -> Flow:
    await stage.maria.writes("tem bolo?")
    return await given(stage, n8n)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["response"]["reason"]


# --- another customer


async def test_a_reaction_neither_reaches_nor_merges_another_customer(stage: Stage, n8n):
    joao = stage.shop.customer(JOAO, name="João")
    await joao.writes("o meu segredo")
    joaos = await given(stage, n8n)
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n, 2)
    theirs = joaos.payload["messages"][-1]["wa_id"]
    mine = flow.payload["messages"][-1]["wa_id"]
    jid = f"{JOAO}@s.whatsapp.net"
    for key, where in (
        ({"id": theirs, "remoteJid": jid}, "key"),
        ({"id": mine, "remoteJid": jid}, "key"),
        ({"id": theirs, "remoteJid": flow.payload["session"]["number"]}, "key"),
        ({"id": "NOBODYS", "remoteJid": flow.payload["session"]["number"]}, "key"),
    ):
        body = {"key": key | {"fromMe": False}, "reaction": "👍"}
        assert refused(await flow.calls("message/sendReaction", body)) == (403, where)
    quoting = await flow.sends("Temos!", quoted={"key": {"id": theirs}})
    assert refused(quoting) == (403, "quoted")
    assert stage.shop.sent == {}
    assert len(await stage.sessions()) == 2
    await joaos.sends("Fica entre nós.")
    assert (joao.replies, stage.maria.replies) == (["Fica entre nós."], [])


async def test_an_answer_that_names_another_customer_merges_nobody(stage: Stage, n8n):
    joao = stage.shop.customer(JOAO, name="João")
    await joao.writes("o meu segredo")
    joaos = await given(stage, n8n)
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n, 2)
    stage.shop.fail("sendText", failures.answered_as(f"{JOAO}@s.whatsapp.net"))
    assert (await flow.sends("Temos!")).status_code == 201
    assert len(await stage.sessions()) == 2
    await joaos.sends("Fica entre nós.")
    assert (joao.replies, stage.maria.replies) == (["Fica entre nós."], ["Temos!"])


# --- fields, queries, bodies


@pytest.mark.parametrize("name", ["instanceName", "options", "textMessage", "statusJidList"])
async def test_a_field_that_is_not_known_is_refused_by_name_and_nothing_is_sent(
    stage: Stage, n8n, name: str
):
    flow = await maria_asks(stage, n8n)
    assert refused(await flow.sends("Temos!", **{name: "B"})) == (400, name)
    assert stage.shop.sent == {}
    assert (await flow.sends("Temos!", **{name: None})).status_code == 201


async def test_nothing_of_the_query_travels_on(stage: Stage, n8n):
    flow = await maria_asks(stage, n8n)
    answer = await flow.post(f"{SEND}?instanceName=farmacia", {"text": "oi"})
    assert refused(answer) == (400, "query")
    assert stage.shop.sent == {}


BODIES = [
    b'{"text": "oi", "delay": NaN}',
    b'{"text": "oi", "delay": 1e999}',
    b'{"text": "oi", "delay": "abc"}',
    b'{"latitude": NaN, "longitude": 1, "name": "a", "address": "b"}',
    b'{"mediatype": "image", "media": "aGk=", "caption": NaN}',
    b'{"mediatype": "image", "media": "\\ud800"}',
    b'{"mediatype": "image", "media": "no base64!"}',
    b'{"mediatype": "image", "media": 7}',
    b'{"mediatype": {"a": 1}, "media": "aGk="}',
    b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    '{"text": "oi"}'.encode("utf-16"),
    b"[]",
    b"{",
]


async def test_no_body_ends_in_a_5xx_or_leaves_a_part_half_sent(stage: Stage, n8n):
    flow = await maria_asks(stage, n8n)
    paths = ("message/sendText", "message/sendMedia", "message/sendLocation", "chat/sendPresence")
    async with patient(base_url=stage.router_url) as client:
        for path in paths:
            for body in BODIES:
                answer = await client.post(
                    f"/n8n/evolution/{path}/padaria",
                    content=body,
                    headers={"apikey": flow.token, "Content-Type": "application/json"},
                )
                assert 400 <= answer.status_code < 500, (path, body[:80], answer.text)
    assert await stage.sql("select * from messages where from_me") == []
    pale = {"mediatype": "image", "media": PNG, "caption": "b\ud800o", "fileName": "a\ud800.png"}
    async with patient(base_url=stage.router_url) as client:
        answer = await client.post(
            "/n8n/evolution/message/sendMedia/padaria",
            content=json.dumps(pale).encode(),  # as JavaScript writes half of a pair
            headers={"apikey": flow.token, "Content-Type": "application/json"},
        )
    assert answer.status_code == 201, answer.text
    (sent,) = await stage.sql("select * from messages where from_me")
    assert sent["send_state"] == "sent"


REPORTS = [
    b'{"seconds": NaN, "execution_id": NaN, "retry_after": NaN, "tokens_in": NaN, "reason": NaN}',
    b'{"seconds": 1e999, "retry_after": 1e999, "tokens_in": 1e999, "execution_id": "1"}',
    b'{"execution_id": "\\ud800", "reason": "\\ud800", "error": "\\ud800", "summary": "\\ud800"}',
    b'{"execution_id": "\\u0000", "reason": "\\u0000", "error": "\\u0000", "summary": "\\u0000"}',
    b'{"tokens_in": ' + b"9" * 5000 + b"}",
    *BODIES,
]


async def test_the_execution_that_n8n_answers_with_is_not_that_of_a_flow_that_claimed_it(
    stage: Stage, n8n
):
    pharmacy = await stage.open_cloud_shop()
    flow = await maria_asks(stage, n8n)
    await flow.reports("began", execution_id="4711")
    n8n.says["execution_id"] = "4711"
    await pharmacy.customer(JOAO, name="João").writes("tem xarope?")
    theirs = (await given(stage, n8n, 2)).payload["turn_id"]
    await stage.until(
        "select * from turns where execution_told_at is not null and execution_id = '4711'",
        lambda rows: [row["id"] for row in rows] == [theirs],
    )
    assert (await flow.reports("began", execution_id="4711", by_n8n=True)).status_code == 409


@pytest.mark.parametrize("what", ["began", "extend", "handoff", "fail", "done"])
async def test_no_report_of_a_flow_ends_in_a_5xx(stage: Stage, n8n, what: str):
    flow = await maria_asks(stage, n8n)
    async with patient(base_url=stage.router_url) as client:
        for body in REPORTS:
            answer = await client.post(
                f"/n8n/turns/{flow.payload['turn_id']}/{what}",
                content=body,
                headers={"apikey": flow.token, "Content-Type": "application/json"},
            )
            assert answer.status_code < 500, (body[:80], answer.text)


async def test_what_a_hostile_server_answers_of_a_send_is_no_5xx(stage: Stage, n8n):
    flow = await maria_asks(stage, n8n)
    for number, body in enumerate(
        (
            {"key": {"id": {"a": 1}}, "status": "PENDING"},
            {"key": {"id": "3EB0AA", "remoteJid": 7}, "status": {"a": [1]}},
            [[]],
        )
    ):
        stage.shop.fail("sendText", wrong_answer(201, body, after=True))
        answer = await flow.sends(f"Temos {number}!")
        assert answer.status_code in (201, 409), answer.text
        rows = await stage.sql("select send_state from messages where from_me order by id")
        assert "sending" not in {row["send_state"] for row in rows}
        if answer.status_code == 409:
            return


# --- who may still act


async def test_after_done_nothing_is_shown_any_more(stage: Stage, n8n):
    flow = await maria_asks(stage, n8n)
    shown = await flow.calls("chat/sendPresence", {"presence": "composing", "delay": 100})
    assert shown.status_code == 201
    await flow.reports("done")
    late = await flow.calls("chat/sendPresence", {"presence": "composing", "delay": 100})
    assert refused(late) == (409, "superseded")
    assert len(stage.shop.calls("sendPresence")) == 1


async def test_after_a_takeover_nobody_seems_to_type(stage: Stage, n8n):
    flow = await maria_asks(stage, n8n)
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    assert refused(await flow.calls("chat/sendPresence", {})) == (409, "paused")
    assert stage.shop.calls("sendPresence") == []


async def test_a_foreign_turn_and_none_are_answered_alike(stage: Stage, n8n):
    flow = await maria_asks(stage, n8n)
    secret = flow.token.rsplit("_", 1)[1]
    other = "00000000-0000-4000-8000-000000000001"
    mine = f"hft_{flow.payload['turn_id']}_{other}"
    answers = [
        (await flow.post(SEND, {"text": "oi"}, token)) for token in (mine, f"hft_999_{secret}")
    ]
    assert answers[0].status_code == answers[1].status_code == 409
    assert answers[0].content == answers[1].content
    told = [
        await flow.post(f"/n8n/turns/{token.split('_')[1]}/done", {}, token)
        for token in (mine, f"hft_999_{secret}")
    ]
    assert told[0].status_code == told[1].status_code == 409
    assert told[0].content == told[1].content


# --- the time before the fence


@pytest.fixture
def delay(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The end of every delay that a flow asks for."""
    gate = Gate(Changes(), "the end of a flow's delay")

    async def sleep(seconds: float) -> None:
        if seconds > 0:
            await gate.pass_through()

    own_asyncio = SimpleNamespace(**{**vars(asyncio), "sleep": sleep})
    monkeypatch.setattr("router.n8n.flow_request.asyncio", own_asyncio)
    return gate


async def test_a_delay_is_waited_before_the_fence(stage: Stage, n8n, delay: Gate):
    """A human who writes in it is not talked over."""
    flow = await maria_asks(stage, n8n)
    waiting = asyncio.create_task(flow.sends("Temos!", delay=10_000))
    await delay.reached()
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    await stage.until("select is_paused from sessions where is_paused", bool)
    delay.open()
    assert refused(await waiting)[0] == 409
    assert stage.shop.sent == {}
    assert stage.shop.calls("markMessageAsRead") == []


async def test_what_is_sent_is_marked_as_read_whatever_stood_in_its_way_before_its_delay(
    stage: Stage, n8n, delay: Gate
):
    flow = await maria_asks(stage, n8n)
    await stage.change(is_active=False)
    waiting = asyncio.create_task(flow.sends("Temos!", delay=10_000))
    await delay.reached()
    await stage.change(is_active=True)
    delay.open()
    assert (await waiting).status_code == 201
    await stage.evolution.changes.until(lambda: stage.shop.read, "the message is marked as read")


async def test_of_a_delay_nothing_reaches_evolution_and_a_repeat_waits_for_nothing(
    stage: Stage, n8n
):
    flow = await maria_asks(stage, n8n)
    first = await flow.sends("Temos!", delay=1)
    assert first.status_code == 201
    assert "delay" not in stage.shop.calls("sendText")[-1].body
    async with asyncio.timeout(5):
        again = await flow.sends("Temos!", delay=10_000)
    assert again.json() == first.json()


async def test_one_turn_has_no_more_than_eight_requests_under_way(stage: Stage, n8n):
    flow = await maria_asks(stage, n8n)
    waiting = [
        asyncio.create_task(flow.sends(f"Temos {number}!", delay=3000)) for number in range(12)
    ]
    given = await asyncio.gather(*waiting)
    answers = sorted(answer.status_code for answer in given)
    refused = [answer.json() for answer in given if answer.status_code == 503]
    assert {each["response"]["reason"] for each in refused} == {"too_many_at_once"}
    assert answers.count(503) >= 1
    assert set(answers) <= {201, 503}


async def test_one_tenant_has_not_all_places_and_what_flows_report_needs_none(
    database_url: str, evolution, llm, n8n
):
    async with playing(database_url, evolution, llm, n8n, MAX_CONCURRENT_REQUESTS="8") as stage:
        flow = await maria_asks(stage, n8n)
        sends = [
            asyncio.create_task(flow.sends(f"Temos {number}!", delay=8000)) for number in range(4)
        ]
        (first,), held = await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
        assert refused(first.result()) == (503, "busy")
        assert (await flow.reports("handoff", reason="quer um humano")).status_code == 200
        assert not any(send.done() for send in held)
        assert {(await send).status_code for send in held} == {409}
        await stage.turns_end()
        (told,) = stage.shop.calls("sendText")  # of the handoff, by the router itself
        assert "Temos" not in str(told.body)


# --- tokens


async def test_what_is_no_token_is_answered_as_one_that_nobody_knows(stage: Stage, n8n):
    """In whatever spelling, at every door, with bodies of any size: nothing of it gets to SQL."""
    flow = await maria_asks(stage, n8n)
    turn, secret = flow.payload["turn_id"], flow.token.split("_")[2]
    written = secret.replace("-", "")
    spellings = (
        *(f"urn:uuid:{secret}", f"{{{secret}}}", f"+{written[1:]}", "-".join(written), written),
        *(f"{written[:4]}_{written[5:]}", f"0x{written[2:]}", secret.upper(), f"{secret[:-1]}g"),
    )
    junk = [f"hft_{turn}_{spelling}" for spelling in spellings]
    junk += [f"hft_0{turn}_{secret}", f"hft_{turn}_000_{secret}", f"hft_{'9' * 19}_{secret}"]
    junk += [token.replace("hft_", "hfn_") for token in junk]
    for token in junk:
        for text in ("oi", "x" * 70_000):
            answer = await flow.post(SEND, {"text": text}, token=token)
            assert refused(answer) == (401, "token"), token
        for path in (f"/n8n/turns/{turn}/extend", f"/n8n/turns/{turn}/done", "/n8n/notices/1/done"):
            answer = await flow.post(path, {}, token=token)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unknown_token")
    assert (await flow.sends("Temos!")).status_code == 201


# --- long requests


async def test_what_takes_long_is_done_beside_the_loop_and_never_for_a_closed_turn(
    stage: Stage, n8n, monkeypatch: pytest.MonkeyPatch
):
    """Several long requests of one turn: one is worked on at a time, and none once it is closed."""
    flow = await maria_asks(stage, n8n)
    begun, end = threading.Event(), threading.Event()
    worked_on: list[tuple[str, int]] = []

    def slowly(path: str, written: bytes, contact: tuple[str, ...]) -> object:
        worked_on.append((threading.current_thread().name[:16], len(written)))
        begun.set()
        if len(written) > 4000:
            assert end.wait(30)
        return understood(path, written, contact)

    monkeypatch.setattr("router.n8n.flow_request.understood", slowly)
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("message/sendText", {"text": "Temos! " * 1000}),
        ("message/sendMedia", {"mediatype": "image", "media": "A" * 100_000}),
        ("message/sendText", {"text": "Temos " * 2000}),
        ("message/sendList", {"description": "d" * 4096}),
    ]
    sends = [asyncio.create_task(flow.calls(*body)) for body in bodies]
    assert await asyncio.to_thread(begun.wait, 30)
    assert (await flow.calls("chat/sendPresence", {"presence": "composing"})).status_code == 201
    assert (await flow.reports("done")).status_code == 200
    end.set()
    answers = [await send for send in sends]
    assert {refused(answer) for answer in answers} == {(409, "superseded")}
    long = [thread for thread, size in worked_on if size > 2048]
    assert long == ["a flow's request"]
    assert not stage.shop.sent


async def test_what_is_too_long_is_refused_and_the_turn_goes_on(stage: Stage, n8n):
    flow = await maria_asks(stage, n8n)
    text = "*a " * 2_000_000
    media = {"mediatype": "image", "media": "aGk=", "caption": text}
    assert refused(await flow.sends(text)) == (400, "text")
    assert refused(await flow.calls("message/sendMedia", media)) == (400, "caption")
    assert (await flow.sends("Temos!")).status_code == 201


# --- media


class Pictures(LoopbackServer):
    """A server of pictures, which notes who asked for what."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = Gate(Changes(), "the gate before /held.png")
        super().__init__(Starlette(routes=[Route("/{path:path}", self._give)]))

    async def _give(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if request.url.path == "/held.png":
            await self.gate.pass_through()
        if request.url.path == "/moved.png":
            return RedirectResponse("/bolo.png")
        if request.url.path == "/huge.png":
            return Response(b"\x89PNG" + b"." * 3000)
        if request.url.path.endswith(".ogg"):
            return Response(base64.b64decode(SOUND), media_type="audio/ogg")
        return Response(base64.b64decode(PNG), media_type="image/png")


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    with Pictures() as server:
        yield server


async def test_who_writes_while_a_picture_is_fetched_is_not_talked_over_nor_read(
    stage: Stage, n8n, pictures: Pictures
):
    """What nobody has answered stays unread on the phone of the business."""
    flow = await maria_asks(stage, n8n)
    body = {"mediatype": "image", "media": f"{pictures.url}/held.png"}
    sending = asyncio.create_task(flow.calls("message/sendMedia", body))
    await pictures.gate.reached()
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    await stage.until("select is_paused from sessions where is_paused", bool)
    pictures.gate.open()
    assert refused(await sending)[0] == 409
    assert stage.shop.sent == {}
    assert stage.shop.calls("markMessageAsRead") == []


async def test_evolution_is_given_the_bytes_of_what_stands_at_an_address(
    stage: Stage, n8n, pictures: Pictures
):
    flow = await maria_asks(stage, n8n)
    asked: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("message/sendMedia", "media", {"mediatype": "image", "caption": "Bolo"}),
        ("message/sendMedia", "media", {"mediatype": "document"}),
        ("message/sendSticker", "sticker", {}),
        ("message/sendPtv", "video", {}),
        ("message/sendWhatsAppAudio", "audio", {}),
    )
    for path, name, more in asked:
        ending, content = ("ogg", SOUND) if name == "audio" else ("png", PNG)
        body = {name: f"{pictures.url}/docs/bolo.v2.{ending}", **more}
        sent = await flow.calls(path, body)
        assert sent.status_code == 201, sent.text
        left = stage.shop.calls(path.removeprefix("message/"))[-1].body
        assert left[name] == content
        assert left.get("fileName") == (
            "bolo.v2.png" if more == {"mediatype": "document"} else None
        )
        fetched = len(pictures.asked)
        assert (await flow.calls(path, body)).json() == sent.json()
        assert len(pictures.asked) == fetched
    await flow.reports("done")
    await stage.turns_end()
    rows = await stage.sql("select body, send_state from messages where from_me order by id")
    assert {row["send_state"] for row in rows} == {"sent"}
    assert [row["body"] for row in rows[:2]] == ['[image: "Bolo"]', '[document "bolo.v2.png"]']


async def test_of_what_is_no_sound_no_empty_voice_message_is_sent(
    stage: Stage, n8n, pictures: Pictures
):
    """Evolution would send one, and say that all is well."""
    flow = await maria_asks(stage, n8n)
    cut_off = SOUND[:40]
    for audio in (PNG, cut_off, base64.b64encode(b"nada").decode(), f"{pictures.url}/bolo.png"):
        answer = await flow.calls("message/sendWhatsAppAudio", {"audio": audio})
        assert refused(answer) == (400, "audio")
        assert "it is not a sound: " in answer.text
    lost = await stage.sql("select send_state, given_up from messages where from_me")
    assert {each["send_state"] for each in lost} == {"failed"}
    assert stage.shop.calls("sendWhatsAppAudio") == []
    sent = await flow.calls("message/sendWhatsAppAudio", {"audio": SOUND})
    assert sent.status_code == 201
    await flow.reports("done")
    assert len(stage.shop.calls("sendWhatsAppAudio")) == 1


async def test_what_is_too_large_or_elsewhere_is_refused_before_the_fence(
    database_url, evolution, llm, n8n, pictures: Pictures
):
    async with playing(database_url, evolution, llm, n8n, MAX_MEDIA_BYTES="1024") as stage:
        flow = await maria_asks(stage, n8n)
        for path, status in (("huge.png", 400), ("moved.png", 400)):
            body = {"mediatype": "image", "media": f"{pictures.url}/{path}"}
            assert refused(await flow.calls("message/sendMedia", body)) == (status, "media")
        buttons = {"title": "x", "buttons": [], "thumbnailUrl": f"{pictures.url}/huge.png"}
        assert refused(await flow.calls("message/sendButtons", buttons)) == (400, "thumbnailUrl")
        lost = await stage.sql("select * from messages where from_me order by id")
        assert [each["send_state"] for each in lost] == ["failed"] * len(lost)
        assert "it has more than 1024 bytes" in lost[0]["given_up"]


@pytest.mark.parametrize("host", ["127.0.0.1:9", "169.254.169.254", "10.0.0.1", "[::1]", "0x7f.1"])
async def test_no_media_is_fetched_from_inside(database_url, evolution, llm, n8n, host: str):
    """The deployment lets Evolution be inside, and nothing else."""
    allowed = evolution.url.removeprefix("http://")
    async with playing(database_url, evolution, llm, n8n, ALLOWED_NETWORKS=allowed) as stage:
        flow = await maria_asks(stage, n8n)
        body = {"mediatype": "image", "media": f"http://{host}/a.png"}
        answer = await flow.calls("message/sendMedia", body)
        assert refused(answer) == (400, "media")
        assert stage.shop.calls("sendMedia") == []
