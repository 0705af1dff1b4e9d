"""However long a field of a webhook is, the event that is made of it is bounded."""

import copy
from typing import Any

import pytest

from router.intake.events import parse_webhook
from router.whatsapp.lengths import LONGEST_TEXT, cut, storable
from tests.fixtures import NAMES, webhook
from tests.for_each import for_each

MOST = LONGEST_TEXT
# Of a message and of a chat: a long one is refused.
KNOWN_BY = ("event", "instance", "key", "keyId", "id", "remoteJid", "type", "messageType", "sender")


def swollen(value: Any) -> Any:
    """The webhook with every text of it 300,000 characters longer, but what it is known by."""
    if isinstance(value, dict):
        return {name: each if name in KNOWN_BY else swollen(each) for name, each in value.items()}
    if isinstance(value, list):
        return [swollen(each) for each in value]
    return value + " x" * 150_000 if isinstance(value, str) else value


@for_each("name", NAMES)
def test_no_field_of_any_event_is_longer_than_it_may_be(name: str):
    body = swollen(copy.deepcopy(webhook(name)))
    for event in parse_webhook(body["instance"], body).events:
        for text in texts_in(event):
            assert len(text) <= MOST


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts_in(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_in(each)]
    return [value] if isinstance(value, str) else []


def test_what_is_cut_says_so_and_stays_as_it_is_when_it_is_cut_again():
    short = cut("ã" * 70_000)
    assert len(short) == LONGEST_TEXT
    assert short.endswith("ã […]")
    assert cut(short) == short


@pytest.mark.parametrize("length", [0, 1, LONGEST_TEXT])
def test_what_whatsapp_allows_stays_whole(length: int):
    assert cut("🙂" * length) == "🙂" * length


def test_names_and_all_else_are_shorter_than_texts():
    event = storable({"author_name": "x" * 999, "code": "x" * 9999, "quoted": {"text": "x" * 9999}})
    assert [len(text) for text in texts_in(event)] == [256, 4096, 9999]
