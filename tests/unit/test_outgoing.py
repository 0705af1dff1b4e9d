"""A send and its echo are told by the same words, and known by the same key."""

import base64
import json
from typing import Any

import pytest

from router.intake.events import parse_webhook
from router.sending.outgoing import Outgoing, is_plain_text
from router.sending.telling import PATHS
from router.whatsapp.content import innermost, read_content
from router.whatsapp.telling import telling
from tests.fixtures import webhook
from tests.fixtures.sends import PNG, SENDS, Came, Send
from tests.for_each import for_each

_ALL = pytest.mark.parametrize("send", SENDS, ids=lambda send: send.name)
_BACK = [pytest.param(s, c, id=f"{s.name} {n}") for s in SENDS for n, c in enumerate(s.came)]


def outgoing(send: Send) -> Outgoing:
    return Outgoing.of(send.path, {**send.body, "number": "5521955501234"})


def identity(path: str, **body: Any) -> str:
    return Outgoing.of(f"message/{path}", body).identity


def test_every_path_that_sends_is_told() -> None:
    assert {send.path for send in SENDS} == PATHS
    with pytest.raises(KeyError):
        Outgoing.of("message/sendStatus", {})


@_ALL
def test_a_send_is_told_as_its_echo_will_be(send: Send) -> None:
    message = outgoing(send)
    assert (message.kind, message.text) == send.told


@for_each(("send", "came"), _BACK)
def test_whatever_comes_back_of_a_send_is_known_by_its_key(send: Send, came: Came) -> None:
    """As the answer of the call, and as the record of findMessages."""
    reading = read_content(innermost(came.message), came.type)
    assert reading is not None
    assert telling(reading, came.wa_id) in outgoing(send).told_as


@for_each("event", ["send.message", "messages.upsert"])
@for_each(("send", "came"), _BACK)
def test_a_webhook_of_our_own_message_carries_the_key(send: Send, came: Came, event: str) -> None:
    body = webhook("send_message__text")
    body["event"] = event
    body["data"] |= {"message": came.message, "messageType": came.type}
    body["data"]["key"]["id"] = came.wa_id
    (told,) = parse_webhook(body["instance"], body).events
    assert told["telling"] in outgoing(send).told_as


def test_what_a_contact_writes_has_no_key() -> None:
    body = webhook("send_message__text")
    body["event"] = "messages.upsert"
    body["data"]["key"]["fromMe"] = False
    (told,) = parse_webhook(body["instance"], body).events
    assert "telling" not in told


@_ALL
def test_a_send_is_not_known_by_the_key_of_another_kind(send: Send) -> None:
    others = {
        key: other.name for other in SENDS for key in outgoing(other).told_as if other is not send
    }
    shared = {others[key] for key in outgoing(send).told_as if key in others}
    alike = {  # of these nothing is left to tell them apart by, on one channel at least
        "a picture in base64 with a caption": {"a picture at an address without a caption"},
        "a picture at an address without a caption": {"a picture in base64 with a caption"},
        "a document with a caption": {"a document that Evolution names after its address"},
        "a document that Evolution names after its address": {"a document with a caption"},
        "an audio file": {"a voice message in base64"},
        "a voice message in base64": {"an audio file"},
    }
    assert shared <= alike.get(send.name, set())


def test_words_in_brackets_that_the_owner_types_are_no_picture_of_ours() -> None:
    picture = Outgoing.of("message/sendMedia", {"mediatype": "image", "media": PNG})
    typed = read_content({"conversation": "[image]"})
    assert typed is not None
    assert typed.text == picture.text
    assert telling(typed, "3EB0AA") not in picture.told_as


def test_an_audio_that_the_owner_sends_by_hand_is_no_voice_message_of_ours() -> None:
    """On the Cloud channel a voice message of ours comes back as a plain audio."""
    ours = Outgoing.of("message/sendWhatsAppAudio", {"audio": PNG})
    theirs = read_content({"audioMessage": {"ptt": False, "seconds": 3}})
    assert theirs is not None
    assert telling(theirs, "wamid.HBg1") in ours.told_as
    assert telling(theirs, "3AF00D") not in ours.told_as


@_ALL
def test_neither_bytes_nor_addresses_of_a_media_become_text(send: Send) -> None:
    message = outgoing(send)
    for shown in (message.text, json.dumps(message.echo.message)):
        assert PNG[:20] not in shown
        assert "http" not in shown


def test_where_and_when_it_goes_is_no_part_of_its_identity() -> None:
    plain = identity("sendText", text="oi")
    asked = {"number": "5521955501234", "delay": 500, "messageId": "X", "linkPreview": False}
    assert identity("sendText", text="oi", **asked) == plain
    assert len(plain) == 64


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        ("sendText", {"text": "oi"}, {"text": "oi."}),
        ("sendText", {"text": "oi"}, {"text": "oi", "quoted": {"key": {"id": "A"}}}),
        ("sendMedia", {"media": "https://a.example/1.png"}, {"media": "https://a.example/2.png"}),
        ("sendMedia", {"media": PNG}, {"media": PNG, "caption": "x"}),
        ("sendMedia", {"media": PNG}, {"media": base64.b64encode(b"other").decode()}),
        ("sendWhatsAppAudio", {"audio": PNG}, {"audio": "https://a.example/1.ogg"}),
        (
            "sendReaction",
            {"reaction": "👍", "key": {"id": "A"}},
            {"reaction": "👍", "key": {"id": "B"}},
        ),
        (
            "sendList",
            {"title": "Menu", "sections": [{"rows": [{"title": "A", "rowId": "1"}]}]},
            {"title": "Menu", "sections": [{"rows": [{"title": "A", "rowId": "2"}]}]},
        ),
        (
            "sendButtons",
            {"title": "x", "buttons": []},
            {"title": "x", "footer": "y", "buttons": []},
        ),
    ],
)
def test_what_is_said_is_all_of_its_identity(
    path: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    media = {"mediatype": "image"} if path == "sendMedia" else {}
    assert identity(path, **media, **one) != identity(path, **media, **other)


def test_the_same_words_by_another_path_are_another_message() -> None:
    assert identity("sendList", title="a") != identity("sendButtons", title="a")


def test_bytes_count_however_they_are_written_down() -> None:
    wrapped = f"{PNG[:40]}\r\n{PNG[40:]}".rstrip("=")
    assert identity("sendSticker", sticker=wrapped) == identity("sendSticker", sticker=PNG)


def test_the_same_body_written_otherwise_is_the_same_message() -> None:
    one = identity("sendLocation", latitude=-43.0, longitude=1, name="a", address=None)
    assert one == identity("sendLocation", name="a", longitude=1.0, latitude=-43)


def test_a_text_that_cannot_be_stored_is_made_fit_to_be_sent() -> None:
    message = Outgoing.plain("a\x00b\ud800", {"quoted": {"key": {"id": "\x00A"}}})
    assert message.body == {"text": "ab\ufffd", "quoted": {"key": {"id": "A"}}}


def test_the_number_and_the_chosen_id_go_with_the_body() -> None:
    message = Outgoing.of("message/sendText", {"text": "oi", "delay": 900, "number": "other"})
    assert message.addressed("55@s.whatsapp.net", "3EB0AA") == {
        "text": "oi",
        "number": "55@s.whatsapp.net",
        "messageId": "3EB0AA",
    }
    assert "messageId" not in message.addressed("55@s.whatsapp.net", None)


@_ALL
def test_only_a_text_can_be_sent_again_from_its_words(send: Send) -> None:
    message = outgoing(send)
    again = is_plain_text(message.kind, message.text, message.told_as)
    assert again is (send.path == "message/sendText")
