"""Whatever comes in: an event that can be stored, a reason, or NotAnEnvelope."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.intake.events import NotAnEnvelope, parse_webhook
from router.whatsapp.lengths import LONGEST_TEXT
from tests.fixtures import NAMES, SWOLLEN, swell, webhook

CUSTOMER = "5521955501234@s.whatsapp.net"
CUSTOMER_LID = "284455566677788@lid"
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=8)
    | st.sampled_from(
        ["\x00", "\ud800", CUSTOMER, CUSTOMER_LID, "x@g.us", "status@broadcast", "1" * 400]
    )
    | st.sampled_from(SWOLLEN)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, as the path to it."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for step, inner in items:
        yield (*path, step)
        yield from places(inner, *path, step)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    body = webhook(draw(st.sampled_from(NAMES)))
    body["instance"] = "padaria"
    for _ in range(draw(st.integers(1, 4))):
        *path, last = draw(st.sampled_from(list(places(body))))
        if path == [] and last in ("event", "instance"):
            continue
        place = body
        for step in path:
            place = place[step]
        match draw(st.sampled_from(["replace", "remove", "wrap", "add"])):
            case "replace":
                place[last] = draw(ANYTHING)
            case "remove":
                del place[last]
            case "wrap":
                place[last] = [place[last]]
            case "add" if isinstance(place, dict):
                place[draw(st.text(max_size=5))] = draw(ANYTHING)
    return body


def texts(value: Any) -> list[str]:
    """Every text in a JSON value."""
    reached = [value]
    for path in places(value):
        inner = value
        for step in path:
            inner = inner[step]
        reached.append(inner)
    return [each for each in reached if isinstance(each, str)]


def check(body: dict[str, Any]) -> None:
    body = swell(body)
    before = copy.deepcopy(body)
    try:
        parsed = parse_webhook("padaria", body)
    except NotAnEnvelope:
        return
    assert repr(body) == repr(before)  # NaN is not itself
    assert bool(parsed.events) != bool(parsed.ignored)
    for text in (parsed.event, parsed.ignored or ""):
        text.encode()
    events: Any = parsed.events
    for event in events:
        stored = json.dumps(event, allow_nan=False, ensure_ascii=False)
        stored.encode()
        assert "\\u0000" not in json.dumps(event).replace("\\\\", "")
        assert orjson.loads(orjson.dumps(event)) == event
        assert 0 < len(event["key"]) < 400
        assert all(len(jid) < 80 for jid in event.get("jids", ()))
        assert event["instance"] == "padaria"
        assert all(len(text) <= LONGEST_TEXT for text in texts(event))


@pytest.mark.apart
@settings(max_examples=400)
@given(mutated())
def test_a_mutated_webhook_never_raises_anything_else_and_can_be_stored(body: dict[str, Any]):
    check(body)


@given(st.dictionaries(st.text(max_size=8), ANYTHING, max_size=5))
def test_arbitrary_json_never_raises_anything_else(body: dict[str, Any]):
    check(body)


@given(
    st.sampled_from(["messages.upsert", "messages.edited", "messages.update", "send.message"]),
    ANYTHING,
)
def test_arbitrary_data_never_raises_anything_else(event: str, data: Any):
    check({"event": event, "instance": "padaria", "data": data})


@pytest.mark.apart
@given(ANYTHING)
def test_arbitrary_content_never_raises_anything_else(content: Any):
    body = webhook("messages_upsert__text")
    body["data"]["message"] = {"imageMessage": content, "locationMessage": content, "x": content}
    check(body)
    for name in NAMES:
        if name.startswith("messages_upsert"):
            body = webhook(name) | {"instance": "padaria"}
            for kind in body["data"]["message"]:
                body["data"]["message"][kind] = content
            check(body)
