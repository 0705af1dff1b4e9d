"""Flows of the answer contract: they say what is to be said, and the router sends it, once."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import Response

from loopback.connections import serving
from loopback.evolution import failures
from router.replies.handoffs import HANDOFF_MESSAGE
from tests.fixtures.sends import PNG, SOUND
from tests.scenarios.answering import AnsweringN8n
from tests.scenarios.cutting import CuttingProxy
from tests.scenarios.flow import KEY, Flow
from tests.scenarios.stage import Stage, dark_stage, performance

ANSWERING = {"N8N_ENABLED": "true", "N8N_API_KEY": KEY}


@pytest.fixture
def n8n() -> Iterator[AnsweringN8n]:
    with AnsweringN8n() as n8n:
        yield n8n


@asynccontextmanager
async def playing(database_url, evolution, llm, n8n, **more: str) -> AsyncIterator[Stage]:
    configuration = {**ANSWERING, "N8N_WEBHOOK_URL": f"{n8n.url}/webhook", **more}
    async with performance(database_url, evolution, llm, **configuration) as stage:
        yield stage


@pytest.fixture
async def stage(database_url: str, evolution, llm, n8n) -> AsyncIterator[Stage]:
    async with playing(database_url, evolution, llm, n8n, RETRY_BASE_SECONDS="0.1") as stage:
        yield stage


async def test_what_a_flow_answers_is_said_and_the_turn_closed(stage: Stage, n8n: AnsweringN8n):
    usage = {"provider": "anthropic", "model": "claude", "tokens_in": 70, "tokens_out": 5}
    n8n.says({"text": "**Temos**!", "usage": usage, "execution_id": "4711"})
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == ["*Temos*!"]
    assert (turn["state"], turn["handler"], turn["incomplete"]) == ("sent", "n8n", False)
    assert (turn["provider"], turn["tokens_in"], turn["tokens_out"]) == ("anthropic", 70, 5)
    assert turn["execution_id"] == "4711"
    (received,) = n8n.received
    assert (received.body["version"], received.body["contract"]) == (2, "answer")
    assert received.headers["x-n8n-api-key"] == KEY


async def test_all_kinds_of_messages_in_their_order(stage: Stage, n8n: AnsweringN8n):
    place = {"latitude": -23.5, "longitude": -46.6, "name": "Loja", "address": "Rua A, 1"}

    def answer(payload: dict[str, Any]) -> object:
        return {
            "messages": [
                {"reaction": "👍", "to": payload["messages"][0]["wa_id"]},
                {"text": "Aqui:"},
                {"media": PNG, "caption": "o bolo", "file_name": "bolo.png"},
                {"audio": SOUND},
                {"sticker": PNG},
                {"location": place},
                {"contact": {"name": "Ana", "phone": "+55 11 95555-0009"}},
            ]
        }

    n8n.says(answer)
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    kinds = await stage.sql(
        "select kind from messages where turn_id is not null and from_me order by part"
    )
    wanted = ["reaction", "text", "image", "ptt", "sticker", "location", "contact"]
    assert [row["kind"] for row in kinds] == wanted


async def test_a_media_is_fetched_from_its_address_before_it_is_sent(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    async with playing(
        database_url, evolution, llm, n8n, RETRY_BASE_SECONDS="0.1", TURN_MAX_ATTEMPTS="2"
    ) as stage:
        n8n.says({"messages": [{"media": "http://169.254.1.1/a.png"}]})
        await stage.maria.writes("tem foto?")
        (turn,) = await stage.turns_end()
        assert (turn["state"], turn["attempt"]) == ("dead", 1)  # nobody may ever go there
        assert "media" in turn["error"]
        asked = [each.path for each in n8n.received]
        assert asked.count("/webhook/hybridflow-turn") == 1  # the flow did not run again
        assert stage.maria.replies == []


async def test_a_reply_whose_media_is_fetched_outlasts_its_router(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    """What its flow has booked, say, it would book once more."""
    asked = asyncio.Queue[bytes]()
    picture = base64.b64decode(PNG)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked.put(await reader.readuntil(b"\r\n\r\n"))
        if len(n8n.received) == 1 and stopping.is_set():
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(picture)}\r\n\r\n"
            writer.write(head.encode() + picture)
        else:
            await reader.read()  # until nobody waits any more

    stopping = asyncio.Event()
    async with serving(serve) as port:
        n8n.says({"messages": [{"media": f"http://127.0.0.1:{port}/bolo.png"}]})
        async with playing(database_url, evolution, llm, n8n) as stage:
            await stage.maria.writes("tem foto?")
            await asked.get()
            stopping.set()
        env = {**ANSWERING, "N8N_WEBHOOK_URL": f"{n8n.url}/webhook"}
        async with dark_stage(database_url, evolution, llm, **env) as later:
            (turn,) = await later.turns_end()
    assert (turn["state"], turn["attempt"]) == ("sent", 1)
    assert len([each for each in n8n.received if each.path.endswith("-turn")]) == 1


async def test_a_handoff_pauses_the_session_after_what_is_said(stage: Stage, n8n: AnsweringN8n):
    n8n.says({"handoff": {"reason": "quer falar", "summary": "bolo", "say": "Já chamo alguém."}})
    await stage.maria.writes("o bolo veio errado")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert stage.maria.replies == ["Já chamo alguém."]
    (session,) = await stage.sessions()
    assert (session["is_paused"], session["pause_source"]) == (True, "ai")
    assert session["pause_reason"] == "quer falar: bolo"
    (notice,) = await stage.sql("select kind, facts ->> 'summary' as summary from notices")
    assert notice == {"kind": "handoff", "summary": "bolo"}
    (handoff,) = await stage.sql("select state, why, summary, said, words from handoffs")
    assert handoff == {
        "state": "waiting", "why": "quer falar", "summary": "bolo", "said": "Já chamo alguém.",
        "words": "said",
    }  # fmt: skip


async def test_a_handoff_without_words_has_the_tenants(stage: Stage, n8n: AnsweringN8n):
    await stage.change(handoff_message="Um momento, chamo a Ana.")
    n8n.says({"text": "Entendo.", "handoff": {"reason": "upset"}})
    await stage.maria.writes("o bolo veio errado")
    await stage.turns_end()
    assert stage.maria.replies == ["Entendo.", "Um momento, chamo a Ana."]
    (handoff,) = await stage.sql("select reason, why, words from handoffs")
    assert handoff == {"reason": "upset", "why": None, "words": "said"}


async def test_a_handoff_without_any_word_has_ours(stage: Stage, n8n: AnsweringN8n):
    n8n.says({"handoff": {"reason": "quer falar"}})
    await stage.maria.writes("o bolo veio errado")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "handoff")
    assert stage.maria.replies == [HANDOFF_MESSAGE["pt"]]
    assert await stage.paused()


async def test_what_promises_a_human_and_the_handoff_are_one_step(stage: Stage, n8n: AnsweringN8n):
    """Also where it is not the last that is said, or stands below a picture."""
    promise = "Vou te transferir para um atendente."
    n8n.says({"messages": [{"text": promise}, {"text": "Até já!"}, {"media": PNG}]})
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("o bolo veio seco!")
    await gate.reached()
    (handoff,) = await stage.sql("select state, said from handoffs")
    assert handoff == {"state": "waiting", "said": f"{promise}\n\nAté já!"}
    gate.open()
    (turn,) = await stage.turns_end()
    assert (turn["reason"], turn["incomplete"], len(stage.maria.replies)) == ("handoff", False, 3)
    n8n.says({"messages": [{"media": PNG, "caption": promise}]})
    bia = stage.shop.customer("5511955550077", name="Bia")
    await bia.writes("o bolo veio seco!")
    (*_, turn) = await stage.turns_end()
    assert (turn["reason"], bia.replies[-1]) == ("handoff", HANDOFF_MESSAGE["pt"])


async def test_silence_closes_the_turn_and_says_nothing(stage: Stage, n8n: AnsweringN8n):
    n8n.says({"silence": "an emoji needs no answer"})
    await stage.maria.writes("👍")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["reason"]) == ("sent", "an emoji needs no answer")
    assert stage.maria.replies == []
    assert not await stage.paused()


@pytest.mark.parametrize(
    "empty",
    [
        Response(b""),
        Response(b"", status_code=204),
        {},
        None,
        [],
        "",
        {"output": ""},
        {"text": "Agent stopped due to max iterations."},
        Response("<html>502</html>"),
        {"message": "Workflow executed successfully but no data was returned"},
    ],
    ids=str,
)
async def test_what_is_no_answer_is_tried_again_and_never_silence(
    stage: Stage, n8n: AnsweringN8n, empty: object
):
    n8n.says(empty, {"text": "Temos!"})
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["attempt"]) == ("sent", 2)
    assert stage.maria.replies == ["Temos!"]


async def test_a_flow_that_always_fails_leaves_its_turns_to_the_fallback(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    few = {"RETRY_BASE_SECONDS": "0.05", "N8N_FLOW_FAILURES": "3"}
    async with playing(database_url, evolution, llm, n8n, **few) as stage:
        n8n.says(Response(b'{"message": "Error in workflow"}', status_code=500))
        stage.llm.answers("Da reserva!")
        await stage.maria.writes("tem bolo?")
        (turn,) = await stage.turns_end()
        assert (turn["state"], turn["handler"]) == ("sent", "fallback")
        turns = [each for each in n8n.received if each.path.endswith("turn")]  # and notices
        assert len(turns) == 3
        assert stage.maria.replies == ["Da reserva!"]


async def test_a_refused_key_is_told_and_waited_for(stage: Stage, n8n: AnsweringN8n):
    refused = {"error": {"message": "401 invalid x-api-key", "status": 401}}
    n8n.says(refused, refused, {"text": "Temos!"})
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["handler"], turn["attempt"]) == ("sent", "n8n", 1)
    (outage,) = await stage.sql("select cause, ended_at is null as goes_on from outages")
    assert outage == {"cause": "account_refused", "goes_on": False}


async def test_a_model_that_is_not_there_is_not_tried_again(stage: Stage, n8n: AnsweringN8n):
    n8n.says({"error": {"message": "The model `gpt-9` does not exist", "httpCode": "404"}})
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["error_kind"]) == ("dead", "permanent")
    assert "model" in turn["error"]


async def test_a_model_that_is_down_uses_up_no_attempt(stage: Stage, n8n: AnsweringN8n):
    down = {"error": {"message": "overloaded", "status": 529}}
    n8n.says(*[down] * 6, {"text": "Temos!"})
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["handler"], turn["attempt"]) == ("sent", "n8n", 1)
    assert stage.maria.replies == ["Temos!"]


async def test_an_n8n_that_dies_under_a_turn_is_noticed_at_once(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    """Neither the lease nor the flow's seconds are waited for."""
    times = {"RETRY_BASE_SECONDS": "0.1", "TURN_LEASE_SECONDS": "600", "N8N_ANSWER_SECONDS": "95"}
    async with playing(database_url, evolution, llm, n8n, **times) as stage:
        n8n.hold()
        await stage.maria.writes("tem bolo?")
        await n8n.gets()
        n8n.stop()
        (turn,) = await stage.turns_end()
        assert (turn["state"], turn["handler"]) == ("sent", "fallback")
        assert len(stage.maria.replies) == 1


async def test_a_flow_that_is_too_slow_is_let_go_and_its_token_with_it(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    """Before the proxy that stands before n8n would cut it, as n8n Cloud's does after 100 s."""
    times = {"RETRY_BASE_SECONDS": "0.1", "N8N_ANSWER_SECONDS": "1", "TURN_MAX_ATTEMPTS": "1"}
    async with CuttingProxy(n8n.url, 5) as proxy:
        async with playing(database_url, evolution, llm, proxy, **times) as stage:
            n8n.hold()
            await stage.maria.writes("tem bolo?")
            (turn,) = await stage.turns_end()
            assert turn["state"] == "dead"
            assert "within 1 seconds (N8N_ANSWER_SECONDS)" in turn["error"]
            late = Flow(stage, n8n.received[0].body)
            assert (await late.sends("tarde demais")).status_code == 409
            assert stage.maria.replies == []
        assert proxy.cut == 0


async def test_a_proxy_that_cuts_before_is_named_and_the_next_attempt_answers_alone(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    """As nginx does after 60 s, unless it is told otherwise; the flow it gave up runs on."""
    times = {"RETRY_BASE_SECONDS": "0.1", "N8N_ANSWER_SECONDS": "95"}
    async with CuttingProxy(n8n.url, 0.4) as proxy:
        async with playing(database_url, evolution, llm, proxy, **times) as stage:
            gate = n8n.hold()
            await stage.maria.writes("tem bolo?")
            (turn,) = await stage.until("select error from turns", lambda rows: rows[0]["error"])
            assert re.search(r"the flow after [\d.]+ seconds \(it answered 504\)", turn["error"])
            assert "above the 95 seconds of N8N_ANSWER_SECONDS" in turn["error"]
            late = Flow(stage, n8n.received[0].body)
            assert (await late.sends("tarde demais")).status_code == 409
            gate.open()
            (turn,) = await stage.turns_end()
            assert (turn["state"], turn["handler"]) == ("sent", "n8n")
            assert stage.maria.replies == ["Oi!"]
        assert proxy.cut == turn["attempt"] - 1 > 0


async def test_a_human_who_writes_meanwhile_is_not_talked_over(stage: Stage, n8n: AnsweringN8n):
    gate = n8n.hold()
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await stage.shop.owner.writes(stage.maria, "Eu respondo")
    await stage.until("select state from turns", lambda rows: rows[0]["state"] == "cancelled")
    gate.open()
    assert await stage.paused()
    assert stage.maria.replies == []


async def test_several_messages_are_said_as_the_flow_divided_them_and_a_word_stops_the_rest(
    stage: Stage, n8n: AnsweringN8n
):
    long = "Temos bolo de cenoura hoje.\n\n" * 8 + "Qual deles você quer?"
    n8n.says({"messages": [{"text": long}, {"text": "Mando uma foto:"}, {"sticker": PNG}]})
    gate = stage.shop.hold("sendText", after=True)
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    gate.open()
    (turn,) = await stage.turns_end()
    assert stage.maria.replies == [long]
    assert (turn["state"], turn["incomplete"], turn["reason"]) == ("sent", True, "takeover")
    asked = {"tenant_id": stage.tenant_id, "turn_id": turn["id"]}
    told = (await stage.database.call("tell_turn", asked))["happenings"]
    assert [each["unsaid"] for each in told if each["kind"] == "closed"] == [2]


async def test_what_did_not_leave_is_sent_again_without_the_flow(stage: Stage, n8n: AnsweringN8n):
    n8n.says({"messages": [{"text": "um"}, {"text": "dois"}, {"sticker": PNG}]})
    stage.shop.fail("sendSticker", failures.CONNECTION_CLOSED)
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", False)
    assert stage.maria.replies[:2] == ["um", "dois"]
    assert len(n8n.received) == 1


async def test_a_flow_of_version_1_keeps_its_turn(stage: Stage, n8n: AnsweringN8n):
    n8n.says({"execution_id": "4711"})
    await stage.maria.writes("tem bolo?")
    await n8n.gets()
    flow = Flow(stage, n8n.received[0].body)
    await stage.until(
        "select execution_id from turns", lambda rows: rows[0]["execution_id"] is not None
    )
    assert (await flow.sends("Temos!")).status_code == 201
    assert (await flow.reports("done")).status_code == 200
    (turn,) = await stage.turns_end()
    assert (turn["state"], stage.maria.replies) == ("sent", ["Temos!"])


async def test_a_flow_that_sends_and_answers_has_said_what_it_sent(stage: Stage, n8n: AnsweringN8n):
    """What it answers besides is not lost in silence: the turn is incomplete, and says why."""
    gate = n8n.hold()
    n8n.says({"text": "E isto também"})
    await stage.maria.writes("tem bolo?")
    await gate.reached()
    flow = Flow(stage, n8n.received[0].body)
    assert (await flow.sends("Pelo portão")).status_code == 201
    gate.open()
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", True)
    assert "answer" in turn["error"]
    assert stage.maria.replies == ["Pelo portão"]


async def test_a_tenant_has_a_flow_and_a_contract_of_its_own(stage: Stage, n8n: AnsweringN8n):
    await stage.change(n8n_flow="padaria/hybridflow-turn", n8n_contract="gateway")
    n8n.says({"execution_id": "4711"})
    await stage.maria.writes("tem bolo?")
    (received,) = await n8n.gets()
    assert received.path == "/webhook/padaria/hybridflow-turn"
    assert (received.body["version"], received.body["contract"]) == (1, "gateway")
    flow = Flow(stage, received.body)
    assert (await flow.sends("Temos!")).status_code == 201
    assert (await flow.reports("done")).status_code == 200
    await stage.turns_end()


async def test_what_a_flow_answers_passes_the_guard(stage: Stage, n8n: AnsweringN8n):
    await stage.change(forbidden_patterns=["pix"])
    n8n.says({"messages": [{"text": "oi"}, {"media": PNG, "caption": "mande um pix"}]})
    await stage.maria.writes("tem bolo?")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["error_kind"]) == ("sent", "reply_refused")
    assert stage.maria.replies == [HANDOFF_MESSAGE["pt"]]
