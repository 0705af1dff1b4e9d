"""A router with nothing to do asks the database now and then, and no more."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest

from router.state.calls.claimed_turn import ClaimedTurn
from router.state.database import Json
from router.state.direct import DirectDatabase
from router.turns.dispatcher import ClaimLimits, Dispatcher
from router.turns.heartbeat import Attempt
from router.turns.seats import Seat
from tests.state.conversation import Conversation

SECONDS = 1.0


class Counted:
    """The state, and how often each function of it was called."""

    def __init__(self, database: DirectDatabase) -> None:
        self._database = database
        self.calls: Counter[str] = Counter()

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        self.calls[function] += 1
        return await self._database.call(function, argument)


def nobody_begins(turn: ClaimedTurn, seat: Seat) -> Attempt:
    raise AssertionError(f"turn {turn.turn_id} was claimed")


def dispatcher(database: Counted, *, parallel: int, poll: float) -> Dispatcher:
    limits = ClaimLimits(
        parallel=parallel, lease=60, max_attempts=5, history=5, poll=poll, worker="test"
    )
    return Dispatcher(database, limits, nobody_begins)


async def for_a_while(of: Dispatcher) -> None:
    running = asyncio.create_task(of.run())
    await asyncio.sleep(SECONDS)
    await of.stop()
    await running


@pytest.mark.apart
async def test_it_looks_once_a_poll(talk: Conversation):
    counted = Counted(talk.database)
    await for_a_while(dispatcher(counted, parallel=20, poll=0.25))
    assert set(counted.calls) == {"claim_turns"}
    assert counted.calls["claim_turns"] <= SECONDS / 0.25 + 1


@pytest.mark.apart
async def test_each_call_of_another_is_one_look(talk: Conversation):
    counted = Counted(talk.database)
    idle = dispatcher(counted, parallel=20, poll=600)
    asyncio.get_running_loop().call_later(SECONDS / 2, idle.help)
    await for_a_while(idle)
    assert counted.calls == {"claim_turns": 2}


@pytest.mark.apart
async def test_a_full_one_calls_once_and_does_not_hear_itself(talk: Conversation):
    counted = Counted(talk.database)
    full = dispatcher(counted, parallel=0, poll=600)
    for after in (0.2, 0.4, 0.6):
        asyncio.get_running_loop().call_later(after, full.help)
    await for_a_while(full)
    assert counted.calls == {"call_routers": 1}


@pytest.mark.apart
async def test_what_is_due_behind_another_turn_of_its_conversation_is_not_looked_for_without_end(
    talk: Conversation,
):
    """Of so many tenants that no look sees them all; each waits for a turn that is put aside."""
    await talk.sql(
        "insert into tenants (instance_name, evo_server_url)"
        " select 'other' || g, 'https://evolution.example' from generate_series(1, 60) as g"
    )
    await talk.sql(
        "with s as (insert into sessions (tenant_id, phone_jid)"
        " select t.id, (5511900000000 + 100 * t.id + g) || '@s.whatsapp.net'"
        " from tenants as t cross join generate_series(1, 5) as g returning id, tenant_id)"
        " insert into turns (tenant_id, session_id, state, run_after, debounce_until, lease_until,"
        " token_hash)"
        " select s.tenant_id, s.id, a.state, now() - interval '1 second', now(), a.until, a.hash"
        " from s cross join (values ('sending', now() + interval '1 hour', sha256('')),"
        " ('pending', null, null)) as a (state, until, hash)"
    )
    counted = Counted(talk.database)
    await for_a_while(dispatcher(counted, parallel=2, poll=600))
    assert 1 < counted.calls["claim_turns"] <= SECONDS / 0.2 + 1
