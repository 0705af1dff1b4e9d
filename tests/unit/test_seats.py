"""Who waits for its tenant's server has no seat, and no room that another server's tenants need."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from router.sharing.places import NoPlace
from router.turns.seats import Seat, Seats

COUNT, ROOM, MOST = 20, 100, 20  # seats; room to stand, and what of it a tenant may have


class Clock:
    """Goes on only when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seats(clock: Clock) -> Seats:
    return Seats(COUNT, 0.75, wait=0.01, clock=clock)


def taken(seats: Seats, tenant_id: int, server: str = "") -> list[Seat]:
    """The seats that a tenant gets for as long as it gets any."""
    got: list[Seat] = []
    while (seat := seats.seat(tenant_id, server or f"http://{tenant_id}:8080")).is_taken:
        got.append(seat)
    return got


async def standing(seats: list[Seat]) -> list[Seat]:
    """Those for whom there is room to stand."""
    stand: list[Seat] = []
    for seat in seats:
        with suppress(NoPlace):
            await seat.stand()
            stand.append(seat)
    return stand


def filled(seats: Seats, tenant_id: int) -> list[Seat]:
    """Those of a tenant's turns that stand where it takes all the room that it gets."""
    stand: list[Seat] = []
    while True:
        seat = seats.seat(tenant_id, f"http://{tenant_id}:8080")
        seat.stand_now()
        if seat.is_taken:
            seat.end()
            return stand
        stand.append(seat)


async def hang(seats: Seats, clock: Clock, tenants: range, server: str = "") -> int:
    """Have every turn that a tenant may have ask a server that hangs; how many do then."""
    count = 0
    for tenant_id in tenants:
        got = taken(seats, tenant_id, server)
        assert got  # however many hang already
        first = await standing(got[:1])
        clock.now += 60  # who stands stands long
        rest = await standing(got[1:])
        count += len(first) + len(rest)
        for seat in got:
            if seat not in first + rest:
                seat.end()  # its turn is put off
    return count


def test_a_tenant_has_its_share_of_the_seats(seats: Seats):
    assert len(taken(seats, 1)) == 15
    assert seats.free == 5


async def test_who_stands_leaves_its_seat_to_others(seats: Seats):
    got = taken(seats, 1)
    assert len(await standing(got[:5])) == 5
    assert seats.free == 10
    assert len(taken(seats, 2)) > 5


@pytest.mark.parametrize("tenants", [1, 2, 10, 18])
async def test_where_many_servers_hang_the_seats_are_free(seats: Seats, clock: Clock, tenants: int):
    stand = await hang(seats, clock, range(tenants))
    sit = COUNT - seats.free  # who found no room in all
    assert stand - sit <= ROOM
    assert sit == (1 if tenants == 18 else 0)
    (quiet,) = taken(seats, 1000)[:1]
    await quiet.stand()  # where others have all room it goes on sitting, and waits for nobody


async def test_of_the_room_to_stand_a_tenant_has_a_part(seats: Seats):
    assert len(filled(seats, 1)) == MOST


@pytest.mark.parametrize("server", ["http://evolution:8080", "http://EVOLUTION:8080/"])
async def test_a_server_that_hangs_for_all_its_tenants_leaves_room_for_those_of_another(
    seats: Seats, clock: Clock, server: str
):
    stand = await hang(seats, clock, range(50), "http://evolution:8080")
    more = await hang(seats, clock, range(50, 100), server)
    assert stand + more == ROOM // 2
    assert len(await standing(taken(seats, 200, "http://elsewhere:8080"))) >= 5


async def test_who_finds_no_room_has_begun_nothing_and_keeps_its_seat(seats: Seats, clock: Clock):
    filled(seats, 0)
    clock.now += 60
    seat = seats.seat(0, "http://0:8080")
    with pytest.raises(NoPlace):
        await seat.stand()
    assert seat.is_taken
    seat.stand_now()
    assert seat.is_taken


async def test_where_others_stand_a_moment_only_it_waits_for_their_room():
    seats = Seats(COUNT, 0.75, wait=60)
    stand = filled(seats, 1)
    seat = seats.seat(1, "http://1:8080")
    waiting = asyncio.create_task(seat.stand())
    await asyncio.sleep(0)
    assert not waiting.done()
    stand[0].end()
    await waiting
    assert not seat.is_taken


async def test_who_sits_down_again_waits_for_a_seat_and_stands_meanwhile(seats: Seats):
    first, *others = taken(seats, 1)
    await first.stand()
    more = taken(seats, 2)
    sits = asyncio.create_task(first.sit())
    await asyncio.sleep(0)
    assert not first.is_taken
    for seat in (*others, *more):
        seat.end()
    await sits
    assert first.is_taken
    assert len(filled(seats, 1)) == MOST  # it stands no more


@pytest.mark.parametrize("way", [Seat.stand, Seat.sit])
async def test_who_is_cancelled_while_it_waits_takes_nothing_with_it(
    way: Callable[[Seat], object],
):
    seats = Seats(COUNT, 0.75, wait=60)
    stand = filled(seats, 1)
    seat = stand[0] if way is Seat.sit else seats.seat(1, "http://1:8080")
    others = [seat for tenant_id in range(2, 30) for seat in taken(seats, tenant_id)]
    assert not seats.free
    waiting = asyncio.create_task(way(seat))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    for each in {seat, *stand, *others}:
        each.end()
    assert seats.free == COUNT
    assert len(filled(seats, 1)) == MOST


async def test_what_is_over_is_given_back_once(seats: Seats):
    seat = seats.seat(1, "http://1:8080")
    await seat.stand()
    seat.end()
    seat.end()
    assert seats.free == COUNT
    assert len(taken(seats, 1)) == 15


async def test_a_seat_that_somebody_may_wait_for_is_told_of_as_soon_as_it_is_left():
    told: list[str] = []
    seats = Seats(COUNT, 0.75, wait=0.01, has_free=lambda: told.append("free"))
    got = taken(seats, 1)
    await standing(got[:1])
    assert told == ["free"]
    await standing(got[1:12])
    assert len(told) == 1  # nobody is kept waiting while so many are free


async def test_alone_with_all_seats_a_tenant_has_them_all_and_puts_off_no_turn(clock: Clock):
    seats = Seats(4, clock=clock)
    assert len(taken(seats, 1)) == 4
    assert seats.free == 0
    seats = Seats(4, clock=clock)
    assert len(filled(seats, 1)) == 5 * 4
    clock.now += 60
    sitting = taken(seats, 1)
    assert len(await standing(sitting)) == 4
    assert all(seat.is_taken for seat in sitting)  # there is no room: it goes on with its seat


async def test_who_sat_while_it_asked_its_server_asks_no_more_once_its_reply_is_made(
    seats: Seats, clock: Clock
):
    await hang(seats, clock, range(18))  # others have all the room
    seat = seats.seat(200, "http://200:8080")
    for _ in range(2):
        await seat.stand()
        assert seat.is_taken
        await seat.sit()
        clock.now += 60
        other = seats.seat(200, "http://200:8080")
        await other.stand()  # nobody asks this server, so nobody is put off
        other.end()
