"""Waiting for events, from event loops and from plain threads."""

import asyncio
import threading

import pytest

from loopback.waiting import Changes, Gate, NeverHappened


async def test_what_already_holds_is_returned_at_once() -> None:
    assert await Changes().until(lambda: "here", "it to be here") == "here"


async def test_a_change_in_another_thread_wakes_an_event_loop() -> None:
    changes, seen = Changes(), []

    def change() -> None:
        with changes.made():
            seen.append("news")

    thread = threading.Thread(target=change)
    waiting = changes.until(lambda: seen, "news")
    thread.start()
    assert await waiting == ["news"]
    thread.join()


def test_a_change_in_another_thread_wakes_a_blocked_one() -> None:
    changes, seen = Changes(), []

    def change() -> None:
        with changes.made():
            seen.append("news")

    thread = threading.Thread(target=change)
    thread.start()
    assert changes.block_until(lambda: seen, "news") == ["news"]
    thread.join()


async def test_waiting_in_vain_says_for_what_and_what_happened_instead() -> None:
    changes = Changes(lambda: "the owner wrote: oi")
    with pytest.raises(NeverHappened, match=r"in vain for: a reply\nthe owner wrote: oi"):
        await changes.until(lambda: False, "a reply", within=0.01)


def test_blocking_in_vain_says_for_what() -> None:
    with pytest.raises(NeverHappened, match="in vain for: a reply"):
        Changes().block_until(lambda: False, "a reply", within=0.01)


async def test_a_gate_holds_until_it_is_opened_and_never_again() -> None:
    changes = Changes()
    gate = Gate(changes, "the gate")
    passed: list[int] = []

    async def pass_and_note() -> None:
        await gate.pass_through()
        passed.append(1)

    task = asyncio.create_task(pass_and_note())
    await gate.reached()
    assert (gate.arrived, passed) == (1, [])
    gate.open()
    await task
    await pass_and_note()
    assert passed == [1, 1]
