"""A flow hears and sees: it is given the media of its turn's own conversation, and of no other."""

from base64 import b64decode, b64encode
from typing import Any

import httpx
import pytest

from loopback.evolution import failures
from loopback.evolution.contents import ONE_PIXEL, audio, document, image, voice
from tests.scenarios.flow import Flow, given, n8n, playing, stage
from tests.scenarios.stage import Stage

__all__ = ["n8n", "stage"]
PATH = "chat/getBase64FromMediaMessage"


async def media(flow: Flow, wa_id: str, **more: Any) -> httpx.Response:
    body = {"message": {"key": {"id": wa_id}}, **more}
    return await flow.post(f"/n8n/evolution/{PATH}/padaria", body)


def reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["response"]["reason"]


async def with_media(stage: Stage, n8n: Any, content: Any) -> tuple[Flow, str]:
    message = stage.maria.sends(content)
    await message
    return await given(stage, n8n), message.wa_id


@pytest.mark.parametrize("content", [image("o bolo"), voice(), audio(), document("a.pdf")])
async def test_the_media_of_the_turns_own_messages_is_given_as_evolution_gives_it(
    stage: Stage, n8n, content
):
    flow, wa_id = await with_media(stage, n8n, content)
    assert flow.payload["messages"][-1]["wa_id"] == wa_id
    answer = await media(flow, wa_id)
    said = answer.json()
    assert (answer.status_code, said["base64"], said["buffer"]) == (201, ONE_PIXEL, None)
    assert {"mediaType", "fileName", "size", "mimetype"} <= said.keys()
    (line,) = await stage.sql("select * from audit_log where action = 'find_media'")
    assert (line["tenant_id"], line["turn_id"]) == (1, flow.payload["turn_id"])
    assert (line["caller_kind"], line["session_id"]) == ("ai", 1)
    assert (await flow.reports("done")).is_success


async def test_a_voice_note_may_become_mp4(stage: Stage, n8n):
    flow, wa_id = await with_media(stage, n8n, voice())
    assert (await media(flow, wa_id, convertToMp4=True)).json()["mimetype"] == "audio/mp4"
    assert stage.shop.calls("getBase64FromMediaMessage")[-1].body["convertToMp4"] is True


async def test_what_came_before_in_the_conversation_is_given_too(stage: Stage, n8n):
    flow, wa_id = await with_media(stage, n8n, image("o bolo"))
    await flow.sends("Lindo!", done=True)
    await stage.maria.writes("gostou?")
    again = await given(stage, n8n, 2)
    assert (await media(again, wa_id)).status_code == 201


async def test_of_another_conversation_nothing_is_given(stage: Stage, n8n):
    joao = stage.shop.customer("5511955550002", name="João")
    secret = joao.sends(image("meu documento"))
    await secret
    await given(stage, n8n)
    flow, _ = await with_media(stage, n8n, image("o bolo"))
    flow = await given(stage, n8n, 2)
    assert flow.payload["session"]["number"].startswith("5511955550001")
    for body in (
        {"message": {"key": {"id": secret.wa_id}}},
        {"message": {"key": {"id": secret.wa_id, "remoteJid": stage.maria.jid}}},
        {"message": {"key": {"id": "NAOEXISTE"}}},
        {"message": {"key": {"id": secret.wa_id.lower()}}},
    ):
        answer = await flow.post(f"/n8n/evolution/{PATH}/padaria", body)
        assert reason(answer) == (403, "message")
    assert not stage.shop.calls("getBase64FromMediaMessage")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "message"),
        ({"message": {}}, "message"),
        ({"message": {"key": {}}}, "message"),
        ({"message": {"key": {"id": 7}}}, "message"),
        ({"message": {"key": {"id": "A"}, "message": {"imageMessage": {"url": "x"}}}}, "message"),
        ({"message": {"key": {"id": "A"}}, "convertToMp4": "yes"}, "convertToMp4"),
        ({"message": {"key": {"id": "A"}}, "instance": "other"}, "instance"),
        ({"message": {"key": {"id": "A" * 3000}}}, "message"),
    ],
)
async def test_what_is_no_request_is_refused_by_name(stage: Stage, n8n, body, name: str):
    flow, _ = await with_media(stage, n8n, image("o bolo"))
    answer = await flow.post(f"/n8n/evolution/{PATH}/padaria", body)
    assert reason(answer) == (400, name)
    assert not stage.shop.calls("getBase64FromMediaMessage")


async def test_what_has_no_media_or_is_gone_is_refused_and_never_away(stage: Stage, n8n):
    words = stage.maria.writes("olha")
    await words
    flow, wa_id = await with_media(stage, n8n, image("o bolo"))
    flow = await given(stage, n8n, len(n8n.received))
    assert reason(await media(flow, words.wa_id)) == (400, "no_media")
    stage.shop.received[wa_id] = None
    assert reason(await media(flow, wa_id)) == (400, "no_media")


async def test_what_is_gone_at_whatsapp_is_given_where_it_is_kept(
    database_url: str, evolution, llm, n8n, tmp_path
):
    async with playing(database_url, evolution, llm, n8n, MEDIA_FOLDER=str(tmp_path)) as stage:
        await stage.change(keep_media_days=1)
        flow, wa_id = await with_media(stage, n8n, image("o bolo"))
        await stage.until(
            "select id from kept_files where state = 'kept'", lambda rows: len(rows) == 1
        )
        stage.shop.received[wa_id] = None
        said = (await media(flow, wa_id)).json()
        assert (said["base64"], said["mediaType"]) == (ONE_PIXEL, "imageMessage")
        assert {"fileName", "size", "mimetype"} <= said.keys()
        assert reason(await media(flow, wa_id, convertToMp4=True)) == (400, "no_media")


async def test_who_may_not_act_any_more_gets_nothing(stage: Stage, n8n):
    flow, wa_id = await with_media(stage, n8n, image("o bolo"))
    await stage.shop.owner.writes(stage.maria, "eu respondo")
    assert reason(await media(flow, wa_id)) == (409, "paused")
    await stage.turns_end()
    assert not stage.shop.calls("getBase64FromMediaMessage")


async def test_nor_for_a_turn_that_has_ended(stage: Stage, n8n):
    flow, wa_id = await with_media(stage, n8n, image("o bolo"))
    await flow.sends("Lindo!", done=True)
    assert reason(await media(flow, wa_id)) == (409, "superseded")


@pytest.mark.parametrize("says", ["the truth", "too little"])
async def test_what_is_larger_than_may_be_is_refused_by_its_size(
    database_url: str, evolution, llm, n8n, says: str
):
    async with playing(database_url, evolution, llm, n8n, MAX_MEDIA_BYTES="100000") as stage:
        flow, wa_id = await with_media(stage, n8n, image("o bolo"))
        size = 200_000
        stage.shop.received[wa_id] = bytes(size)
        if says == "the truth":
            await stage.sql(f"update messages set media = media || '{{\"bytes\": {size}}}'")
        answer = await media(flow, wa_id)
        assert reason(answer) == (413, "too_large")
        assert "MAX_MEDIA_BYTES" in answer.json()["error"]
        assert len(stage.shop.calls("getBase64FromMediaMessage")) == (says != "the truth")
        whole = b64encode(bytes(90_000)).decode()
        stage.shop.received[wa_id] = b64decode(whole)
        await stage.sql("update messages set media = media || '{\"bytes\": 90000}'")
        assert (await media(flow, wa_id)).json()["base64"] == whole


async def test_an_evolution_that_is_away_is_no_refusal(stage: Stage, n8n):
    flow, wa_id = await with_media(stage, n8n, image("o bolo"))
    stage.shop.fail("getBase64FromMediaMessage", failures.UNAVAILABLE)
    assert reason(await media(flow, wa_id)) == (503, "evolution_away")
