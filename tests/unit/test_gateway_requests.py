"""What the gateway takes of a request: every field by its name, and nobody but the contact."""

import json
from typing import Any

import pytest
from starlette.requests import Request

from router.gate.refusals import Refused
from router.n8n import fields, requests
from router.n8n.fields import BadField
from router.n8n.requests import asked_of, body_of, messages_of, notice_of, understood
from router.n8n.whitelist import NotTheContacts, read_request
from router.replies.texts import texts_of
from router.sending.telling import PATHS
from tests.fixtures.sends import PNG, SENDS
from tests.for_each import for_each

MARIA, LID, JOAO = "5511955550001@s.whatsapp.net", "201955550001001@lid", "5511955550002"
CONTACT = (MARIA, LID)
KEY = {"id": "AC01", "remoteJid": MARIA, "fromMe": False}
BODIES: dict[str, dict[str, Any]] = {
    send.path: send.body | ({"key": KEY} if "key" in send.body else {}) for send in SENDS
}
PRESENCE = "chat/sendPresence"
QUOTING = sorted(
    PATHS - {"message/sendReaction", "message/sendContact", "message/sendWhatsAppAudio"}
)


def read(path: str, **more: Any) -> dict[str, Any]:
    return dict(read_request(path, BODIES.get(path, {}) | more, CONTACT).body)


def refusal(path: str, **more: Any) -> str:
    with pytest.raises(BadField) as bad:
        read(path, **more)
    return bad.value.name


@pytest.mark.parametrize("path", sorted(PATHS))
def test_what_every_route_needs_is_passed_on(path: str) -> None:
    body = BODIES[path]
    left = dict(read_request(path, body | {"number": MARIA}, CONTACT).body)
    if path == "message/sendMedia":
        body = {"fileName": left["fileName"]} | body
    assert left == {name: value for name, value in body.items() if name != "number"}


@for_each("path", sorted(PATHS | {PRESENCE}))
@for_each(
    "name",
    [
        "instanceName",
        "options",
        "textMessage",
        "messageId",
        "webhookUrl",
        "statusJidList",
        "x\ud800",
    ],
)
def test_a_field_that_no_route_has_is_refused_by_its_name(path: str, name: str) -> None:
    assert refusal(path, **{name: "B"}) == name.replace("\ud800", "\ufffd")
    with pytest.raises(Refused) as refused:
        asked_of(path, BODIES.get(path, {}) | {name: {"a": 1}}, CONTACT)
    assert (refused.value.status, refused.value.reason) == (400, name.replace("\ud800", "\ufffd"))


@for_each("path", sorted(PATHS | {PRESENCE}))
@for_each("value", [None, False, "", [], {}])
def test_what_says_nothing_is_never_refused(path: str, value: object) -> None:
    names = ("number", "delay", "quoted", "mentioned", "everyOne", "options", "linkPreview")
    given = dict.fromkeys((*names, "instanceName", "encoding", "notConvertSticker"), value)
    left = read(path, **given)
    assert {name for name in left if name in given} <= {
        "everyOne",
        "linkPreview",
        "encoding",
        "notConvertSticker",
    }


@for_each("path", QUOTING)
@for_each("quoted", ["AC01", ["AC01"], {"key": {}}, {"key": {"id": 7}}, {"id": "A"}])
def test_a_quote_without_an_id_is_refused(path: str, quoted: Any) -> None:
    assert refusal(path, quoted=quoted) == "quoted"


@for_each("path", QUOTING)
@for_each("message", [{"conversation": "forged"}, "forged", ["forged"]])
def test_what_a_quoted_message_says_is_not_for_a_flow_to_say(path: str, message: Any) -> None:
    assert refusal(path, quoted={"key": {"id": "AC01"}, "message": message}) == "quoted"


@pytest.mark.parametrize("path", QUOTING)
def test_of_a_quote_the_id_alone_is_left(path: str) -> None:
    assert read(path, quoted={"key": KEY, "message": {}})["quoted"] == {"key": {"id": "AC01"}}


@pytest.mark.parametrize("path", ["message/sendContact", "message/sendWhatsAppAudio"])
@pytest.mark.parametrize("name", ["quoted", "mentioned", "mentionsEveryOne", "everyOne"])
def test_what_evolution_would_drop_is_refused(path: str, name: str) -> None:
    given = {"quoted": {"key": {"id": "A"}}, "mentioned": [MARIA]}.get(name, True)
    assert refusal(path, **{name: given}) == name


STRANGE = [
    *(JOAO, f"{JOAO}@s.whatsapp.net", f"+{JOAO}", f"{JOAO}@c.us", f"{JOAO}:7@s.whatsapp.net"),
    *("120363000000000001@g.us", "status@broadcast", "201955550001002@lid", "x@newsletter"),
    *(f"{MARIA},{JOAO}", f"tel:{JOAO}", f"fone {JOAO} (Maria)", f"@{JOAO}", "551195555000"),
]


@pytest.mark.parametrize("jid", STRANGE)
def test_nobody_but_the_contact_is_named_in_any_field(jid: str) -> None:
    for path in sorted(PATHS | {PRESENCE}):
        with pytest.raises(NotTheContacts) as named:
            read(path, number=jid)
        assert named.value.name == "number"
    with pytest.raises(NotTheContacts):
        read("message/sendReaction", key=KEY | {"remoteJid": jid})
    for path in QUOTING:
        with pytest.raises(NotTheContacts):
            read(path, quoted={"key": KEY | {"remoteJid": jid}})
        with pytest.raises((NotTheContacts, BadField)):
            read(path, mentioned=[MARIA, jid])


@pytest.mark.parametrize("jid", [MARIA, LID, "5511955550001", "+55 11 95555-0001", f"{MARIA} "])
def test_the_contact_may_be_named_by_each_of_its_identities(jid: str) -> None:
    assert read("message/sendText", number=jid) == read("message/sendText")
    key = read("message/sendReaction", key=KEY | {"remoteJid": jid}, number=jid)["key"]
    assert key["remoteJid"] in CONTACT


@pytest.mark.parametrize("number", [5511955550001, [MARIA], {"jid": MARIA}, True, 1e300])
def test_a_number_that_is_no_text_is_refused(number: Any) -> None:
    assert refusal("message/sendText", number=number) == "number"


def test_in_a_group_its_members_may_be_called() -> None:
    group = ("120363000000000001@g.us",)
    body = {"text": "oi", "mentioned": [JOAO], "number": group[0]}
    assert read_request("message/sendText", body, group).body["mentioned"] == [JOAO]
    with pytest.raises(BadField):
        read_request("message/sendText", body | {"mentioned": ["todos"]}, group)
    with pytest.raises(NotTheContacts):
        read_request("message/sendText", body | {"number": MARIA}, group)


@for_each("path", sorted(PATHS - {"message/sendReaction"} | {PRESENCE}))
@for_each(
    "delay",
    ["abc", "1500", float("nan"), float("inf"), -5, 1.5, 10_001, 10**400, [1], {"a": 1}, True],
)
def test_a_delay_is_a_whole_number_of_milliseconds_up_to_ten_seconds(path: str, delay: Any) -> None:
    assert refusal(path, delay=delay) == "delay"


@pytest.mark.parametrize(("delay", "seconds"), [(0, 0), (1500, 1.5), (1500.0, 1.5), (10_000, 10)])
def test_a_delay_is_told_in_seconds_and_does_not_go_on(delay: float, seconds: float) -> None:
    asked = read_request("message/sendText", {"text": "oi", "delay": delay}, CONTACT)
    assert (asked.delay, asked.body) == (seconds, {"text": "oi"})


@pytest.mark.parametrize("path", ["message/sendLocation", "message/sendPoll"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, "1", True, [1]])
def test_numbers_are_finite(path: str, number: Any) -> None:
    name = "latitude" if path == "message/sendLocation" else "selectableCount"
    assert refusal(path, **{name: number}) == name


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("message/sendMedia", {"caption": {"a": 1}}),
        ("message/sendMedia", {"mediatype": "sticker"}),
        ("message/sendList", {"sections": [{"title": "S", "rows": [{"title": "A", "x": "1"}]}]}),
        ("message/sendList", {"sections": ["S"]}),
        ("message/sendButtons", {"buttons": [{"type": "reply", "media": "x"}]}),
        ("message/sendButtons", {"buttons": [{"type": "spell"}]}),
        ("message/sendContact", {"contact": [{"fullName": "A", "vcard": "BEGIN:VCARD"}]}),
        ("message/sendPoll", {"values": ["a", 1]}),
        ("message/sendReaction", {"key": KEY | {"participant": MARIA}}),
        ("message/sendReaction", {"key": {"id": "AC01"}}),
    ],
)
def test_what_stands_inside_is_read_as_closely(path: str, more: dict[str, Any]) -> None:
    assert refusal(path, **more) == next(iter(more))


def test_a_file_at_an_address_has_a_name_that_is_looked_at() -> None:
    at = {"mediatype": "document", "media": "https://padaria.example/docs/jogue%20na%20loteria.pdf"}
    body = read_request("message/sendMedia", at, CONTACT).body
    assert body["fileName"] == "jogue na loteria.pdf"
    assert "loteria" in texts_of(body)
    for media in ("https://padaria.example/docs", PNG):
        with pytest.raises(BadField) as bad:
            read_request("message/sendMedia", at | {"media": media}, CONTACT)
        assert bad.value.name == "fileName"
    picture = read_request("message/sendMedia", at | {"mediatype": "image"}, CONTACT)
    assert "fileName" not in picture.body


@pytest.mark.parametrize("path", sorted(PATHS))
def test_every_text_of_every_route_is_looked_at(path: str) -> None:
    """Put a word into each text of a body, wherever it stands: either it is seen, or unread."""
    unread = {"key", "quoted", "mentioned", "mediatype", "media", "audio", "video", "sticker"}
    more = {"caption": "c", "fileName": "f.pdf"} if path == "message/sendMedia" else {}
    body = read(path, **more)
    for name in body.keys() - unread:
        seen = texts_of(marked(body, name))
        assert seen.count("loteria") == json.dumps(marked(body, name)).count("loteria"), name
    every = {
        "type": "pix",
        **dict.fromkeys(
            ("displayText", "id", "url", "copyCode", "phoneNumber", "currency", "name", "key"),
            "loteria",
        ),
    }
    assert texts_of({"buttons": [every]}).count("loteria") == 8


def marked(body: dict[str, Any], name: str) -> dict[str, Any]:
    def mark(value: Any) -> Any:
        if isinstance(value, str):
            return "loteria"
        if isinstance(value, list):
            return [mark(item) for item in value]
        if isinstance(value, dict):
            return {key: mark(item) for key, item in value.items()}
        return value

    return body | {name: mark(body[name])}


def test_whatever_is_taken_can_be_written_and_stored() -> None:
    for send in SENDS:
        body = spoilt(BODIES[send.path]) | {
            name: BODIES[send.path][name] for name in ("key", "mediatype") if name in send.body
        }
        body.pop("buttons", None)  # their kinds are words of a few
        for message in messages_of(asked_of(send.path, body, CONTACT)):
            written = json.dumps(message.body, ensure_ascii=False, allow_nan=False).encode()
            assert b"\\u0000" not in written


def spoilt(value: Any) -> Any:
    match value:
        case str():
            return f"{value}\x00\ud800"
        case dict():
            return {name: spoilt(item) for name, item in value.items()}
        case list():
            return [spoilt(item) for item in value]
        case _:
            return value


def test_a_notice_has_a_text_and_nothing_else() -> None:
    assert notice_of({"text": "oi", "number": JOAO, "delay": None}) == {
        "text": "oi",
        "number": JOAO,
    }
    for body in ({}, {"text": 7}, {"text": "oi", "quoted": {"key": {"id": "A"}}}, {"number": JOAO}):
        with pytest.raises(Refused) as refused:
            notice_of(body)
        assert refused.value.status == 400


# --- the body as it comes


async def body_read(written: bytes, query: bytes = b"") -> dict[str, Any]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": written, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [], "query_string": query}
    return await body_of(Request(scope, receive))


@pytest.mark.parametrize(
    "written",
    [
        b"[]",
        b'"text"',
        b"{",
        b'{"delay": NaN}',
        b'{"delay": -Infinity}',
        '{"text": "oi"}'.encode("utf-16"),
        b'{"text": "\xff"}',
        b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a": [' + b"[]," * 30_000 + b"[]]}",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"number=5511955550001&text=oi",
    ],
)
async def test_a_body_that_is_no_plain_json_object_is_refused(written: bytes) -> None:
    with pytest.raises(Refused) as refused:
        await body_read(written)
    assert (refused.value.status, refused.value.reason) == (400, "body")


async def test_a_number_beyond_all_is_read_and_then_refused_by_its_name() -> None:
    body = await body_read(b'{"text": "oi", "delay": 1e999}')
    with pytest.raises(Refused) as refused:
        asked_of("message/sendText", body, CONTACT)
    assert refused.value.reason == "delay"


@pytest.mark.parametrize("query", [b"instanceName=B", b"x", b"a=1&a=2"])
async def test_nothing_is_asked_in_the_query(query: bytes) -> None:
    with pytest.raises(Refused) as refused:
        await body_read(b"{}", query)
    assert refused.value.reason == "query"


async def test_a_picture_of_many_megabytes_is_few_elements() -> None:
    media = PNG * 20_000
    assert (await body_read(json.dumps({"media": media}).encode()))["media"] == media


# --- how much

LINE, NAME = "*a " * 1366, "n" * 1025
ROWS = [{"title": "t", "description": "d" * 4096, "rowId": "r"}] * 100
TOO_LONG: list[tuple[str, dict[str, Any]]] = [
    ("message/sendText", {"text": "*a " * 21_846}),
    ("message/sendText", {"text": "*a " * 2_000_000}),
    ("message/sendText", {"number": "5" * 1025}),
    ("message/sendText", {"quoted": {"key": {"id": NAME}}}),
    ("message/sendText", {"mentioned": ["5511955550001"] * 1025}),
    ("message/sendText", {"mentioned": ["5" * 1025]}),
    ("message/sendMedia", {"caption": LINE}),
    ("message/sendMedia", {"caption": "*a " * 2_000_000}),
    ("message/sendMedia", {"fileName": NAME}),
    ("message/sendMedia", {"mimetype": NAME}),
    ("message/sendMedia", {"media": "https://files.example/" + "a" * 8192}),
    ("message/sendPtv", {"video": "https://files.example/" + "a" * 8192}),
    ("message/sendWhatsAppAudio", {"audio": "https://files.example/" + "a" * 8192}),
    ("message/sendSticker", {"sticker": "https://files.example/" + "a" * 8192}),
    ("message/sendReaction", {"reaction": LINE}),
    ("message/sendReaction", {"key": KEY | {"id": NAME}}),
    ("message/sendLocation", {"name": LINE}),
    ("message/sendLocation", {"address": LINE}),
    ("message/sendContact", {"contact": [{"fullName": LINE}]}),
    ("message/sendContact", {"contact": [{"organization": LINE}]}),
    ("message/sendContact", {"contact": [{"fullName": "M"}] * 101}),
    ("message/sendPoll", {"name": LINE}),
    ("message/sendPoll", {"values": [LINE, "b"]}),
    ("message/sendPoll", {"values": ["a"] * 101}),
    ("message/sendList", {"title": LINE}),
    ("message/sendList", {"description": LINE}),
    ("message/sendList", {"footerText": LINE}),
    ("message/sendList", {"buttonText": LINE}),
    ("message/sendList", {"sections": [{"title": LINE, "rows": []}]}),
    ("message/sendList", {"sections": [{"title": "t", "rows": [{"description": LINE}]}]}),
    ("message/sendList", {"sections": [{"title": "t", "rows": [{"title": "r"}] * 101}]}),
    ("message/sendList", {"sections": [{"title": "t", "rows": []}] * 101}),
    ("message/sendList", {"sections": [{"title": "t", "rows": ROWS}]}),
    ("message/sendButtons", {"title": LINE}),
    ("message/sendButtons", {"footer": LINE}),
    ("message/sendButtons", {"thumbnailUrl": "https://files.example/" + "a" * 8192}),
    ("message/sendButtons", {"buttons": [{"type": "copy", "copyCode": LINE}]}),
    ("message/sendButtons", {"buttons": [{"type": "reply", "displayText": LINE}]}),
    ("message/sendButtons", {"buttons": [{"type": "reply"}] * 101}),
    (PRESENCE, {"number": "5" * 1025}),
]


@pytest.mark.parametrize(("path", "more"), TOO_LONG)
def test_what_is_too_long_is_refused_by_its_name_before_anything_is_done_with_it(
    path: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []

    def looks(text: str) -> str:
        looked_at.append(len(text))
        return text

    monkeypatch.setattr(fields, "clean", looks)
    monkeypatch.setattr(requests, "parts_of", lambda _: pytest.fail("it was worked on"))
    with pytest.raises(Refused) as refused:
        understood(path, json.dumps(BODIES.get(path, {}) | more).encode(), CONTACT)
    (name,) = more
    assert (refused.value.status, refused.value.reason) == (400, name)
    assert str(refused.value).startswith(name)
    assert len(str(refused.value)) < 300
    assert max(looked_at, default=0) <= 4096


def test_a_name_that_is_too_long_is_not_repeated() -> None:
    with pytest.raises(Refused) as refused:
        asked_of("message/sendText", {"text": "oi", "n" * 6_000_000: "x"}, CONTACT)
    assert len(str(refused.value)) < 300
    assert len(refused.value.reason) <= 200


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("message/sendText", {"text": "a" * 65_536}),
        ("message/sendText", {"mentioned": [MARIA] * 1024}),
        ("message/sendMedia", {"caption": "a" * 4096}),
        ("message/sendMedia", {"media": "A" * 6_000_000}),
        ("message/sendList", {"sections": [{"title": "t", "rows": ROWS[:30]}]}),
        ("message/sendPoll", {"values": ["a" * 100] * 100}),
    ],
)
def test_what_whatsapp_takes_is_not_too_long(path: str, more: dict[str, Any]) -> None:
    (name,) = more
    assert read(path, **more)[name]


def test_a_notice_is_no_longer_than_a_text() -> None:
    assert notice_of({"text": "a" * 65_536})["text"]
    with pytest.raises(Refused) as refused:
        notice_of({"text": "a" * 65_537})
    assert refused.value.reason == "text"


@pytest.mark.parametrize("text", ["Agent stopped due to max iterations.", "<html><body>x</body>"])
def test_what_is_technical_is_refused_as_a_text_that_says_nothing(text: str) -> None:
    with pytest.raises(Refused) as refused:
        understood("message/sendText", json.dumps({"text": text}).encode(), CONTACT)
    assert (refused.value.status, refused.value.reason) == (400, "text")
    assert "no text for a customer" in str(refused.value)
