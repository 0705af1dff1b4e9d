"""Whatever a webhook's fields hold, and however much: what is worked on has a bound.

Work is told in characters that readers touch, in values that are parsed and in calls; never in
time.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FrameType, SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from router.configuration.settings import load_settings
from router.http.bodies import Bodies, BodyLimits
from router.http.callers import Callers
from router.http.services import provide
from router.intake import events, routes
from router.intake.decoding import decode
from router.intake.events import NotAnEnvelope, open_webhook, parse_webhook, read_piece
from router.intake.readers.envelope import open_envelope
from router.intake.rejections import Rejected
from router.whatsapp import choices
from router.whatsapp.bounds import (
    LONGEST_JID,
    MOST_IN_A_LIST,
    MOST_OF_AN_ITEM,
    bounded,
)
from router.whatsapp.content import innermost, read_content
from router.whatsapp.jids import normalise_jid
from router.whatsapp.lengths import LONGEST_TEXT
from tests.fixtures import NAMES, webhook
from tests.for_each import for_each
from tests.services import intake_services

HUGE = 300_000
SHAPES: dict[str, str] = {
    "brackets": "(" * HUGE,
    "words": "a b " * (HUGE // 4),
    "spaces": " " * HUGE,
    "surrogates": "\ud800" * HUGE,
    "numbers": "9" * HUGE,
    "zeros": "\x00" * HUGE,
    "phones": "TEL:1\n" * (HUGE // 6),
    "lists": "[" + "[]," * (HUGE // 3) + "[]]",
    "a number behind spaces": "5521955501234" + " " * HUGE + "@s.whatsapp.net",
}
MOST_CHARACTERS = 2 * MOST_OF_AN_ITEM + 2 * LONGEST_TEXT  # of one item
CUSTOMER = "5521955501234@s.whatsapp.net"


def strings(value: Any) -> Iterator[str]:
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list):
            left += each


def filled(value: Any, text: str) -> Any:
    """The same value with this text in the place of every text but the event's name."""
    if isinstance(value, dict):
        return {name: filled(inner, text) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, text) for inner in value] * 2
    return text if isinstance(value, str) else value


def message(**content: Any) -> dict[str, Any]:
    body = webhook("messages_upsert__text") | {"instance": "padaria"}
    body["data"]["message"] = content
    return body


def only_event(body: dict[str, Any]) -> dict[str, Any]:
    (event,) = parse_webhook("padaria", body).events
    return dict(event)


def only_item(body: dict[str, Any]) -> dict[str, Any]:
    ((item,),) = open_webhook("padaria", body).pieces
    assert item is not None
    return dict(item)


def characters_worked_on(function: Callable[[], Any]) -> int:
    """How many characters the strings had together whose methods were called meanwhile."""
    total = 0

    def note(_: FrameType, what: str, called: Any) -> None:
        nonlocal total
        of = getattr(called, "__self__", None)
        if what == "c_call" and isinstance(of, str):
            total += len(of)

    sys.setprofile(note)
    try:
        function()
    except NotAnEnvelope:
        pass
    finally:
        sys.setprofile(None)
    return total


@for_each("shape", SHAPES)
@for_each("name", NAMES)
def test_no_field_of_any_event_is_worked_on_beyond_its_bound(name: str, shape: str):
    body = webhook(name)
    body["data"] = filled(body.get("data"), SHAPES[shape])
    body |= {"instance": "padaria", "sender": SHAPES[shape], "date_time": SHAPES[shape]}
    opened = open_webhook("padaria", body)
    for piece in opened.pieces:
        for item in piece:
            assert max(map(len, strings(item)), default=0) <= LONGEST_TEXT
            assert sum(map(len, strings(item))) <= MOST_CHARACTERS
        worked = characters_worked_on(partial(read_piece, opened.envelope, piece))
        assert worked <= 20 * MOST_CHARACTERS


@for_each("name", NAMES)
def test_of_what_evolution_really_sends_only_what_nobody_reads_is_left_out(name: str):
    data = webhook(name).get("data")
    for item in data if isinstance(data, list) else [data]:
        if isinstance(item, dict):
            copy, characters = bounded(item)
            assert characters <= sum(map(len, strings(item)))
            left_out = set(strings(item)) - set(strings(copy))
            assert all(len(text) > 250 and " " not in text for text in left_out)


@for_each(
    "place",
    ["remoteJid", "remoteJidAlt", "previousRemoteJid", "senderPn", "senderLid", "participant"],
)
@for_each("filler", [" ", "\x00", ":1", "_", "x"])
def test_a_jid_that_is_too_long_is_nobodys(place: str, filler: str):
    """Cut, it could be somebody's."""
    somebody = "5521955509999"
    for long in (
        f"{somebody}@s.whatsapp.net" + filler * 200,
        somebody + filler * 200 + "@s.whatsapp.net",
        filler * 200 + f"{somebody}@s.whatsapp.net",
        somebody + filler * 200,
    ):
        assert normalise_jid(long) == ""
        body = message(conversation="oi")
        body["data"]["key"][place] = long
        try:
            parsed = parse_webhook("padaria", body)
        except NotAnEnvelope:
            continue
        jids: list[Any] = [event["jids"] for event in parsed.events]
        assert not any(somebody in jid for each in jids for jid in each)


def test_an_id_that_is_too_long_is_none():
    body = message(conversation="oi")
    body["data"]["key"]["id"] = "3A" * 200
    with pytest.raises(NotAnEnvelope, match="no id"):
        parse_webhook("padaria", body)
    body = message(reactionMessage={"text": "👍", "key": {"id": "3A" * 200}})
    event = only_event(body)
    assert event["quoted"] is None


TEXTS: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("conversation", lambda text: {"conversation": text}),
    ("extended", lambda text: {"extendedTextMessage": {"text": text}}),
    ("caption", lambda text: {"imageMessage": {"caption": text}}),
    ("transcript", lambda text: {"audioMessage": {}, "speechToText": text}),
    ("list", lambda text: {"listResponseMessage": {"title": text}}),
    ("description", lambda text: {"eventMessage": {"name": "x", "description": text}}),
    ("button", lambda text: {"buttonsResponseMessage": {"selectedDisplayText": text}}),
    ("menu", lambda text: {"interactiveMessage": {"body": {"text": text}}}),
    ("note", lambda text: {"orderMessage": {"message": text}}),
]


@pytest.mark.parametrize(("name", "content"), TEXTS)
def test_what_whatsapp_lets_people_write_is_kept_whole_and_more_is_cut_with_a_mark(name, content):
    longest = "ã" * (LONGEST_TEXT - 100)
    event = only_event(message(**content(longest)))
    assert longest in event["text"]
    event = only_event(message(**content("ã" * 90_000)))
    assert len(event["text"]) == LONGEST_TEXT
    assert "[…]" in event["text"][-10:]


def test_a_name_is_cut():
    body = message(conversation="oi")
    body["data"]["pushName"] = "Bea " * 100
    event = only_event(body)
    assert len(event["author_name"]) == 200
    assert event["author_name"].endswith("…")


def test_of_a_card_that_is_too_long_no_number_is_cut():
    numbers = [f"55119{n:08}" for n in range(10_000)]
    card = "BEGIN:VCARD\nFN:Bea\n" + "".join(f"TEL:{number}\n" for number in numbers)
    event = only_event(message(contactMessage={"vcard": card}))
    told = event["text"].removesuffix(" […]").removeprefix("[contact card: Bea, ").split(", ")
    assert set(told[:-1]) <= set(numbers)
    assert len(told) > 100


def test_many_texts_are_together_no_longer_than_one_may_be():
    names = [{"optionName": "o" * 1000} for _ in range(10_000)]
    body = message(pollCreationMessage={"name": "?", "options": names})
    item = only_item(body)
    assert len(item["message"]["pollCreationMessage"]["options"]) == MOST_IN_A_LIST
    assert sum(map(len, strings(item))) <= MOST_CHARACTERS
    sections = [{"rows": [{"title": "t" * 20_000}] * 300}] * 300
    item = only_item(message(listMessage={"sections": sections}))
    assert sum(map(len, strings(item))) <= MOST_CHARACTERS
    assert item["key"]["id"], "what identifies is there whatever stands beside it"


def test_a_field_whose_name_is_too_long_is_left_out():
    ((item,),) = open_webhook("padaria", message(**{"x" * HUGE: {"text": "x"}})).pieces
    assert item is not None
    assert item["message"] == {}


def test_what_identifies_is_kept_behind_any_number_of_texts():
    body = message(**{f"x{n}": {"text": "t" * LONGEST_TEXT} for n in range(20)})
    body["data"] = {"message": body["data"]["message"], **body["data"]}
    item = only_item(body)
    assert item["key"]["remoteJid"] == body["data"]["key"]["remoteJid"]


@pytest.mark.parametrize("name", ["buttonParamsJson", "paramsJson"])
@pytest.mark.parametrize(
    "text", ["[" + "[]," * 6_600 + "[]]", '{"a":' * 3_000, "[" + "1," * 30_000 + "1]", "{" * 65_000]
)
def test_json_in_a_text_is_counted_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
):
    parsed: list[int] = []

    def loads(given: str) -> object:
        parsed.append(given.count(",") + given.count("[") + given.count("{"))
        return {}

    monkeypatch.setattr(choices, "json", SimpleNamespace(loads=loads, dumps=json.dumps))
    if name == "paramsJson":
        content = {"nativeFlowResponseMessage": {name: text}}
        read_content(innermost({"interactiveResponseMessage": content}))
    else:
        buttons = [{name: text} for _ in range(900)]
        body = message(interactiveMessage={"nativeFlowMessage": {"buttons": buttons}})
        parse_webhook("padaria", body)
    assert sum(parsed) <= 1_000


def test_the_json_of_a_real_button_is_read():
    button = {"buttonParamsJson": '{"display_text":"Quero"}'}
    body = message(interactiveMessage={"nativeFlowMessage": {"buttons": [button]}})
    event = only_event(body)
    assert "Quero" in event["text"]


def test_the_envelope_is_opened_once_however_many_items_it_has(monkeypatch: pytest.MonkeyPatch):
    opened: list[Any] = []
    real = open_envelope
    monkeypatch.setattr(
        events, "open_envelope", lambda *given: (opened.append(given), real(*given))[1]
    )
    body = message(conversation="oi") | {"sender": "(" * HUGE}
    body["data"] = [{} for _ in range(1_000)]
    webhook = open_webhook("padaria", body)
    for piece in webhook.pieces:
        with pytest.raises(NotAnEnvelope):
            read_piece(webhook.envelope, piece)
    assert len(opened) == 1
    assert all(len(text) <= LONGEST_JID for given in opened for text in strings(given[1]))


def test_a_webhook_has_so_many_items_at_most():
    body = message(conversation="oi")
    body["data"] = [{}] * 1_001
    with pytest.raises(NotAnEnvelope, match="1000 events at most"):
        open_webhook("padaria", body)
    body["event"] = "contacts.upsert"  # of which nothing is read
    assert open_webhook("padaria", body).ignored


def test_heavy_items_are_read_a_few_at_a_time():
    body = message(conversation="oi")
    item = body["data"] | {"message": {"conversation": "ã" * LONGEST_TEXT}}
    body["data"] = [item] * 50
    pieces = open_webhook("padaria", body).pieces
    assert sum(map(len, pieces)) == 50
    assert all(sum(map(len, strings(list(piece)))) <= MOST_CHARACTERS for piece in pieces)


# --- the body, before it is read


@pytest.mark.parametrize("text", ["9" * 4_299, "-" + "9" * 4_299, "0." + "1" * 4_299])
def test_a_number_that_is_too_long_is_not_worked_on(text: str):
    with pytest.raises(Rejected, match="more than 400 characters"):
        decode(f'{{"s":"\\ud800","a":[7,1.5,{text}]}}'.encode())


def test_a_number_that_is_only_large_is_taken():
    decoded = decode(f'{{"s":"\\ud800","a":[7,1.5,{"9" * 40},{"9" * 41}]}}'.encode())
    assert decoded == {"s": "\ud800", "a": [7, 1.5, 10**40 - 1, float("9" * 41)]}


class Database:
    def __init__(self) -> None:
        self.recorded: list[dict[str, Any]] = []

    async def call(self, function: str, argument: Mapping[str, Any]) -> dict[str, Any]:
        if function == "webhook_guards":
            return {"now": "2026-11-26", "next": None, "guards": []}
        self.recorded += argument["events"]
        decision = {"outcome": "recorded", "decision": "turn_pending", "session_id": 1}
        return {"decisions": [decision for _ in argument["events"]]}


SECRET = {"X-Webhook-Secret": "webhook-secret-0000000000004"}


class Post:
    """Takes webhooks; what is counted of them can be seen."""

    def __init__(self, **configuration: str) -> None:
        self.database = Database()
        self.bodies = Bodies(BodyLimits(), Callers(()))
        app = FastAPI()
        app.router.routes.extend(routes.router.routes)  # as the whole router has them
        settings = load_settings(
            {
                "EVOLUTION_WEBHOOK_SHARED_SECRET": SECRET["X-Webhook-Secret"],
                "ANTHROPIC_API_KEY": "x",
                **configuration,
            },
            env_file=None,
        )
        services = intake_services(settings, self.database, self.bodies)
        provide(app, services)
        self.rates = services.rates
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://router", headers=SECRET
        )


async def test_a_large_body_is_parsed_and_bounded_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
):
    threads: list[int] = []
    real = routes._opened
    monkeypatch.setattr(
        routes, "_opened", lambda *given: (threads.append(threading.get_ident()), real(*given))[1]
    )
    post = Post()
    for text in ("a b " * 100_000, "oi"):
        answer = await post.http.post("/webhook/padaria", json=message(conversation=text))
        assert answer.status_code == 200
    large, small = threads
    assert large != threading.get_ident() == small
    assert [len(event["text"]) for event in post.database.recorded] == [LONGEST_TEXT, 2]


@pytest.mark.parametrize("item", [{}, None, 7, "x", {"key": {"id": "A"}}, []])
async def test_items_that_are_no_events_count_as_events(item: object):
    post = Post(TENANT_WEBHOOKS_PER_MINUTE="300")
    body = message(conversation="oi") | {"data": [item] * 250}
    assert (await post.http.post("/webhook/padaria", json=body)).status_code == 422
    more = message(conversation="oi")
    statuses = [
        (await post.http.post("/webhook/padaria", json=more)).status_code for _ in range(60)
    ]
    assert statuses.count(200) == 50
    assert set(statuses[50:]) == {429}


# --- the name in the path

SPELLINGS = [
    "padaria%00", "padaria%00%00", "%00padaria", "pada%0Aria", "padaria%7F", "padaria%C2%85",
    "padaria%1F", "x" * 1_001,
]  # fmt: skip


@for_each("spelling", SPELLINGS)
@for_each("rest", ["", "/", "/messages-upsert"])
async def test_a_name_that_no_instance_can_have_is_refused_before_anything_is_counted(
    spelling: str, rest: str
):
    post = Post()

    async def body() -> Any:
        raise AssertionError("its body was asked for")
        yield b""

    answer = await post.http.post(f"/webhook/{spelling}{rest}", content=body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert len(post.rates) == 0
    assert not post.bodies._held


@pytest.mark.parametrize(
    "path", ["padaria", "padaria/", "padaria/x", "padaria//x", "pada%72ia", "padaria%2Fx"]
)
async def test_every_way_to_write_the_path_is_one_sender(path: str):
    post = Post(TENANT_WEBHOOKS_PER_MINUTE="1")
    text = message(conversation="oi")
    assert (await post.http.post(f"/webhook/{path}", json=text)).status_code == 200
    assert (await post.http.post("/webhook/padaria", json=text)).status_code == 429
    names: list[str] = []
    reading = post.bodies.reading

    def noting(*given: Any, sender: str, **more: Any) -> Any:
        names.append(sender)
        return reading(*given, sender=sender, **more)

    post.bodies.reading = noting  # type: ignore[method-assign]
    await asyncio.sleep(0)
    post.rates._counters.reset()
    assert (await post.http.post(f"/webhook/{path}", json=text)).status_code == 200
    assert names == ["webhooks of padaria"]


def test_a_body_may_still_be_any_json():
    for body in ({"event": ["x"]}, {"event": "x" * 300}, {"event": {}, "data": [[[]]]}):
        with pytest.raises(NotAnEnvelope):
            open_webhook("padaria", json.loads(json.dumps(body)))
