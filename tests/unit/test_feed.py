"""One reader tells all who look: nobody is missed, nobody waits for another, nobody goes on."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from router.errors import DatabaseAway, DatabaseFault
from router.feed import events
from router.feed.feed import Feed, FeedAway
from router.feed.followers import MOST_WAITING, Follower, Look
from router.feed.neighbours import ALONE, OFTEN, Neighbours
from router.feed.rights import Rights
from router.state.calls.changes import Change
from router.state.database import Json

KEY: Mapping[str, object] = {"kind": "key", "key_hash": "ab"}


class State:
    """Answers as SQL does: what `happens` is told at the next look."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.asked: list[Mapping[str, Any]] = []
        self.changes: list[Json] = []
        self.refused: list[Json] = []
        self.lost = self.is_away = False
        self.lost_tenants: list[int] = []
        self.fault: Exception = DatabaseAway("away")
        self.position = 0

    def happens(self, tenant_id: int | None = 1, session_id: int | None = 1, **more: Any) -> None:
        change = {"tenant_id": tenant_id, "session_id": session_id, "turn_id": None}
        self.changes.append(change | {"kind": "message", "sign_in": None, "router": None} | more)

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        self.calls[function] += 1
        self.asked.append({"function": function, **argument})
        await asyncio.sleep(0)
        if self.is_away:
            raise self.fault
        if function == "may_follow":
            return {"ended": self.refused}
        if function in ("call_followers", "greet_routers"):
            return {"ok": True}
        self.position += 1
        told, self.changes = self.changes, []
        lost, self.lost = self.lost, False
        return {
            "position": f"{self.position}/1:1:", "lost": lost, "lost_tenants": self.lost_tenants,
            "changes": told,
        }  # fmt: skip


class Clock:
    """Each look is due as it is asked for."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def look(tenant_id: int = 1, **more: Any) -> Look:
    return Look(tenant_id, KEY, **more)


def feed_of(state: State, neighbours: Neighbours | None = None) -> Feed:
    return Feed(state, name="me", neighbours=neighbours, clock=Clock())


class Deaf:
    """A router that cannot listen, and how often it was called."""

    def __init__(self) -> None:
        self.state = State()
        self.now = 0.0
        self.calls = 0
        self.neighbours = Neighbours(
            self.state, name="me", called=self._called, clock=lambda: self.now
        )
        self.feed = feed_of(self.state, self.neighbours)

    def _called(self) -> None:
        self.calls += 1

    def says(self, kind: str, router: str) -> None:
        self.state.happens(None, None, kind=kind, router=router)


async def joined(feed: Feed, *looks: Look) -> list[Follower]:
    joining = [asyncio.create_task(feed.join(each)) for each in looks or (look(),)]
    await asyncio.sleep(0)
    await feed.step()
    return await asyncio.gather(*joining)


async def told(follower: Follower) -> bytes:
    """All that waits for it."""
    pieces: list[bytes] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            async for piece in follower.told():
                pieces.append(piece)  # noqa: PERF401 - what came before the time-out stays
    return b"".join(pieces)


async def test_a_change_is_told_to_all_who_look_at_its_tenant_and_to_nobody_else():
    state = State()
    feed = feed_of(state)
    one, two, other = await joined(feed, look(), look(), look(2))
    state.happens(session_id=7, turn_id=9)
    await feed.step()
    expected = (
        b'event: session\ndata: {"session_id":7,"turn_id":9,"kind":"message"}\nid: 2/1:1:\n\n'
    )
    assert await told(one) == await told(two) == expected
    assert await told(other) == b""
    assert state.calls["read_changes"] == 2  # one look for all three


async def test_of_changes_that_were_read_together_the_last_alone_has_the_position():
    """Who is cut off in the middle of them gets all of them again, and misses none."""
    changes = [
        Change(tenant_id=1, session_id=each, turn_id=None, kind="turn", sign_in=None, router=None)
        for each in (1, 2, 3)
    ]
    written = events.changes_as_events(changes, "5/1:1:")
    assert written.count(b"event: session") == 3
    assert written.count(b"id: ") == 1
    assert written.endswith(b"id: 5/1:1:\n\n")
    assert events.changes_as_events([], "5/1:1:") == b""


async def test_who_joins_while_a_look_is_under_way_waits_for_the_next_one():
    """That look may not be for its tenant: what only that could find, it would never hear."""
    state = State()
    feed = feed_of(state)
    (first,) = await joined(feed)
    under_way = asyncio.create_task(feed.step())
    while state.calls["read_changes"] < 2:
        await asyncio.sleep(0)
    joining = asyncio.create_task(feed.join(look(2)))
    await under_way
    assert not joining.done()
    await feed.step()
    assert (await joining).look.tenant_id == 2
    assert state.asked[-1]["tenant_ids"] == [1, 2]
    assert first in feed.followers


@pytest.mark.apart
async def test_who_does_not_take_what_it_is_told_is_cut_off_and_the_others_hear_all():
    state = State()
    feed = feed_of(state)
    slow, quick = await joined(feed, look(), look())
    heard: list[bytes] = []
    for number in range(MOST_WAITING + 1):
        state.happens(session_id=number)
        await feed.step()
        heard.append(await told(quick))
    assert b"".join(heard).count(b"event: session") == MOST_WAITING + 1
    left = await told(slow)
    assert left.startswith(b"event: reset\n")
    assert left.endswith(b'event: end\ndata: {"reason":"too_slow"}\n\n')
    assert b"event: session" not in left
    feed.leave(slow)
    assert feed.followers == [quick]


async def test_what_was_lost_has_all_read_anew():
    state = State()
    feed = feed_of(state)
    one, signed_in = await joined(feed, look(), look(sign_in="a-hash"))
    state.lost = True
    await feed.step()
    assert await told(one) == b"event: reset\ndata: {}\nid: 2/1:1:\n\n"
    assert b'"again"' in await told(signed_in)  # it may have signed out meanwhile


async def test_nobody_looks_and_nothing_is_read():
    state = State()
    feed = feed_of(state)
    feed.changed()
    await feed.step()
    assert state.calls == {}
    (one,) = await joined(feed)
    feed.leave(one)
    await feed.step()
    assert state.calls["read_changes"] == 1
    (again,) = await joined(feed)
    assert state.asked[-1].get("since") is None
    assert again in feed.followers


async def test_other_routers_are_told_only_while_somebody_looks_there():
    state = State()
    feed = feed_of(state)
    feed.changed()
    await feed.step()
    assert state.calls["call_followers"] == 0
    feed.hear("follows another")
    feed.changed()
    feed.changed()
    await feed.step()
    assert [each["says"] for each in state.asked] == ["changed"]
    own = state.asked[-1]["by"]
    deaf = feed_of(state)
    deaf.hear(f"follows {deaf._me}")  # it hears itself
    deaf.changed()
    await deaf.step()
    assert state.calls["call_followers"] == 1
    assert own == feed._me


async def test_of_a_tenant_that_changed_too_much_all_is_read_anew_and_of_others_nothing():
    state = State()
    feed = feed_of(state)
    one, signed_in, other = await joined(feed, look(), look(sign_in="a-hash"), look(2))
    state.lost_tenants = [1]
    state.happens(2)
    await feed.step()
    reset = b"event: reset\ndata: {}\nid: 2/1:1:\n\n"
    assert (await told(one), await told(signed_in)) == (reset, reset)
    assert (await told(other)).startswith(b"event: session\n")


async def test_who_cannot_listen_reads_what_others_say_and_notifies_nobody():
    deaf = Deaf()
    assert await deaf.feed.step() == OFTEN  # it has just begun: another may be here
    assert deaf.state.asked[0] == {"function": "greet_routers", "by": "me"}
    deaf.says("call", "me")
    await deaf.feed.step()
    assert deaf.calls == 0
    deaf.says("call", "another")
    await deaf.feed.step()
    assert deaf.calls == 1
    await joined(deaf.feed)
    deaf.feed.changed()
    await deaf.feed.step()
    assert set(deaf.state.calls) == {"greet_routers", "read_changes"}


async def test_who_is_alone_looks_seldom_and_who_has_company_often():
    deaf = Deaf()
    await deaf.feed.step()
    deaf.now = 61.0
    assert await deaf.feed.step() == ALONE
    deaf.says("here", "another")
    assert await deaf.feed.step() == OFTEN
    await deaf.feed.step()
    assert deaf.state.calls["greet_routers"] == 2  # the other did not know of this one
    deaf.now = 500.0
    await deaf.feed.step()
    assert deaf.state.calls["greet_routers"] == 3
    deaf.now = 562.0
    assert await deaf.feed.step() == ALONE


async def test_a_greeting_that_failed_is_said_again():
    deaf = Deaf()
    deaf.state.is_away = True
    with pytest.raises(DatabaseAway):
        await deaf.feed.step()
    deaf.state.is_away = False
    await deaf.feed.step()
    assert [each["function"] for each in deaf.state.asked] == [
        *("greet_routers", "greet_routers", "read_changes")
    ]


async def test_what_was_missed_may_have_been_a_call():
    deaf = Deaf()
    await deaf.feed.step()
    deaf.state.lost = True
    await deaf.feed.step()
    assert deaf.calls == 1


async def test_a_beat_comes_where_nothing_happens():
    state = State()
    feed = feed_of(state)
    (one,) = await joined(feed)
    for _ in range(20):
        await feed.step()
    assert set((await told(one)).split(b"\n\n")) == {b": still here", b""}


async def test_a_stop_ends_all_and_lets_nobody_in():
    state = State()
    feed = feed_of(state)
    running = asyncio.create_task(feed.run())
    one = await feed.join(look())
    feed.stop()
    assert b'"stopping"' in await told(one)
    with pytest.raises(FeedAway, match="stops"):
        await feed.join(look())
    await asyncio.wait_for(running, 5)


async def test_signing_out_ends_what_that_browser_looks_at_wherever_it_happened():
    state = State()
    feed = feed_of(state)
    here, there, key = await joined(feed, look(sign_in="a"), look(sign_in="b"), look())
    feed.sign_out("a")
    state.happens(None, None, kind="signed_out", sign_in="b")
    await feed.step()
    assert here.is_over
    assert there.is_over
    assert not key.is_over
    assert b"a-hash" not in await told(key)


async def test_who_may_not_look_any_more_is_ended_and_alike_are_asked_for_once():
    state = State()
    feed = feed_of(state)
    followers = await joined(feed, look(), look(), look(2))
    rights = Rights(feed, state, clock=lambda: 50.0)
    await rights.step()
    asked = state.asked[-1]["followers"]
    assert [each["tenant_id"] for each in asked] == [1, 2]
    state.refused = [{"place": 0, "reason": "the API key ana was revoked"}]
    await rights.step()
    assert [each.is_over for each in followers] == [True, True, False]
    said = await told(followers[0])
    assert said == b'event: end\ndata: {"reason":"not_allowed"}\n\n'


async def test_a_token_that_is_over_ends_what_it_opened():
    feed = feed_of(state := State())
    over, not_yet = await joined(feed, look(ends_at=50.0), look(ends_at=50.5))
    await Rights(feed, state, clock=lambda: 50.0).step()
    assert (over.is_over, not_yet.is_over) == (True, False)


@pytest.mark.parametrize("fault", [DatabaseAway("away"), DatabaseFault("deadlock"), KeyError("x")])
async def test_where_nobody_can_say_for_long_who_may_look_nobody_may(fault: Exception):
    feed = feed_of(state := State())
    state.fault = fault
    (one,) = await joined(feed)
    now = 0.0
    rights = Rights(feed, state, clock=lambda: now)
    state.is_away = True
    for moment, is_over in ((5.0, False), (20.0, False), (21.0, True)):
        now = moment
        with pytest.raises(type(fault)):
            await rights.step()
        assert one.is_over is is_over


async def test_who_cannot_join_is_told_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("router.feed.feed._JOINING", 0.01)
    feed = feed_of(State())
    with pytest.raises(FeedAway, match="cannot be read"):
        await feed.join(look())
    assert feed.followers == []
