"""POST /chat/getBase64FromMediaMessage as Evolution 2.3.6 answers and refuses it."""

from typing import Any

import httpx
import pytest

from loopback.evolution import Business
from loopback.evolution.contents import ONE_PIXEL, document, image, sticker, voice

PATH = "/chat/getBase64FromMediaMessage/shop"
MARIA = "5511955550001"


@pytest.mark.parametrize(
    ("content", "kind", "name"),
    [
        (image("foto"), "imageMessage", "{id}.jpeg"),
        (voice(), "audioMessage", "{id}.oga"),
        (sticker(), "stickerMessage", "{id}.webp"),
        (document("contrato.pdf"), "documentMessage", "contrato.pdf"),
    ],
)
async def test_it_is_given_in_base64_with_its_kind_and_name(
    api: httpx.AsyncClient, shop: Business, content: Any, kind: str, name: str
) -> None:
    sent = shop.customer(MARIA).sends(content)
    answer = await api.post(PATH, json={"message": {"key": {"id": sent.wa_id}}})
    said = answer.json()
    assert (answer.status_code, said["mediaType"]) == (201, kind)
    assert (said["fileName"], said["base64"]) == (name.format(id=sent.wa_id), ONE_PIXEL)
    assert said["buffer"] is None
    assert "fileLength" in said["size"]


async def test_of_the_key_only_the_id_counts_and_only_sound_becomes_mp4(
    api: httpx.AsyncClient, shop: Business
) -> None:
    maria = shop.customer(MARIA)
    sound, picture = maria.sends(voice()), maria.sends(image())
    for sent, mimetype in ((sound, "audio/mp4"), (picture, "image/jpeg")):
        key = {"id": sent.wa_id, "remoteJid": "5511900000000@s.whatsapp.net", "fromMe": True}
        answer = await api.post(PATH, json={"message": {"key": key}, "convertToMp4": True})
        assert answer.json()["mimetype"] == mimetype


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "TypeError: Cannot read properties of undefined (reading 'key')"),
        ({"key": {"id": "A"}}, "TypeError: Cannot read properties of undefined (reading 'key')"),
        (
            {"message": {}},
            "TypeError: Cannot read properties of undefined (reading 'ephemeralMessage')",
        ),
        ({"message": {"key": {"id": "NAOEXISTE"}}}, "Message not found"),
    ],
)
async def test_what_is_no_request_is_refused_in_its_words(
    api: httpx.AsyncClient, body: dict[str, Any], why: str
) -> None:
    answer = await api.post(PATH, json=body)
    assert (answer.status_code, answer.json()["response"]["message"]) == (400, [why])


async def test_what_is_gone_at_whatsapp_is_a_stream_that_fails(
    api: httpx.AsyncClient, shop: Business
) -> None:
    sent = shop.customer(MARIA).sends(image())
    shop.received[sent.wa_id] = None
    answer = await api.post(PATH, json={"message": {"key": {"id": sent.wa_id}}})
    (why,) = answer.json()["response"]["message"]
    assert answer.status_code == 400
    assert why.startswith("Error: Failed to fetch stream from https://mmg.whatsapp")
