"""A cache of webhook access: no query for a webhook, and none more for a flood."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network

import pytest

from router.errors import DatabaseAway
from router.intake.own_secrets import make_secret
from router.intake.webhook_access import AccessCache
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import Conversation


class Watched:
    """A database that counts its calls, and can go away."""

    def __init__(self, database: DirectDatabase) -> None:
        self.database = database
        self.calls = 0
        self.told: list[int] = []
        self.is_away = False

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        self.calls += 1
        if self.is_away:
            raise DatabaseAway("it is away")
        answer = await self.database.call(function, argument)
        self.told.append(len(answer["guards"]))
        return answer


class Read:
    """Counts the networks that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr("router.intake.webhook_access.ip_network", self._read)

    def _read(self, text: str) -> object:
        self.count += 1
        return ip_network(text)


class Door:
    """Guards at a time that a test sets, in seconds."""

    def __init__(self, database: DirectDatabase) -> None:
        self.watched = Watched(database)
        self.talk = Conversation(database)
        self.now = 1000.0
        self.access = AccessCache(self.watched, clock=lambda: self.now)

    async def adds_secret(self) -> str:
        new = make_secret()
        argument = {"tenant_id": 1, "secret_hash": new.secret_hash, "ends_with": new.ends_with}
        await self.watched.database.call("add_webhook_secret", argument)
        return new.secret_hash

    async def retires_secret(self, after_hours: float | None = None) -> None:
        argument = {"tenant_id": 1, "webhook_secret_id": 1, "after_hours": after_hours}
        await self.watched.database.call("retire_webhook_secret", argument)


@pytest.fixture
async def door(database_url: str) -> AsyncIterator[Door]:
    database = await DirectDatabase.connect(database_url, size=2)
    door = Door(database)
    await door.talk.open_shop()
    yield door
    await database.close()


async def test_however_many_webhooks_come_there_is_one_query_in_ten_seconds(door: Door):
    secret_hash = await door.adds_secret()
    many = await asyncio.gather(*(door.access.of("shop") for _ in range(1000)))
    assert {guard.hashes for guard in many} == {(secret_hash,)}
    assert door.watched.calls == 1
    door.now += 9
    await door.access.of("shop")
    assert door.watched.calls == 1
    door.now += 2
    await door.access.of("shop")
    assert door.watched.calls == 2


async def test_names_that_nobody_has_cost_no_query(door: Door):
    for number in range(500):
        guard = await door.access.of(f"nobody-{number}")
        assert (guard.hashes, guard.shared, guard.networks) == ((), True, None)
        await door.access.newest_of(f"nobody-{number}")
    assert door.watched.calls == 1


async def test_before_a_refusal_the_newest_are_asked_but_not_for_each(door: Door):
    assert (await door.access.of("shop")).hashes == ()
    secret_hash = await door.adds_secret()
    door.now += 1.1
    assert (await door.access.of("shop")).hashes == ()
    assert (await door.access.newest_of("shop")).hashes == (secret_hash,)
    assert door.watched.calls == 2
    await asyncio.gather(*(door.access.newest_of("shop") for _ in range(100)))
    assert door.watched.calls == 2


async def test_a_retired_secret_holds_for_ten_seconds_at_most(door: Door):
    await door.adds_secret()
    await door.access.of("shop")
    await door.retires_secret()
    door.now += 10.1
    assert (await door.access.of("shop")).hashes == ()


async def test_while_the_database_is_away_what_was_known_holds_and_nothing_is_refused(door: Door):
    secret_hash = await door.adds_secret()
    await door.access.of("shop")
    door.watched.is_away = True
    door.now += 60
    assert (await door.access.of("shop")).hashes == (secret_hash,)
    with pytest.raises(DatabaseAway):
        await door.access.newest_of("shop")
    assert door.watched.calls == 2  # nor does a flood knock again and again
    door.watched.is_away = False
    door.now += 1
    assert (await door.access.newest_of("shop")).hashes == (secret_hash,)


async def test_a_router_that_never_reached_its_database_knows_nobody(door: Door):
    door.watched.is_away = True
    with pytest.raises(DatabaseAway):
        await door.access.of("shop")


async def many_tenants(door: Door, number: int) -> None:
    await door.talk.sql(
        "insert into tenants (instance_name, evo_server_url, webhook_networks)"
        " select 'shop-' || n, 'https://evolution.example', '{10.0.0.0/8}'"
        " from generate_series(1, $1::integer) as n",
        number,
    )
    await door.talk.travel(hours=1)


async def test_only_what_changed_is_fetched_however_many_guards_there_are(
    door: Door, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("router.intake.webhook_access._PAGE", 100)
    monkeypatch.setattr("router.intake.webhook_access._BY_TURNS", 10)
    await many_tenants(door, 450)
    await door.access.of("shop-450")
    assert door.watched.told == [100, 100, 100, 100, 50]
    door.watched.told.clear()
    secret_hash = await door.adds_secret()
    await door.talk.sql(
        "update tenants set webhook_networks = null where instance_name = 'shop-400'"
    )
    door.now += 11
    assert (await door.access.of("shop")).hashes == (secret_hash,)
    assert (await door.access.of("shop-400")).networks is None
    assert (await door.access.of("shop-399")).networks is not None
    assert max(door.watched.told) <= 12
    assert len(door.watched.told) == 1


async def test_a_tenant_that_is_renamed_or_gone_leaves_no_guard_behind(door: Door):
    await door.adds_secret()
    await many_tenants(door, 2)
    await door.access.of("shop")
    await door.talk.sql("update tenants set instance_name = 'loja' where instance_name = 'shop'")
    await door.talk.sql("delete from tenants where instance_name = 'shop-1'")
    door.now += 11
    assert (await door.access.of("loja")).hashes
    assert (await door.access.of("shop")).hashes == ()
    assert (await door.access.of("shop-1")).networks is None
    assert (await door.access.of("shop-2")).networks is not None


async def test_another_tenant_that_takes_the_name_has_its_own_guard(door: Door):
    await door.adds_secret()
    await door.access.of("shop")
    await door.talk.sql("update tenants set instance_name = 'loja' where instance_name = 'shop'")
    await door.talk.open_shop("shop")
    door.now += 11
    assert (await door.access.of("shop")).hashes == ()
    assert (await door.access.of("loja")).hashes


async def test_names_that_go_round_take_no_guard_away(door: Door):
    await many_tenants(door, 2)
    await door.access.of("shop-1")
    first = (await door.access.of("shop-1")).networks
    second = (await door.access.of("shop-2")).networks
    await rename(door, "shop-2", "shop-3")
    await rename(door, "shop-1", "shop-2")
    door.now += 11
    assert (await door.access.of("shop-2")).networks == first
    assert (await door.access.of("shop-3")).networks == second
    assert (await door.access.of("shop-1")).networks is None


async def test_a_rename_that_is_found_late_takes_no_guard_from_who_has_the_name_now(door: Door):
    await many_tenants(door, 2)
    await door.access.of("shop-1")
    await rename(door, "shop-1", "shop-3")
    await door.talk.sql(
        "update tenants set guard_changed_at = now() - interval '1 hour'"
        " where instance_name = 'shop-3'"
    )
    door.access._after = 1_000  # its turn is not yet
    await rename(door, "shop-2", "shop-1")
    for _ in range(3):
        door.now += 11
        assert (await door.access.of("shop-1")).networks is not None
    assert (await door.access.of("shop-3")).networks is not None


async def rename(door: Door, old: str, new: str) -> None:
    await door.talk.sql(f"update tenants set instance_name = '{new}' where instance_name = '{old}'")


async def test_a_name_taken_over_by_who_has_no_guard_takes_no_other_away(door: Door):
    await many_tenants(door, 2)
    await door.access.of("shop-1")
    await door.talk.sql(
        "update tenants set instance_name = 'old', webhook_networks = null"
        " where instance_name = 'shop-2'"
    )
    await door.talk.sql(
        "update tenants set instance_name = 'shop-2' where instance_name = 'shop-1'"
    )
    door.now += 11
    assert (await door.access.of("shop-2")).networks is not None


async def test_a_secret_that_is_to_be_retired_ends_by_itself(door: Door):
    secret_hash = await door.adds_secret()
    await door.retires_secret(after_hours=5 / 3600)
    assert (await door.access.of("shop")).hashes == (secret_hash,)
    door.now += 6
    assert (await door.access.of("shop")).hashes == ()
    assert door.watched.calls == 1


async def test_a_change_that_took_long_to_commit_is_found_in_its_turn(
    door: Door, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("router.intake.webhook_access._BY_TURNS", 2)
    await many_tenants(door, 6)
    await door.access.of("shop")
    await door.talk.sql("update tenants set webhook_networks = null, shared_webhook_secret = false")
    await door.talk.sql("update tenants set guard_changed_at = now() - interval '1 hour'")
    for _ in range(4):
        door.now += 11
        await door.access.of("shop")
    guards = [await door.access.of(f"shop-{number}") for number in range(1, 7)]
    assert [(guard.networks, guard.shared) for guard in guards] == [(None, False)] * 6


# --- networks: as many as anybody needs, read once


async def has_networks(door: Door, count: int) -> None:
    await door.talk.sql(
        "update tenants set webhook_networks = array("
        " select ('10.' || n / 256 || '.' || n % 256 || '.0/24')::cidr"
        " from generate_series(1, $1::integer) as n)",
        count,
    )


async def test_of_networks_there_are_as_many_as_may_be_set_whoever_wrote_them(
    door: Door, monkeypatch: pytest.MonkeyPatch
):
    read = Read(monkeypatch)
    await has_networks(door, 19_000)
    assert len((await door.access.of("shop")).networks or ()) == 50
    assert read.count == 50


async def test_networks_that_have_not_changed_are_not_read_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
):
    read = Read(monkeypatch)
    await has_networks(door, 50)
    first = (await door.access.of("shop")).networks
    for _ in range(20):
        door.now += 1.1
        assert (await door.access.newest_of("shop")).networks == first
    assert door.watched.calls > 20
    assert read.count == 50
    await has_networks(door, 49)
    door.now += 1.1
    assert len((await door.access.newest_of("shop")).networks or ()) == 49
    await door.talk.sql("update tenants set webhook_networks = null")
    door.now += 1.1
    assert (await door.access.newest_of("shop")).networks is None


async def test_others_have_their_turn_while_many_are_read(
    door: Door, monkeypatch: pytest.MonkeyPatch
):
    read = Read(monkeypatch)
    await many_tenants(door, 100)
    await has_networks(door, 50)
    reading = asyncio.create_task(door.access.of("shop"))
    most = last = 0
    while not reading.done():
        await asyncio.sleep(0)
        most, last = max(most, read.count - last), read.count
    assert read.count == 101 * 50
    assert most <= 600
