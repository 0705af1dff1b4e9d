"""Places for sends: taken before the fence, waited for only briefly."""

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from router.sharing.places import NoPlace, SendPlaces


async def test_as_many_as_there_are_places_go_at_once():
    places = SendPlaces(2)
    async with places.taken(), places.taken():
        pass


async def test_one_more_is_told_that_there_is_no_place():
    places = SendPlaces(1)
    async with AsyncExitStack() as held:
        await held.enter_async_context(places.taken())
        with pytest.raises(NoPlace):
            await held.enter_async_context(places.taken(wait=0.01))


async def test_a_place_that_becomes_free_is_given_to_whoever_waits():
    places = SendPlaces(1)
    first = AsyncExitStack()
    await first.enter_async_context(places.taken())

    async def send() -> str:
        async with places.taken(wait=60):
            return "sent"

    waiting = asyncio.create_task(send())
    await asyncio.sleep(0)
    await first.aclose()
    assert await waiting == "sent"


@pytest.mark.parametrize("end", [ValueError, asyncio.CancelledError])
async def test_a_place_is_free_again_however_its_send_ends(end: type[BaseException]):
    places = SendPlaces(1)
    with suppress(end):
        async with places.taken():
            raise end
    async with places.taken(wait=0.01):
        pass


async def test_who_is_cancelled_while_it_waits_takes_no_place_with_it():
    places = SendPlaces(1)
    async with AsyncExitStack() as held:
        await held.enter_async_context(places.taken())
        waiting = asyncio.create_task(AsyncExitStack().enter_async_context(places.taken(wait=60)))
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
    async with places.taken(wait=0.01):
        pass


async def test_it_is_no_error_of_evolution():
    assert NoPlace.__bases__ == (Exception,)
