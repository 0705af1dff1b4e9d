"""Nobody holds all of what there is: somebody who comes next finds a place."""

import asyncio
from contextlib import suppress

import pytest

from router.sharing.places import NoPlace, SendPlaces
from router.sharing.shares import NOBODY, SERVER, TENANT, Place, Shares


def grab(shares: Shares, *holders: str, times: float = TENANT) -> list[Place]:
    """The places that the holders get who take turns for as long as one of them gets any."""
    places: list[Place] = []
    while got := [place for name in holders if (place := shares.take_now({name: times}))]:
        places += got
    return places


def test_alone_a_tenant_holds_three_quarters_and_a_server_nine_tenths():
    assert len(grab(Shares(100), "greedy")) == 75
    assert len(grab(Shares(100), "server", times=SERVER)) == 90


@pytest.mark.parametrize("greedy", [1, 2, 3, 5, 10, 20, 30])
def test_however_many_are_greedy_the_next_one_finds_a_place(greedy: int):
    shares = Shares(100)
    grab(shares, *(f"greedy {number}" for number in range(greedy)))
    assert shares.take_now({"quiet": TENANT}) is not None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_however_few_there_are_one_is_to_be_had(count: int):
    assert grab(Shares(count), "alone")


def test_who_makes_no_claim_may_have_all():
    shares = Shares(5)
    assert all(shares.take_now(NOBODY) for _ in range(5))
    assert shares.take_now(NOBODY) is None


def test_all_claims_must_hold():
    shares = Shares(100)
    grab(shares, "server", times=SERVER)
    assert shares.take_now({"quiet": TENANT, "server": SERVER}) is None
    assert shares.take_now({"quiet": TENANT, "elsewhere": SERVER}) is not None


def test_a_place_is_given_back_once():
    shares = Shares(4)
    place, *_ = grab(shares, "greedy")
    place.give_back()
    place.give_back()
    assert len(grab(shares, "greedy")) == 1


async def test_who_waits_is_passed_by_only_by_those_who_may():
    shares = Shares(4)
    held = grab(shares, "greedy")
    greedy = asyncio.create_task(shares.take({"greedy": TENANT}, 60))
    await asyncio.sleep(0)
    (quiet,) = grab(shares, "quiet")
    quiet.give_back()
    await asyncio.sleep(0)
    assert not greedy.done()  # it holds three, and one is free
    held[0].give_back()
    assert isinstance(await greedy, Place)


async def test_who_is_cancelled_as_it_is_given_a_place_takes_none_with_it():
    shares = Shares(1)
    (held,) = grab(shares, "first")
    waiting = asyncio.create_task(shares.take({"second": TENANT}, 60))
    await asyncio.sleep(0)
    held.give_back()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert grab(shares, "third")


async def test_of_the_places_for_sends_a_tenant_whose_server_hangs_has_its_share():
    places = SendPlaces(8)
    gate = asyncio.Event()

    async def send() -> None:
        async with places.taken("greedy", wait=0.01):
            await gate.wait()

    sends = [asyncio.create_task(send()) for _ in range(8)]
    await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
    async with places.taken("quiet", wait=0.01):
        pass
    gate.set()
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [NoPlace] * 2
