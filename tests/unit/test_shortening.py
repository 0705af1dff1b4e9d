"""Media that stands in an answer is cut short as it comes, and nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.outbound.bounds import AnswerTooLong
from router.outbound.shortening import Shortening

LONG = 64 * 1024


def shortened(body: bytes, piece: int = 1000, most: int = 1_000_000) -> bytes:
    shortening = Shortening(most)
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
    return b"".join(map(shortening.shorten, pieces))


@pytest.mark.parametrize("piece", [99, LONG - 1, LONG, LONG + 1, 1_000_000])
def test_only_what_is_longer_than_any_id_or_sentence_is_cut(piece: int):
    said: dict[str, Any] = {
        "key": {"id": "3EB0"},
        "a": "A" * LONG,
        "b": "B-_+/=" * LONG,
        "c": ["C" * 9] * 9,
    }
    found = json.loads(shortened(json.dumps(said).encode(), piece))
    assert found == said | {"b": said["b"][:LONG]}


WORDS = st.text(max_size=20) | st.just("A" * (LONG - 3)) | st.just('é\\"\n😀')


@settings(max_examples=25)
@given(st.lists(st.lists(WORDS, max_size=4).map("".join), max_size=4), st.integers(1, 40_000))
def test_what_is_json_stays_json_wherever_it_is_cut(texts: list[str], piece: int):
    for ascii_only in (True, False):
        written = json.dumps({"texts": texts}, ensure_ascii=ascii_only).encode()
        found = json.loads(shortened(written, max(piece, 100)))["texts"]
        assert [text[:100] for text in found] == [text[:100] for text in texts]


@pytest.mark.parametrize("body", [b"! " * 600, b"A" * LONG + b" " + b"A" * LONG])
def test_of_what_remains_there_may_be_so_much(body: bytes):
    with pytest.raises(AnswerTooLong):
        shortened(body, most=1000)
