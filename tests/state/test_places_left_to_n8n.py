"""A router and its places in n8n: each is used, and what needs none waits for none."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace

import pytest

from router.state.calls.claimed_turn import ClaimedTurn
from router.state.database import Json
from router.state.direct import DirectDatabase
from router.turns.dispatcher import ClaimLimits, Dispatcher
from router.turns.heartbeat import Attempt
from router.turns.seats import Seat
from tests.state.conversation import Conversation, held
from tests.state.test_fair_claims import claim, flood, owners

POLL = 600.0
SOON = 0.2


class Unending:
    """An attempt that goes on until it is stopped."""

    leaves_due = True

    def stop(self) -> bool:
        return True

    async def run(self) -> None:
        await asyncio.Event().wait()


class Desk:
    """A dispatcher with two places in n8n, of which each step is made by the test."""

    def __init__(self, database: DirectDatabase) -> None:
        self.talk = Conversation(database)
        self.calls: list[Mapping[str, object]] = []
        self.claimed: Counter[str] = Counter()
        self.limits = ClaimLimits(
            parallel=9, lease=60, max_attempts=5, history=5, poll=POLL, worker="desk", flows=2
        )
        self.dispatcher = Dispatcher(self, self.limits, self._begin)

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        self.calls.append(argument)
        return await self.talk.database.call(function, argument)

    async def step(self) -> float:
        """Let it look once; return in how many seconds it looks again."""
        return await self.dispatcher._claims.step()

    async def looks(self) -> float:
        """Let it look as long as it looks again soon, for a few times; return when it would."""
        again = 0.0
        for _ in range(6):
            if (again := await self.step()) > SOON:
                break
        return again

    async def due(self, tenant_id: int, turns: int) -> None:
        await flood(self.talk, tenant_id, turns, due="1 minute")
        await self.talk.sql(
            "insert into session_identities (tenant_id, jid, session_id)"
            " select tenant_id, phone_jid, id from sessions on conflict do nothing"
        )

    async def fill_n8n(self, tenant_id: int) -> None:
        """Another router gives two turns of the tenant to their flows."""
        await self.due(tenant_id, 2)
        for turn in (await claim(self.talk, 2, worker="other", objects=True))["turns"]:
            asked = {**held(turn), "lease_seconds": 300}
            await self.talk.database.call("forward_turn", asked)

    def _begin(self, turn: ClaimedTurn, _: Seat) -> Attempt:
        self.claimed[turn.tenant.instance_name] += 1
        return Unending()


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    database = await DirectDatabase.connect(database_url, size=2)
    desk = Desk(database)
    try:
        yield desk
    finally:
        await desk.dispatcher.stop()
        await database.close()


@pytest.fixture
async def shops(desk: Desk) -> dict[str, int]:
    """Tenants by their instances' names; "own" has an LLM key of its own."""
    names = {name: await desk.talk.open_shop(name) for name in ("crowded", "quiet")}
    return names | {"own": await desk.talk.open_shop("own", llm_api_key="sealed")}


async def test_where_a_router_has_filled_n8n_itself_those_who_need_no_place_are_claimed_at_once(
    desk: Desk, shops: dict[str, int]
):
    """The state does not know it yet: no turn was given to its flow so far."""
    await desk.due(shops["crowded"], 1)
    await desk.step()
    await desk.due(shops["quiet"], 1)
    await desk.due(shops["own"], 3)
    desk.calls.clear()
    await desk.step()
    assert [call.get("without_n8n", False) for call in desk.calls] == [False, True]
    assert desk.claimed == {"crowded": 1, "quiet": 1, "own": 3}


async def test_who_needs_no_place_leaves_it_to_one_who_does(desk: Desk, shops: dict[str, int]):
    await desk.due(shops["own"], 4)
    await desk.due(shops["crowded"], 4)
    await desk.looks()
    assert desk.claimed == {"own": 4, "crowded": 2}


async def test_nor_does_it_take_one_before_its_reply_is_being_made(
    desk: Desk, shops: dict[str, int]
):
    await desk.due(shops["own"], 5)
    await desk.looks()
    await desk.due(shops["crowded"], 4)
    await desk.looks()
    assert desk.claimed == {"own": 5, "crowded": 2}


async def test_what_is_on_its_way_there_has_a_place_before_the_state_knows(
    desk: Desk, shops: dict[str, int]
):
    """Another router has two of its turns there, and a claim looks again at once."""
    await desk.fill_n8n(shops["crowded"])
    limits = replace(desk.limits, parallel=20, flows=4)
    desk.dispatcher = Dispatcher(desk, limits, desk._begin)
    await desk.due(shops["own"], 5)
    await desk.due(shops["quiet"], 5)
    await desk.looks()
    assert desk.claimed == {"own": 5, "quiet": 2}


async def test_a_router_that_has_filled_n8n_does_not_look_again_and_again_where_nothing_is_due(
    desk: Desk, shops: dict[str, int]
):
    await desk.due(shops["crowded"], 2)
    assert await desk.looks() > SOON
    desk.calls.clear()
    assert await desk.looks() > SOON
    assert len(desk.calls) == 1


async def test_while_some_are_due_it_looks_again_soon_as_another_handler_may_take_one_over(
    desk: Desk, shops: dict[str, int]
):
    await desk.due(shops["crowded"], 3)
    assert await desk.step() == SOON
    assert await desk.step() == SOON


async def test_what_needs_no_place_and_another_holds_is_looked_at_soon(
    desk: Desk, shops: dict[str, int]
):
    await desk.fill_n8n(shops["crowded"])
    await desk.due(shops["own"], 1)
    async with desk.talk.database._pool.acquire() as other, other.transaction():
        await other.execute("select from turns where state = 'pending' for update")
        assert await desk.step() == SOON
    await desk.step()
    assert desk.claimed == {"own": 1}


async def test_a_look_while_n8n_is_full_leaves_the_round_where_it_is(
    desk: Desk, shops: dict[str, int]
):
    """Whoever it passed by would not have been served."""
    await desk.fill_n8n(shops["crowded"])
    for name in ("crowded", "quiet"):
        await desk.due(shops[name], 150)
    full = await claim(desk.talk, 5, n8n_max_in_flight=2, objects=True, worker="desk")
    assert (full["turns"], full["n8n_full"], full["left"]) == ([], True, True)
    assert full["after_tenant"] == 0


# What needs no flow any more


async def held_by_its_flow(talk: Conversation, tenant_id: int) -> Json:
    """A turn of the tenant that was given to its flow."""
    turn = (await claim(talk, 1, objects=True, worker="other"))["turns"][0]
    assert turn["tenant"]["tenant_id"] == tenant_id
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 300})
    return dict(turn)


async def is_released(talk: Conversation, turn: Json) -> None:
    await talk.database.call(
        "save_reply", {**held(turn), "parts": ["Oi!", "Tudo bem?"], "handler": "n8n"}
    )
    await talk.finish(turn, await talk.begin(turn, "Oi!"), "3EB0000001", turn["session"]["jid"])
    await talk.database.call("release_turn", held(turn))


async def is_put_off(talk: Conversation, turn: Json) -> None:
    await talk.database.call("save_reply", {**held(turn), "parts": ["Oi!"], "handler": "n8n"})
    await talk.database.call("release_turn", held(turn))


async def is_in_doubt(talk: Conversation, turn: Json) -> None:
    begun = await talk.begin(turn, "Oi!")
    doubt = {**held(turn), "message_id": begun["message_id"], "error": "no answer"}
    await talk.database.call("doubt_send", {**doubt, "check_after": 0})


async def has_a_human_called(talk: Conversation, turn: Json) -> None:
    asked = {**held(turn), "reason": "other", "say": ["Um momento."]}
    await talk.database.call("hand_off", asked)


@pytest.mark.parametrize("and_then", [is_released, is_put_off, is_in_doubt, has_a_human_called])
async def test_what_needs_no_flow_any_more_waits_for_no_place_in_n8n(
    desk: Desk, shops: dict[str, int], and_then: Callable[[Conversation, Json], Awaitable[None]]
):
    """Its reply was made, or its flow has said something; those of others wait for theirs."""
    await desk.due(shops["quiet"], 1)
    turn = await held_by_its_flow(desk.talk, shops["quiet"])
    await desk.fill_n8n(shops["crowded"])
    await desk.due(shops["crowded"], 3)
    await and_then(desk.talk, turn)
    await desk.looks()
    assert desk.claimed == {"quiet": 1}
    assert await desk.looks() > SOON


async def test_of_its_tenant_only_that_turn_waits_for_none(desk: Desk, shops: dict[str, int]):
    await desk.due(shops["quiet"], 1)
    turn = await held_by_its_flow(desk.talk, shops["quiet"])
    await desk.fill_n8n(shops["crowded"])
    await desk.due(shops["quiet"], 30)
    await is_released(desk.talk, turn)
    claimed = await claim(desk.talk, 9, objects=True, without_n8n=True)
    assert [each["turn_id"] for each in claimed["turns"]] == [turn["turn_id"]]
    assert (claimed["more"], claimed["left"]) == (False, True)


async def test_nor_does_it_wait_for_a_tenant_with_many_of_them_that_may_have_no_more(
    desk: Desk, shops: dict[str, int]
):
    """Its server hangs: its sends are in doubt, and looked up again and again."""
    await desk.due(shops["crowded"], 250)
    await desk.talk.sql(
        "update turns set state = 'sending', reply = '[\"Oi!\"]', token_hash = '',"
        " lease_until = now() - interval '1 minute'"
    )
    await desk.due(shops["quiet"], 1)
    await desk.talk.sql(
        "update turns set state = 'sending', reply = '[\"Oi!\"]', token_hash = '',"
        " lease_until = now() where state = 'pending'"
    )
    own = {str(shops["crowded"]): 15}
    shares = {"own": own, "own_max": 15, "own_times": 3, "sitting": {}}
    claimed = await claim(desk.talk, 5, objects=True, without_n8n=True, **shares)
    assert owners(claimed) == {"quiet": 1}


async def test_nor_does_an_own_key_count_for_a_share_of_n8n_whoever_makes_its_replies(
    desk: Desk, shops: dict[str, int]
):
    await desk.due(shops["own"], 3)
    await claim(desk.talk, 2, objects=True, worker="other")
    terms = {"n8n_max_in_flight": 4, "tenant_max": 2, "objects": True, "worker": "desk"}
    assert owners(await claim(desk.talk, 9, **terms)) == {"own": 1}


async def test_a_dead_flow_that_cannot_be_closed_now_is_closed_soon_also_while_n8n_is_full(
    desk: Desk, shops: dict[str, int]
):
    await desk.due(shops["quiet"], 1)
    turn = await held_by_its_flow(desk.talk, shops["quiet"])
    await desk.talk.finish(turn, await desk.talk.begin(turn, "Oi!"), "3EB0000001")
    await desk.fill_n8n(shops["crowded"])
    over = "update turns set lease_until = now() where id = $1"
    await desk.talk.sql(over, turn["turn_id"])
    ended = "select state, reason, incomplete from turns where id = $1"
    async with desk.talk.database._pool.acquire() as other, other.transaction():
        await other.execute("select from sessions for key share")
        assert await desk.step() == SOON
    await desk.step()
    (told,) = await desk.talk.sql(ended, turn["turn_id"])
    assert tuple(told.values()) == ("sent", "flow_died", True)
    assert desk.claimed == {}
