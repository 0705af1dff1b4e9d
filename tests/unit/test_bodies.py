"""How many values JSON may have, and how bodies come in: in time, and not all at once."""

import asyncio
import json
from sys import getsizeof

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http import json_bounds
from router.http.bodies import Bodies, BodyLimits, Patience, TooMuch
from router.http.callers import Callers
from router.http.weight import weight_of
from router.intake.sieve import Sieve
from router.whatsapp.elements import too_many
from tests.for_each import for_each

BOMBS = {
    "lists": b"[" + b"[]," * 200_000 + b"1]",
    "objects": b"[" + b"{}," * 200_000 + b"1]",
    "numbers": b"[" + b"1," * 400_000 + b"1]",
    "texts": b"[" + b'"",' * 200_000 + b"1]",
    "texts with commas": b"[" + b'",,",' * 200_000 + b"1]",
    "keys": b"{" + b'"a":1,' * 200_000 + b'"b":1}',
    "nested": b"[" * 200_000,
    "quotes escaped without an end": b"[" + b"1," * 10_001 + b'"' + b'\\"' * 1_000_000,
    "after a text": b'["' + b"a" * 1_000_000 + b'"' + b",1" * 20_000 + b"]",
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS)
def test_a_bomb_has_too_many_values(raw: bytes):
    assert too_many(raw, 10_000)


@pytest.mark.parametrize(
    "text", ["a, b, c; " * 20_000, "[{,]}" * 20_000, '\\", [' * 3000, "é, ü 🙂, " * 9000]
)
def test_a_long_text_is_one_value_whatever_stands_in_it(text: str):
    for raw in (json.dumps({"a": text}), json.dumps({"a": text}, ensure_ascii=False)):
        assert not too_many(raw.encode(), 10_000)


NESTED = st.recursive(
    st.one_of(st.integers(), st.text(), st.none()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=30,
)


def values(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(values(each) for each in inner)


@given(NESTED)
def test_what_has_few_values_is_never_refused(value: object):
    assert not too_many(json.dumps(value).encode(), 2 * values(value))


@pytest.mark.apart
@given(NESTED, st.integers(1, 40))
def test_what_is_let_through_has_not_many_more_than_allowed(value: object, most: int):
    assert too_many(json.dumps(value).encode(), most) or values(value) <= 2 * most + 1


async def test_what_is_large_is_looked_at_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    threads: list[object] = []
    seen = asyncio.to_thread

    async def noted(work, *arguments):
        threads.append(work)
        return await seen(work, *arguments)

    monkeypatch.setattr("router.http.json_bounds.asyncio.to_thread", noted)
    await json_bounds.require_few_values(b'"' + b"a" * 900_000 + b'"', 10)
    assert threads == []
    with pytest.raises(TooMuch):
        await json_bounds.require_few_values(BOMBS["after a text"] + b" " * 500_000, 10_000)
    assert len(threads) == 1


# --- how they come in


SCOPE = {"type": "http", "client": ("198.51.100.1", 1), "headers": [(b"content-length", b"100")]}
CHUNKED = {**SCOPE, "headers": [(b"transfer-encoding", b"chunked")]}


def sending(*chunks: bytes, pause: float = 0.0):
    rest = list(chunks)

    async def receive():
        await asyncio.sleep(pause)
        chunk = rest.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(rest)}

    return receive


async def never():
    await asyncio.Event().wait()


def bodies(**limits) -> Bodies:
    return Bodies(BodyLimits(**limits), Callers(()))


async def read(bodies: Bodies, receive, sender: str = "a", scope=SCOPE, most: int = 1000) -> bytes:
    async with bodies.reading(scope, receive, sender=sender, most=most) as body:
        return body


async def test_one_that_tells_no_length_is_read_without_its_media_once_it_is_too_large():
    read_all = bodies(held_bytes=200)
    webhook = b'{"base64": "' + 90 * b"A" + b'", "b": 1}'
    for size in (1, 7, 60):
        chunks = [webhook[at : at + size] for at in range(0, len(webhook), size)]
        reading = read_all.reading(CHUNKED, sending(*chunks), sender="a", most=50, without=Sieve)
        async with reading as body:
            assert body == b'{"base64": "-", "b": 1}'
            kept = 100 - len(body)  # what was let go of does not count, what is held does
            with read_all.keeping("a", kept), pytest.raises(TooMuch), read_all.keeping("a", 1):
                pass
    text = read_all.reading(CHUNKED, sending(60 * b"a"), sender="a", most=50, without=Sieve)
    with pytest.raises(TooMuch):
        async with text:
            pass


async def test_a_body_that_never_comes_ends_with_408():
    slow = bodies(patience=Patience(seconds=0.01))
    for scope in (SCOPE, CHUNKED):
        with pytest.raises(TooMuch) as refused:
            await read(slow, never, scope=scope)
        assert refused.value.status == 408


@pytest.mark.apart
async def test_what_has_come_wins_time_for_the_rest_and_drops_win_next_to_none():
    steady = bodies(patience=Patience(seconds=0.8, bytes_a_second=10))
    assert len(await read(steady, sending(*[b"abcdefghij"] * 10, pause=0.1))) == 100
    drops = bodies(patience=Patience(seconds=0.05, bytes_a_second=10_000))
    with pytest.raises(TooMuch) as refused:
        await read(drops, sending(*[b"a"] * 100, pause=0.02))
    assert refused.value.status == 408


async def test_bodies_together_do_not_fill_the_memory_and_give_it_back():
    some = bodies(held_bytes=1000)
    async with (
        some.reading(SCOPE, sending(b"a" * 500), sender="a", most=1000),
        some.reading(SCOPE, sending(b"a" * 500), sender="b", most=1000),
    ):
        for sender, status in (("a", 503), ("c", 503)):
            with pytest.raises(TooMuch) as refused:
                await read(some, sending(b"a" * 400, b"a" * 400), sender)
            assert refused.value.status == status
    with pytest.raises(TooMuch) as refused:
        await read(some, sending(b"a" * 501), "a")
    assert refused.value.status == 429
    assert len(await read(some, sending(b"a" * 500), "a")) == 500
    assert (some._held, some._held_by_all) == ({}, 0)
    assert not some._arriving


async def test_a_reader_that_is_stopped_leaves_nothing_behind():
    some = bodies(arriving=1)
    task = asyncio.create_task(read(some, never))
    await asyncio.sleep(0)
    with pytest.raises(TooMuch):
        await read(some, sending(b"a"))
    task.cancel()
    await asyncio.wait([task])
    assert await read(some, sending(b"a")) == b"a"


# --- slow ones that fill the memory


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


class Drop:
    """A body of which something comes when it is told to."""

    def __init__(self, some: Bodies, sender: str) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.read = asyncio.create_task(read(some, self._receive, sender))

    async def _receive(self):
        return {"type": "http.request", "body": await self._chunks.get(), "more_body": True}

    async def says(self, number: int) -> "Drop":
        self._chunks.put_nowait(b"a" * number)
        await settled()
        return self

    def status(self) -> int | None:
        error = self.read.exception() if self.read.done() else None
        return error.status if isinstance(error, TooMuch) else None


AT_ONCE = Patience(undisturbed=0)


async def test_slow_bodies_by_many_names_make_room_for_whoever_is_quick():
    some = bodies(held_bytes=1000, patience=AT_ONCE)
    slow = [await Drop(some, f"made up {number}").says(400) for number in range(2)]
    assert len(await read(some, sending(b"a" * 300), "quiet")) == 300
    await settled()
    assert [each.status() for each in slow] == [408, None]
    with some.keeping("quiet", 300):  # as much is what is made of it
        assert len(await read(some, sending(b"a" * 200), "quiet")) == 200
        assert len(await read(some, sending(b"a" * 100, b"a" * 400), "other")) == 500
    await asyncio.wait([each.read for each in slow])
    assert [each.status() for each in slow] == [408, 408]
    assert (some._held, some._held_by_all, some._arrivals) == ({}, 0, {})


async def test_slow_bodies_in_somebody_elses_name_keep_theirs_out_no_longer_than_others():
    some = bodies(held_bytes=1000, patience=AT_ONCE)
    slow = await Drop(some, "quiet").says(450)
    assert len(await read(some, sending(b"a" * 300), "quiet")) == 300
    await asyncio.wait([slow.read])
    assert slow.status() == 408


async def test_who_has_most_of_the_memory_makes_room_first():
    some = bodies(held_bytes=1000, patience=AT_ONCE)
    steady = await Drop(some, "steady").says(300)
    slow = [await Drop(some, "slow").says(250) for _ in range(2)]
    assert len(await read(some, sending(b"a" * 300), "quiet")) == 300
    await settled()
    assert [each.status() for each in (steady, *slow)] == [None, 408, None]
    for each in (steady, slow[1]):
        each.read.cancel()


async def test_nobody_is_cut_who_has_just_begun_nor_for_one_that_is_older_or_not_there():
    some = bodies(held_bytes=1000)
    begun = [await Drop(some, f"{number}").says(450) for number in range(2)]
    with pytest.raises(TooMuch) as refused:
        await read(some, sending(b"a" * 200), "quiet")
    assert refused.value.status == 503
    assert [each.status() for each in begun] == [None, None]
    for each in begun:
        each.read.cancel()

    some = bodies(held_bytes=1000, patience=AT_ONCE)
    old, young = [await Drop(some, name).says(450) for name in ("old", "young")]
    await old.says(40)
    await old.says(100)
    assert (old.status(), young.status()) == (503, None)
    idle = await Drop(some, "idle").says(0)
    with some.keeping("kept", 200):
        assert len(await read(some, sending(b"a" * 100, b"a" * 400), "quiet")) == 500
    await asyncio.wait([young.read])
    assert (young.status(), idle.status()) == (408, None)
    idle.read.cancel()
    await asyncio.wait([idle.read])
    assert (some._held, some._held_by_all, some._arrivals) == ({}, 0, {})


# --- what is made of them


async def test_what_was_made_of_bodies_counts_with_them_until_it_is_done_with():
    some = bodies(held_bytes=1000)
    with some.keeping("a", 400):
        with pytest.raises(TooMuch) as refused, some.keeping("a", 101):
            pass
        assert (refused.value.status, refused.value.retry_after) == (429, 5)
        with some.keeping("b", 400):
            with pytest.raises(TooMuch) as refused, some.keeping("c", 201):
                pass
            assert (refused.value.status, refused.value.retry_after) == (503, 5)
            with pytest.raises(TooMuch) as refused:
                await read(some, sending(b"a" * 201), "c")
            assert refused.value.status == 503
        assert len(await read(some, sending(b"a" * 201), "c")) == 201
    assert (some._held, some._held_by_all) == ({}, 0)


def test_what_can_never_be_kept_is_told_so():
    with pytest.raises(TooMuch) as refused, bodies(held_bytes=1000).keeping("a", 501):
        pass
    assert refused.value.status == 413


def memory_of(value: object) -> int:
    """What a value takes with all that is in it, where nothing stands in two places."""
    inner = list(value) if isinstance(value, dict | list) else []
    inner += value.values() if isinstance(value, dict) else []
    return getsizeof(value) + sum(map(memory_of, inner))


def texts(number: int, *, of: str) -> list[str]:
    return [f"{of}{each}" for each in range(number)]


HEAVY = {
    "lists": [[] for _ in range(50_000)],
    "objects": [{} for _ in range(50_000)],
    "objects of one field": [{"a": None} for _ in range(50_000)],
    "objects in each other": json.loads('{"a":' * 200 + "0" + "}" * 200),
    "keys": dict.fromkeys(texts(50_000, of="k"), 1),
    "texts": texts(50_000, of=""),
    "wide texts": texts(50_000, of="🙂"),
    "an emoji in a long text": "a" * 3_000_000 + "🙂",
    "one in a short text": ["a" * 50_000 + "🙂"],
    "long text": "a, " * 1_000_000,
    "media": {"message": {"base64": "QUJD" * 1_000_000, "caption": "bolo 🙂"}},
    "media with a caption": {"data": [{"base64": "QUJD" * 1_000_000}, "ção"]},
    "numbers": list(range(10_000, 60_000)),
    "fractions": [each / 7 for each in range(50_000)],
}


@pytest.mark.apart
@for_each("escaped", [False, True])
@for_each("value", HEAVY.values(), ids=HEAVY)
def test_the_weight_of_what_is_parsed_is_never_much_too_small_nor_beyond_bounds(
    value: object, escaped: bool
):
    raw = json.dumps(value, ensure_ascii=escaped, separators=(",", ":")).encode()
    weight = weight_of(raw, orjson.loads(raw), 100_000)
    assert weight >= 0.9 * memory_of(orjson.loads(raw))
    assert weight <= 100_000 * 200 + 4 * len(raw) + 100_000 * 80


def test_media_weigh_hardly_more_than_their_bytes_whatever_stands_beside_them():
    raw = json.dumps(HEAVY["media"], ensure_ascii=False).encode()
    assert weight_of(raw, orjson.loads(raw), 100_000) < 1.01 * len(raw)
