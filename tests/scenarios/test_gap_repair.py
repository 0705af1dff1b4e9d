"""What Evolution stored and no webhook brought comes in by asking for it, once, and in order."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from loopback.evolution import Business, Evolution, failures
from loopback.faults import altered
from router.configuration.servers import Servers
from router.errors import NotFound
from router.evolution.errors import EvolutionError
from router.intake.events import parse_webhook
from router.intake.gap_repair import GapReport, repair_gap
from router.intake.gap_repairs import AT_ONCE, GapRepairs
from router.intake.ingester import Ingester
from router.intake.reactions import Reactions
from router.people.hashing import ContactHashes
from router.state.calls.intake import Decision
from router.state.database import Json
from router.state.direct import DirectDatabase
from router.tenants.instance import InstanceKeys, find_instance
from tests.clients import patient
from tests.evolution import WholeEvolution
from tests.fixtures.marks import plain_marks
from tests.gap_repairs import all_repaired
from tests.scenarios.office import settings_with
from tests.scenarios.stage import Stage
from tests.state.conversation import POLICY, Conversation


@pytest.fixture
def shop(evolution: Evolution) -> Business:
    """The instance, whose webhooks reach nobody."""
    return evolution.instance("shop")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[DirectDatabase]:
    database = await DirectDatabase.connect(database_url, size=1)
    yield database
    await database.close()


@pytest.fixture
async def talk(database: DirectDatabase, evolution: Evolution) -> Conversation:
    """A tenant that was made a day ago."""
    talk = Conversation(database)
    await talk.open_shop()
    await talk.sql(
        "update tenants set evo_server_url = $1, created_at = now() - interval '1 day'",
        evolution.url,
    )
    return talk


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with patient() as http:
        yield http


@pytest.fixture
def client(http: httpx.AsyncClient) -> WholeEvolution:
    return WholeEvolution(http)


def keys_for(shop: Business) -> InstanceKeys:
    """The deployment's, for a tenant without a key of its own."""
    return InstanceKeys(SecretStr(shop.token), servers=Servers.of([shop.program.url]))


def way_in(talk: Conversation) -> Ingester:
    return Ingester(talk.database, POLICY, plain_marks(), lambda *_: None)


async def repair(
    talk: Conversation, client: WholeEvolution, shop: Business, since: datetime | None = None
) -> GapReport:
    tenant = await find_instance(talk.database, "shop", keys_for(shop))
    return await repair_gap(talk.database, client, tenant, way_in(talk), since)


async def test_what_no_webhook_brought_is_recorded_in_order_and_answered_once(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    maria = shop.customer(lid="201955550001001")
    for place, text in enumerate(("oi", "tem pão?", "e bolo?")):
        maria.writes(text, at=time.time() - 30 + place)
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.turns, report.failed) == (3, 3, 1, 0)
    assert [body for _, body in await talk.sayings()] == ["oi", "tem pão?", "e bolo?"]
    turn = await talk.claim_one()
    assert len([message for message in turn["history"] if message["in_turn"]]) == 3
    session = await talk.session(maria.jid)
    assert (session["lid"], session["contact_name"]) == (maria.lid, "Maria")


async def test_messages_of_one_second_keep_the_order_of_their_arrival(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    moment = time.time() - 30
    for text in "abcde":
        shop.customer().writes(text, at=moment)
    await repair(talk, client, shop)
    assert [body for _, body in await talk.sayings()] == ["a", "b", "c", "d", "e"]


async def test_what_a_webhook_has_brought_is_not_doubled(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    told = shop.customer().writes("oi")
    shop.customer().writes("tem pão?")
    await talk.ingest(*parse_webhook("shop", told.body).events)
    first = await repair(talk, client, shop)
    assert (first.new, first.known) == (1, 1)
    again = await repair(talk, client, shop)
    assert (again.new, again.known, again.turns) == (0, 2, 0)
    late = await talk.ingest(*parse_webhook("shop", told.body).events)
    assert late[0]["duplicate"]
    assert len(await talk.sayings()) == 2


async def test_what_is_hours_old_is_recorded_and_not_answered(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    shop.customer().writes("oi", at=time.time() - 3 * 3600)
    report = await repair(talk, client, shop)
    assert (report.new, report.turns) == (1, 0)
    assert await talk.turn_states() == []


async def test_an_owner_who_wrote_meanwhile_has_taken_over(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    maria = shop.customer()
    maria.writes("oi", at=time.time() - 60)
    shop.owner.wrote_offline(maria, "deixa comigo", at=time.time() - 40)
    maria.writes("obrigada", at=time.time() - 20)
    await repair(talk, client, shop)
    session = await talk.session(maria.jid)
    assert (session["is_paused"], session["pause_source"]) == (True, "owner")
    assert await talk.turn_states() == ["cancelled"]


async def test_our_own_reply_is_known_by_its_id(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    shop.customer("5511955550001").writes("oi")
    await repair(talk, client, shop)
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    tenant = await find_instance(talk.database, "shop", keys_for(shop))
    sent = await client.send_text(tenant.reachable(), begun["jid"], "Olá!")
    await talk.finish(turn, begun, sent.wa_id)
    report = await repair(talk, client, shop)
    assert (report.new, report.known) == (0, 2)
    assert await talk.sayings() == [("contact", "oi"), ("ai", "Olá!")]
    assert not (await talk.session())["is_paused"]


async def test_our_own_reply_whose_answer_was_lost_is_known_by_its_text(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    shop.customer("5511955550001").writes("oi")
    await repair(talk, client, shop)
    turn = await talk.claim_one()
    await talk.save(turn, "Olá! Temos pão.")
    begun = await talk.begin(turn, "Olá! Temos pão.")
    tenant = await find_instance(talk.database, "shop", keys_for(shop))
    await client.send_text(tenant.reachable(), begun["jid"], "Olá! Temos pão.")
    await repair(talk, client, shop)
    assert await talk.turn_states() == ["sent"]
    assert await talk.sayings() == [("contact", "oi"), ("ai", "Olá! Temos pão.")]
    assert not (await talk.session())["is_paused"]


async def test_groups_and_channels_are_counted_as_not_used(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    shop.customer().writes_in(shop.group(), "oi grupo")
    shop.posts_in_newsletter("novidades")
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.unused) == (2, 0, 2)
    assert await talk.sayings() == []


async def test_a_record_that_cannot_be_read_costs_only_itself(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    broken = shop.customer("5511955550008").writes("sem id")
    shop.store.get(broken.wa_id).data["key"]["id"] = ""
    shop.customer().writes("oi")
    report = await repair(talk, client, shop)
    assert (report.new, report.failed) == (1, 1)


async def test_every_page_is_looked_through(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    start = time.time() - 3000
    for number in range(230):
        shop.customer(f"55119555{number % 7:05}").writes(str(number), at=start + number)
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.complete) == (230, 230, True)
    assert len(shop.calls("findMessages")) == 4  # the first page is read again at the end
    assert [body for _, body in await talk.sayings()] == [str(number) for number in range(230)]


def fattened(shop: Business, text: str, values: int, ago: float = 0) -> str:
    """Have a customer write; what Evolution keeps of it has so many values. Returns its id."""
    told = shop.customer().writes(text, at=time.time() - ago)
    kept = shop.store.get(told.wa_id)
    assert kept is not None
    kept.data["message"]["more"] = [7] * values
    return told.wa_id


@pytest.fixture
def low_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have few values be too many, so that a test need not wait for a hundred thousand."""
    monkeypatch.setattr("router.evolution.client._MOST_TOGETHER", 2_000)
    monkeypatch.setattr("router.evolution.client.MOST_VALUES", 3_000)


async def test_of_records_with_so_many_values_one_that_is_too_much_is_passed_over(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    for text, values in (("a", 200_000), ("b", 310_000), ("c", 3)):
        fattened(shop, text, values)
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.failed) == (3, 2, 1)


@pytest.mark.usefixtures("low_bounds")
@pytest.mark.parametrize(("values", "new"), [(2_500, 3), (3_100, 2)])
@pytest.mark.parametrize("heavy", [0, 1, 2])
async def test_records_that_are_heavy_together_are_fetched_alone(
    talk: Conversation, client: WholeEvolution, shop: Business, caplog: pytest.LogCaptureFixture,
    heavy: int, values: int, new: int,
):  # fmt: skip
    """One that is too much even alone is named and passed over, and keeps nothing open."""
    sizes = [2_000, 3, 3]
    sizes[heavy:heavy] = [values]
    wa_ids = [fattened(shop, text, size) for text, size in zip("abc", sizes, strict=False)]
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.failed) == (3, new, 3 - new)
    assert report.complete
    said = [text for text in caplog.messages if "leaves out" in text]
    assert [wa_ids[heavy] in text for text in said] == [True] * (3 - new)
    assert await talk.value("select caught_up_at from tenants") is not None


@pytest.mark.usefixtures("low_bounds")
async def test_what_is_too_large_is_not_asked_for_again_for_ever(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    """Not even where nothing newer becomes known."""
    await talk.sql("update tenants set created_at = now() - interval '10 days'")
    await talk.maria_writes("oi", ago=5 * 24 * 3600)
    fattened(shop, "a", 3_100, ago=4 * 24 * 3600)
    assert (await repair(talk, client, shop)).failed == 1
    await talk.travel(seconds=30 * 3600)
    asked = len(shop.calls("findMessages"))
    report = await repair(talk, client, shop)
    assert (report.listed, report.failed) == (0, 0)
    assert len(shop.calls("findMessages")) == asked + 1


@pytest.mark.usefixtures("low_bounds")
async def test_whoever_has_nothing_but_monstrous_records_is_not_looked_through_for_ever(
    talk: Conversation, client: WholeEvolution, shop: Business, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("router.intake.gap_repair._MOST_PASSED_OVER", 2)
    for text in ("a", "b", "c"):
        fattened(shop, text, 3_100)
    report = await repair(talk, client, shop)
    assert (report.failed, report.complete) == (2, False)


@pytest.mark.parametrize("bound", [("_HEAVIEST", 100_000), ("_MOST_SECONDS", 0.0)])
async def test_what_is_kept_until_it_is_recorded_has_a_bound_and_so_has_the_time(
    talk: Conversation,
    client: WholeEvolution,
    shop: Business,
    monkeypatch: pytest.MonkeyPatch,
    bound: tuple[str, float],
):
    start = time.time() - 3000
    for number in range(230):
        shop.customer(f"55119555{number % 7:05}").writes(str(number), at=start + number)
    name, most = bound
    monkeypatch.setattr(f"router.intake.gap_repair.{name}", most)
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.complete) == (100, 100, False)


async def test_an_own_send_that_evolution_stored_twice_is_known_once(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    maria = shop.customer("5511955550001")
    maria.writes("oi")
    await repair(talk, client, shop)
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    tenant = await find_instance(talk.database, "shop", keys_for(shop))
    sent = await client.send_text(tenant.reachable(), begun["jid"], "Olá!")
    await talk.finish(turn, begun, sent.wa_id)
    shop.echoes(maria)
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.known) == (2, 0, 2)
    assert await talk.sayings() == [("contact", "oi"), ("ai", "Olá!")]
    assert not (await talk.session())["is_paused"]


async def test_a_message_that_was_edited_meanwhile_is_recorded_once_as_it_reads_now(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    maria = shop.customer()
    known, unknown = maria.writes("oi", at=time.time() - 60), maria.writes("pão", at=time.time())
    await talk.ingest(*parse_webhook("shop", known.body).events)
    maria.edits(known, "oi!")
    maria.edits(unknown, "tem pão?")
    report = await repair(talk, client, shop)
    assert (report.new, report.known, report.failed) == (1, 1, 0)
    assert [body for _, body in await talk.sayings()] == ["oi", "tem pão?"]


async def test_what_an_edit_moves_while_the_pages_are_turned_is_not_missed(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    start = time.time() - 3000
    written = [shop.customer().writes(str(number), at=start + number) for number in range(150)]
    gate = shop.hold("findMessages", after=True)
    work = asyncio.create_task(repair(talk, client, shop))
    await gate.reached()  # page 1 is read: the message below is not on it
    shop.customer().edits(written[0], "o primeiro")
    gate.open()
    report = await work
    assert (report.listed, report.new, report.complete) == (150, 150, True)
    assert ("contact", "o primeiro") in await talk.sayings()


async def test_a_message_that_was_deleted_is_not_brought(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    maria = shop.customer()
    maria.deletes(maria.writes("ops"))
    maria.writes("tem pão?")
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.unused, report.failed) == (2, 1, 1, 0)
    assert await talk.sayings() == [("contact", "tem pão?")]


@pytest.mark.parametrize("moment", [None, "ontem", 10**30, {"low": 1}])
async def test_a_record_without_a_readable_time_is_looked_at(
    talk: Conversation, client: WholeEvolution, shop: Business, moment: object
):
    shop.customer().writes("tem pão?")
    shop.fail("findMessages", altered(lambda body: _dated(body, moment)))
    report = await repair(talk, client, shop)
    assert (report.listed, report.new, report.failed) == (1, 1, 0)


@pytest.mark.parametrize("of", [str, lambda at: at * 1000, lambda at: {"low": at, "high": 0}])
async def test_a_records_time_may_come_in_any_form_of_a_number(
    talk: Conversation, client: WholeEvolution, shop: Business, of: Callable[[int], object]
):
    at = int(time.time()) - 3 * 3600
    shop.customer().writes("oi", at=at)
    shop.fail("findMessages", altered(lambda body: _dated(body, of(at))))
    report = await repair(talk, client, shop)
    assert (report.new, report.turns) == (1, 0)  # it is hours old


def _dated(body: Any, moment: object) -> Any:
    for record in body["messages"]["records"]:
        record["messageTimestamp"] = moment
    return body


async def test_nothing_from_before_the_given_time_is_brought(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    shop.customer().writes("ontem", at=time.time() - 20 * 3600)
    shop.customer().writes("hoje", at=time.time() - 1800)
    report = await repair(talk, client, shop, datetime.now(UTC) - timedelta(hours=1))
    assert (report.listed, report.new) == (1, 1)
    assert await talk.value("select caught_up_at from tenants") is None


async def test_the_next_repair_begins_where_this_one_ended(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    shop.customer().writes("oi", at=time.time() - 8 * 3600)
    first = await repair(talk, client, shop)
    second = await repair(talk, client, shop)
    assert first.since < datetime.now(UTC) - timedelta(hours=23)
    assert second.since < datetime.now(UTC) - timedelta(hours=8)  # the newest known message
    shop.customer().writes("de novo")
    third = await repair(talk, client, shop)
    fourth = await repair(talk, client, shop)
    assert third.new == 1
    assert fourth.since > datetime.now(UTC) - timedelta(minutes=15)


async def test_a_repair_that_breaks_off_is_made_up_for_by_the_next(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    shop.customer().writes("oi")
    shop.fail("findMessages", failures.CUT)
    with pytest.raises(EvolutionError):
        await repair(talk, client, shop)
    assert await talk.value("select caught_up_at from tenants") is None
    assert (await repair(talk, client, shop)).new == 1


async def test_without_any_key_the_refusal_says_what_to_set(
    talk: Conversation, client: WholeEvolution
):
    tenant = await find_instance(talk.database, "shop", InstanceKeys(None))
    with pytest.raises(EvolutionError, match="EVOLUTION_API_KEY"):
        await repair_gap(talk.database, client, tenant, way_in(talk))


# In the background, after a reconnect


def in_background(
    talk: Conversation,
    client: WholeEvolution,
    shop: Business,
    on_decision: Callable[[Json, Decision], None] = lambda *_: None,
) -> GapRepairs:
    settings = settings_with(
        {"EVOLUTION_API_KEY": shop.token, "EVOLUTION_SERVERS": shop.program.url}
    )
    return GapRepairs(
        talk.database, client, settings, plain_marks(), on_decision, retry_delays=(0, 0)
    )


class Turns:
    """Whoever works on turns, as far as a repair tells them."""

    def __init__(self) -> None:
        self.wakes: list[float] = []

    def wake(self, due_in: float = 0.0) -> None:
        self.wakes.append(due_in)

    def abandon(self, session_id: int) -> None:
        raise AssertionError(f"nobody took session {session_id} over")


async def test_a_repair_that_finds_something_to_answer_wakes_the_dispatcher(
    talk: Conversation,
    client: WholeEvolution,
    shop: Business,
    caplog: pytest.LogCaptureFixture,
):
    shop.customer().writes("oi")
    shop.fail("findMessages", failures.UNAVAILABLE, times=2)
    turns = Turns()
    reactions = Reactions(turns, lambda: None, ContactHashes([]))
    repairs = in_background(talk, client, shop, reactions)
    with caplog.at_level(logging.INFO):
        repairs.begin("shop")
        async with asyncio.timeout(20):
            await all_repaired(repairs)
    assert len(turns.wakes) == 1
    told = [record for record in caplog.records if record.levelno >= logging.INFO]
    actions = [record.action for record in told if hasattr(record, "action")]
    assert actions == ["gap_repair_failed", "gap_repaired"]  # one server's failure is told once
    assert await talk.turn_states() == ["pending"]


async def test_two_reconnects_at_once_are_one_repair(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    shop.customer().writes("oi")
    gate = shop.hold("findMessages")
    repairs = in_background(talk, client, shop)
    repairs.begin("shop")
    await gate.reached()
    repairs.begin("shop")
    gate.open()
    async with asyncio.timeout(20):
        await all_repaired(repairs)
    assert len(shop.calls("findMessages")) == 1


async def test_stopping_breaks_a_repair_off(
    talk: Conversation, client: WholeEvolution, shop: Business
):
    gate = shop.hold("findMessages")
    repairs = in_background(talk, client, shop)
    repairs.begin("shop")
    await gate.reached()
    async with asyncio.timeout(20):
        await repairs.stop()
    gate.open()
    assert await talk.value("select caught_up_at from tenants") is None


async def test_a_repair_that_can_never_work_gives_up_and_says_so(
    talk: Conversation,
    client: WholeEvolution,
    shop: Business,
    caplog: pytest.LogCaptureFixture,
):
    shop.fail("findMessages", failures.BAD_KEY, times=None)
    repairs = in_background(talk, client, shop)
    repairs.begin("shop")
    async with asyncio.timeout(20):
        await all_repaired(repairs)
    assert caplog.text.count("gap repair failed: 401") == 1
    assert len(shop.calls("findMessages")) == 1


async def test_of_many_instances_of_a_server_that_hangs_one_is_asked_and_all_wait(
    talk: Conversation,
    client: WholeEvolution,
    shop: Business,
    evolution: Evolution,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """While it hangs, another server's instance is repaired; and the hanging is told once."""
    monkeypatch.setattr("router.intake.gap_repair._PAGE_SECONDS", 0.2)
    hanging = []
    other = evolution.url.replace("127.0.0.1", "localhost")
    for number in range(30):
        name = f"hangs-{number}"
        instance = evolution.instance(name)
        instance.hold("findMessages")
        hanging.append(instance)
        await talk.open_shop(name)
    await talk.sql(
        "update tenants set evo_server_url = $1, evo_api_key = 'their-own'"
        " where instance_name like 'hangs%'",
        other,
    )
    shop.customer().writes("oi")
    repairs = in_background(talk, client, shop)
    repairs._queue._delays = (3600.0,)
    with caplog.at_level(logging.INFO):
        repairs.begin_all()
        async with asyncio.timeout(30):
            while "gap repair: 1 new" not in caplog.text or "wait" not in caplog.text:
                await asyncio.sleep(0.01)
        await repairs.stop()
    assert sum(len(instance.calls("findMessages")) for instance in hanging) == 1
    assert caplog.text.count("gap repair failed") == 1


async def test_repairs_are_begun_by_activity_and_a_few_at_a_time(
    talk: Conversation,
    client: WholeEvolution,
    shop: Business,
    monkeypatch: pytest.MonkeyPatch,
):
    """Each has a server of its own, and none of them answers."""
    begun: list[str] = []

    async def repair_gap(*given: Any) -> GapReport:
        begun.append(given[2].name)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    monkeypatch.setattr("router.intake.gap_repairs.repair_gap", repair_gap)
    for number in range(20):
        name = f"shop-{number}"
        await talk.open_shop(name)
        await talk.ingest(talk.message("oi", instance=name, ago=60 * (20 - number)))
        await talk.sql(
            "update tenants set evo_server_url = $1 where instance_name = $2",
            f"https://evolution-{number}.example",
            name,
        )
    await talk.sql("update tenants set is_active = instance_name <> 'shop'")
    repairs = in_background(talk, client, shop)
    repairs.begin_all()
    async with asyncio.timeout(30):
        while len(begun) < AT_ONCE:
            await asyncio.sleep(0.01)
    assert begun == [f"shop-{number}" for number in reversed(range(20))][:AT_ONCE]
    assert len(repairs._running) == AT_ONCE
    await repairs.stop()
    assert len(begun) == AT_ONCE


async def test_repairs_take_two_of_the_databases_connections_at_most(
    talk: Conversation, client: WholeEvolution, shop: Business, monkeypatch: pytest.MonkeyPatch
):
    under_way, most = 0, 0
    monkeypatch.setattr("router.intake.gap_repairs._BETWEEN_STARTS", 0.0)

    async def call(function: str, argument: object) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        if function == "gaps_by_activity":
            return {"instances": [[f"i-{n}", f"https://server-{n}.example"] for n in range(10)]}
        raise NotFound("there is none")

    monkeypatch.setattr(talk.database, "call", call)
    repairs = in_background(talk, client, shop)
    repairs.begin_all()
    async with asyncio.timeout(30):
        await all_repaired(repairs)
    assert most == 2


async def test_after_a_reconnect_the_router_catches_up_by_itself(stage: Stage):
    stage.shop.line.connects()
    stage.shop.webhooks.drop("messages.upsert", "contacts.upsert")
    stage.maria.writes("tem pão?")
    stage.shop.webhooks.treat_normally()
    await stage.shop.line.breaks()
    await stage.shop.line.connects()
    assert await stage.maria.answered() == [stage.maria.replies[0]]
    await stage.turns_end()
    assert await stage.sql("select body from messages where not from_me") == [{"body": "tem pão?"}]
