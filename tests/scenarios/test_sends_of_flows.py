"""What a flow sends beside texts: told as its echo is, known as ours, and sent once each."""

import asyncio
import base64
import json
from typing import Any

import pytest

from loopback.evolution import failures
from loopback.faults import Fault, wrong_answer
from router.outbound.bounds import LONGEST_ANSWER
from tests.fixtures.sends import PNG, SENDS, SOUND, Send
from tests.scenarios.flow import Flow, given, n8n, playing, stage
from tests.scenarios.stage import Stage

__all__ = ["n8n", "stage"]
_JID = "5511955550001@s.whatsapp.net"
# The media of the fixtures stand at addresses that are nobody's here.
_KINDS = [
    pytest.param(send, id=send.name)
    for send in SENDS
    if "https://" not in json.dumps(send.body) and send.name != "a text"
]


def picture(number: int, **more: Any) -> dict[str, Any]:
    """A picture without a caption: its bytes alone tell it from another."""
    content = base64.b64decode(PNG) + bytes([number])
    return {"mediatype": "image", "media": base64.b64encode(content).decode(), **more}


def sound(number: int) -> str:
    return base64.b64encode(base64.b64decode(SOUND) + bytes([number])).decode()


def body_of(send: Send, flow: Flow) -> dict[str, Any]:
    if send.path != "message/sendReaction":
        return send.body
    asked = flow.payload["messages"][-1]
    key = {"id": asked.get("wa_id", "AC01"), "fromMe": False}
    return send.body | {"key": key | {"remoteJid": _JID}}


async def sends_of(stage: Stage) -> list[dict[str, Any]]:
    return await stage.sql("select * from messages where from_me order by id")


@pytest.mark.parametrize("send", _KINDS)
async def test_what_was_sent_is_recorded_as_its_echo_tells_it(stage: Stage, n8n, send: Send):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    sent = await flow.calls(send.path, body_of(send, flow))
    assert sent.status_code == 201, sent.text
    answer = sent.json()
    (left,) = stage.shop.sent.values()
    assert answer["key"]["id"] == left.data["key"]["id"]
    assert answer["messageType"] == left.data["messageType"]
    assert answer["message"].keys() & left.data["message"].keys()
    assert PNG not in sent.text
    await stage.shop.echoes(stage.maria)
    await flow.reports("done")
    await stage.turns_end()
    (message,) = await sends_of(stage)
    assert (message["kind"], message["body"]) == send.told
    assert message["send_state"] == "sent"
    assert not await stage.paused()


@pytest.mark.parametrize("told", ["after", "never"])
@pytest.mark.parametrize("send", _KINDS)
async def test_a_send_whose_answer_was_lost_is_ours_and_not_repeated(
    stage: Stage, n8n, send: Send, told
):
    stage.shop.tells_sends = told
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    stage.shop.fail(send.path.removeprefix("message/"), failures.TAKEN_THEN_CUT)
    doubt = await flow.calls(send.path, body_of(send, flow))
    assert (doubt.status_code, doubt.json()["response"]["reason"]) == (409, "in_doubt")
    await stage.maria.writes("e pão?")
    await flow.reports("fail", kind="evolution_away", error="in doubt")
    again = await given(stage, n8n, 2)
    assert again.payload["prompt"]["question"] == "e pão?"
    await again.sends("Pão também!")
    await again.reports("done")
    turns = await stage.turns_end()
    assert [turn["state"] for turn in turns] == ["sent", "sent"]
    first = (await sends_of(stage))[0]
    assert (first["send_state"], first["body"]) == ("sent", send.told[1])
    assert first["wa_id"] in stage.shop.sent
    assert len(stage.shop.sent) == 2
    assert not await stage.paused()


@pytest.mark.parametrize(
    ("path", "bodies"),
    [
        ("message/sendMedia", [picture(1), picture(2), picture(3)]),
        ("message/sendWhatsAppAudio", [{"audio": sound(number)} for number in range(3)]),
        ("message/sendSticker", [{"sticker": picture(n)["media"]} for n in range(2)]),
        (
            "message/sendReaction",
            [
                {"key": {"id": "", "remoteJid": _JID, "fromMe": False}, "reaction": emoji}
                for emoji in ("👍", "🎉")
            ],
        ),
        (
            "message/sendList",
            [
                {
                    "title": "Cardápio",
                    "description": "Escolha",
                    "buttonText": "Abrir",
                    "footerText": "Padaria",
                    "sections": [{"title": "S", "rows": [{"title": "Bolo", "rowId": row}]}],
                }
                for row in ("1", "2")
            ],
        ),
        (
            "message/sendButtons",
            [
                {
                    "title": "Confirma?",
                    "description": "Pedido",
                    "footer": "Padaria",
                    "buttons": [{"type": "reply", "displayText": "Sim", "id": button}],
                }
                for button in ("pedido 1", "pedido 2")
            ],
        ),
    ],
    ids=["pictures", "voice messages", "stickers", "reactions", "lists", "buttons"],
)
async def test_sends_with_equal_words_are_all_sent_and_each_only_once(
    stage: Stage, n8n, path: str, bodies: list[dict[str, Any]]
):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    for body in bodies:
        if "key" in body:
            body["key"]["id"] = flow.payload["messages"][-1]["wa_id"]
    first = [await flow.calls(path, body) for body in bodies]
    again = [await flow.calls(path, body) for body in bodies]
    assert [answer.status_code for answer in first] == [201] * len(bodies)
    ids = [answer.json()["key"]["id"] for answer in first]
    assert len(set(ids)) == len(bodies)
    assert [answer.json() for answer in again] == [answer.json() for answer in first]
    assert list(stage.shop.sent) == ids
    await flow.reports("done")
    await stage.turns_end()


async def test_three_pictures_in_doubt_are_found_one_by_one(stage: Stage, n8n):
    stage.shop.tells_sends = "never"
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    stage.shop.fail("sendMedia", failures.TAKEN_THEN_CUT, times=3)
    for number in range(3):
        assert (await flow.calls("message/sendMedia", picture(number))).status_code == 409
    await flow.reports("fail", kind="evolution_away", error="in doubt")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert {row["wa_id"] for row in await sends_of(stage)} == set(stage.shop.sent)
    assert len(stage.shop.sent) == 3
    assert not await stage.paused()


async def test_a_voice_message_in_base64_is_never_read_as_text(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    await flow.calls("message/sendWhatsAppAudio", {"audio": SOUND})
    await flow.reports("done")
    await stage.turns_end()
    await stage.maria.writes("e pão?")
    again = await given(stage, n8n, 2)
    assert "[voice message]" in json.dumps(again.payload["prompt"])
    assert SOUND[:30] not in json.dumps(again.payload)
    (message,) = await sends_of(stage)
    assert message["body"] == "[voice message]"


async def test_the_owners_hand_written_words_are_not_taken_for_a_picture_in_doubt(
    stage: Stage, n8n
):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    stage.shop.fail("sendMedia", failures.CUT)
    await flow.calls("message/sendMedia", picture(1))
    await stage.shop.owner.writes(stage.maria, "[image]")
    assert await stage.paused()


def quoted_by(flow: Flow) -> dict[str, Any]:
    return {"key": {"id": flow.payload["messages"][-1]["wa_id"]}}


async def test_what_a_text_quotes_and_mentions_is_passed_on(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    quoted = quoted_by(flow)
    sent = await flow.sends(
        "Temos, @5511955550001!",
        quoted={"key": quoted["key"] | {"remoteJid": _JID, "fromMe": False}},
        mentioned=["5511955550001"],
        mentionsEveryOne=True,
        linkPreview=False,
    )
    assert sent.status_code == 201, sent.text
    body = stage.shop.calls("sendText")[-1].body
    assert body.pop("messageId").startswith("3EB0")
    assert body == {
        "number": _JID,
        "text": "Temos, @5511955550001!",
        "quoted": quoted,
        "mentioned": ["5511955550001"],
        "mentionsEveryOne": True,
        "linkPreview": False,
    }


async def test_of_a_long_text_the_first_part_quotes_and_each_calls_whom_it_names(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    text = f"{'a' * 4000}\n\n@5511955550001 {'b' * 3000}"
    asked: dict[str, Any] = {
        "quoted": quoted_by(flow),
        "mentioned": ["5511955550001"],
        "mentionsEveryOne": True,
        "linkPreview": False,
    }
    sent = await flow.sends(text, **asked)
    assert sent.status_code == 201
    first, second = (call.body for call in stage.shop.calls("sendText"))
    assert (first["quoted"], first["mentionsEveryOne"]) == (quoted_by(flow), True)
    assert "mentioned" not in first
    assert second["mentioned"] == ["5511955550001"]
    assert not {"quoted", "mentionsEveryOne"} & set(second)
    assert first["linkPreview"] is second["linkPreview"] is False
    again = await flow.sends(text, **asked)
    assert again.json() == sent.json()
    assert len(stage.shop.calls("sendText")) == 2


@pytest.mark.parametrize("quoted", ["AC01", {"key": {}}, {"key": {"id": 7}}])
async def test_a_quote_without_an_id_is_refused_and_nothing_is_sent(stage: Stage, n8n, quoted: Any):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    refused = await flow.sends("Temos!", quoted=quoted)
    assert (refused.status_code, refused.json()["response"]["reason"]) == (400, "quoted")
    assert stage.shop.sent == {}


async def test_the_guard_looks_at_other_words_even_if_they_are_told_alike(stage: Stage, n8n):
    """What was said before goes by what was asked for, not by how the history shows it."""
    await stage.change(forbidden_patterns=["loteria"])
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    body = {
        "title": "Confirma?",
        "description": "Pedido",
        "buttons": [{"type": "reply", "displayText": "Sim", "id": "s"}],
    }
    assert (await flow.calls("message/sendButtons", body)).status_code == 201
    assert (await flow.calls("message/sendButtons", body)).status_code == 201
    refused = await flow.calls("message/sendButtons", body | {"footer": "jogue na loteria"})
    assert (refused.status_code, refused.json()["response"]["reason"]) == (409, "reply_refused")
    assert len(stage.shop.sent) == 1


LARGE = base64.b64encode(base64.b64decode(PNG) + bytes(3_600_000)).decode()
"""More than the answer to anything else may have."""


async def test_a_media_that_evolution_repeats_in_its_answer_is_sent(stage: Stage, n8n):
    """As the Cloud channel does; in an error, what could not be sent."""
    shop = await stage.open_cloud_shop()
    await shop.customer("5511955550001", name="Maria").writes("tem bolo?")
    flow = await given(stage, n8n)
    assert len(LARGE) > LONGEST_ANSWER
    number = {"number": flow.payload["session"]["number"]}
    path = "/n8n/evolution/message/sendMedia/nuvem"
    shop.fail("sendMedia", refuses_with(LARGE))
    refused = await flow.post(path, number | {"mediatype": "image", "media": LARGE})
    assert refused.status_code == 400, refused.text
    sent = await flow.post(path, number | {"mediatype": "image", "media": LARGE})
    assert sent.status_code == 201, sent.text
    (left,) = shop.sent.values()
    assert left.data["message"]["imageMessage"]["media"] == LARGE
    await flow.reports("done")
    await stage.turns_end()
    assert [(row["send_state"], row["upload_seconds"]) for row in await sends_of(stage)] == [
        ("sent", 8)
    ]


async def test_a_large_media_has_longer_than_send_timeout_and_the_flow_keeps_its_turn(
    database_url, evolution, llm, n8n
):
    """SEND_TIMEOUT is 2 s, the flow's lease 4 s; the media is under way for 5 s."""
    async with playing(database_url, evolution, llm, n8n, N8N_LEASE_SECONDS="4") as stage:
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, n8n)
        stage.shop.fail("sendMedia", failures.late(5))
        sent = await flow.calls("message/sendMedia", {"mediatype": "image", "media": LARGE})
        assert sent.status_code == 201, sent.text
        again = await flow.sends("Gostou?")
        assert again.status_code == 201, again.text
        await flow.reports("done")
        (turn,) = await stage.turns_end()
        assert (turn["state"], turn["attempt"]) == ("sent", 1)
        assert len(stage.shop.sent) == 2


async def test_media_that_are_being_sent_take_no_more_memory_than_half_of_what_all_have(
    database_url, evolution, llm, n8n
):
    """Of 800,000 bytes a tenant has half: one of these takes 240,000."""
    small = {"MAX_MEDIA_BYTES": "100000", "SEND_TIMEOUT": "30"}
    media = base64.b64encode(base64.b64decode(PNG) + bytes(90_000)).decode()
    async with playing(database_url, evolution, llm, n8n, **small) as stage:
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, n8n)
        gate = stage.shop.hold("sendMedia")
        body = {"mediatype": "image", "media": media}
        first = asyncio.create_task(flow.calls("message/sendMedia", body))
        await gate.reached()
        second = await flow.calls("message/sendMedia", body | {"caption": "e este"})
        assert (second.status_code, second.json()["response"]["reason"]) == (503, "busy")
        gate.open()
        assert (await first).status_code == 201
        third = await flow.calls("message/sendMedia", body | {"caption": "e este"})
        assert third.status_code == 201, third.text
        await flow.reports("done")
        await stage.turns_end()


def refuses_with(media: str) -> Fault:
    """Return an answer that names what was asked, as a validator may."""
    return wrong_answer(400, {"response": {"message": ["Owned media"]}, "asked": [media]})


async def test_what_a_flow_answers_is_marked_as_read_with_its_first_message(stage: Stage, n8n):
    await stage.maria.writes("oi")
    flow = await given(stage, n8n)
    assert stage.shop.calls("markMessageAsRead") == []
    assert (await flow.sends("Olá. " * 1000)).status_code == 201
    assert len(stage.shop.calls("sendText")) > 1
    await stage.evolution.changes.until(
        lambda: stage.shop.calls("markMessageAsRead"), "the message is marked as read"
    )
    assert (await flow.sends("Temos bolo")).status_code == 201
    await flow.reports("done")
    await stage.turns_end()
    assert len(stage.shop.calls("markMessageAsRead")) == 1


@pytest.mark.parametrize("first", ["fails", "can never be sent"])
async def test_what_a_flow_answers_is_marked_as_read_with_the_first_message_that_gets_through(
    stage: Stage, n8n, first: str
):
    await stage.maria.writes("oi")
    flow = await given(stage, n8n)
    if first == "fails":
        stage.shop.fail("sendText", failures.CONNECTION_CLOSED)
        assert (await flow.sends("Olá")).status_code >= 400
    else:
        body = {"mediatype": "image", "media": f"{stage.router_url}/no-such.png"}
        assert (await flow.calls("message/sendMedia", body)).status_code == 400
    assert stage.shop.calls("markMessageAsRead") == []
    assert (await flow.sends("Olá")).status_code == 201
    await stage.evolution.changes.until(lambda: stage.shop.read, "the message is marked as read")


async def test_what_a_flow_may_have_answered_is_marked_as_read(stage: Stage, n8n):
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    await stage.maria.writes("oi")
    flow = await given(stage, n8n)
    assert (await flow.sends("Olá")).status_code == 409
    await stage.evolution.changes.until(lambda: stage.shop.read, "the message is marked as read")
    await stage.until("select 1 from messages where from_me and send_state = 'sent'", bool)
    assert (await flow.sends("Temos bolo")).status_code == 201
    await flow.reports("done")
    await stage.turns_end()
    assert len(stage.shop.calls("markMessageAsRead")) == 1
