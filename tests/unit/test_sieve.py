"""A body that is too large passes without its media, however it is cut into chunks."""

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from router.intake.events import parse_webhook
from router.intake.sieve import Sieve


def passed(body: bytes, size: int) -> bytes:
    sieve = Sieve()
    chunks = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    last = len(chunks) - 1
    return b"".join(
        sieve.pass_on(chunk, is_last=number == last) for number, chunk in enumerate(chunks)
    )


def webhook(**message: object) -> dict[str, object]:
    key = {"id": "AC01", "remoteJid": "5511955550001@s.whatsapp.net", "fromMe": False}
    data = {"key": key, "messageType": "videoMessage", "message": message, "messageTimestamp": 9}
    return {"event": "messages.upsert", "instance": "shop", "data": data}


@given(size=st.integers(1, 60), media=st.text("ABCabc+/=", max_size=90), more=st.text(max_size=9))
def test_the_media_is_left_out_and_all_else_stays(size: int, media: str, more: str):
    body = webhook(videoMessage={"caption": more}, base64=media)
    for written in (orjson.dumps(body), json.dumps(body).encode()):
        left = orjson.loads(passed(written, size))
        assert left == webhook(videoMessage={"caption": more}, base64="-")


@given(body=st.binary(max_size=80), size=st.integers(1, 9))
def test_what_has_no_media_is_not_touched(body: bytes, size: int):
    if b'"base64"' not in body:
        assert passed(body, size) == body


def test_what_was_left_out_is_told():
    video = {"seconds": 9, "caption": "a [b]", "mimetype": "video/mp4"}
    (event,) = parse_webhook("shop", webhook(videoMessage=video, base64="-")).events
    assert event["text"] == '[video, 9 seconds, too large: "a [b]"]'
    assert isinstance(event["media"], dict)
    assert event["media"]["too_large"] is True
    named = {"fileName": "a.pdf", "mimetype": "application/pdf"}
    (event,) = parse_webhook("shop", webhook(documentMessage=named, base64="-")).events
    assert event["text"] == '[document, too large "a.pdf"]'
    (event,) = parse_webhook("shop", webhook(videoMessage=video, base64="AAAA")).events
    assert event["carried"] is True
    assert "too_large" not in event["media"]  # type: ignore[operator]
