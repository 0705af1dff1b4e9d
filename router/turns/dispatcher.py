"""Claims due turns and starts an attempt for each, for many sessions at once.

It claims as many turns as there are free seats (see `seats`); the loop is `router.running.claims`.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from router.logs.events import Action, log_event
from router.running.claims import ClaimLoop, ClaimTerms, Look, seconds_until
from router.running.stopping import STOP_GRACE
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.model import NotRead, readable
from router.state.calls.turns import (
    CallRouters,
    ClaimedTurns,
    ClaimTurns,
    call_routers,
    claim_turns,
)
from router.state.database import Database
from router.turns.flow_places import SOON, FlowPlaces
from router.turns.heartbeat import Attempt, Heartbeat, UnderWay
from router.turns.seats import Seat, Seats

_log = logging.getLogger(__name__)
_BETWEEN_CALLS = 0.1  # seconds between two calls of a full router


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """How turns are claimed; times in seconds."""

    parallel: int
    lease: float
    max_attempts: int
    history: int
    poll: float
    worker: str
    tenant_share: float = 1.0
    """How much of the seats one tenant may have at once; 1: all."""
    flows: int | None = None
    """How many turns may be in n8n at once; None: n8n is not used."""
    answer_within_minutes: float = 60.0
    """Older turns are not answered, unless their tenant has its own setting."""
    calls_as: str | None = None
    """The name by which this router notifies others through the state; None: it can listen."""


def comes_round(began: int, before: int, after: int) -> bool:
    """Whether the step from tenant `before` to `after`, going round, passes `began` again."""
    if before < after:
        return before < began <= after
    return began > before or began <= after


def _needs_no_flow(turn: ClaimedTurn) -> bool:
    """Whether no flow makes the reply: it is made or begun, or the tenant has its own LLM key."""
    return turn.reply is not None or bool(turn.parts) or turn.tenant.llm_api_key is not None


class Dispatcher:
    """The loop between the state and the attempts."""

    def __init__(
        self,
        database: Database,
        limits: ClaimLimits,
        begin_attempt: Callable[[ClaimedTurn, Seat], Attempt],
        is_elsewhere: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """`is_elsewhere` says whether a handler other than n8n makes a turn's reply."""
        self._database = database
        self._limits = limits
        self._begin_attempt = begin_attempt
        self._seats = Seats(
            limits.parallel,
            limits.tenant_share,
            has_free=self.wake,
            answered=self._flow_has_answered,
        )
        terms = ClaimTerms(limits.poll, limits.poll, "turns could not be claimed")
        self._claims = ClaimLoop[UnderWay](self._claim, lambda: self._seats.free, terms)
        self._claims.when_full = self._call_others
        self._claims.ended = lambda each: each.seat.end()
        self._claims.leaves_due = lambda each: each.attempt.leaves_due
        self._claims.soon = self._soon
        self._flows = None if limits.flows is None else FlowPlaces(limits.flows, is_elsewhere)
        self.heartbeat = Heartbeat(
            database, lambda: self._claims.under_way, worker=limits.worker, lease=limits.lease
        )
        self._after_tenant = 0
        self._after_without_n8n = 0
        self._took_none_since: int | None = None
        """Where the current round began, if it has found no turn so far; otherwise None."""
        self._called_others_at = float("-inf")
        self._left = True
        """Whether the last claim left due turns unclaimed."""

    def wake(self, due_in: float = 0.0) -> None:
        """Claim now, or in `due_in` seconds: a turn is due then."""
        self._claims.wake(due_in)

    def help(self) -> None:
        """Claim turns for another router that is full, if there is a free seat."""
        if self._seats.free:
            self.wake()

    def abandon(self, session_id: int) -> None:
        """A human took this session over: stop making a reply that the fence would refuse."""
        self._claims.stop_those(lambda each: each.turn.session.session_id == session_id)

    async def run(self) -> None:
        """Claim and dispatch until `stop`."""
        await self._claims.run()

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Claim nothing more, and give back every turn that is not being sent.

        A send has `grace` seconds to end. After that its turn is given back, too: the state knows
        that a send is under way, and the turn's next worker finds out how it ended.
        """
        await self._claims.stop(grace)

    async def _claim(self, free: int) -> Look:
        """Claim due turns and start working on them."""
        places = free if self._flows is None else self._flows.free(self._own())
        self._left, is_n8n_full = True, places <= 0
        look = Look(more=False)
        if places > 0:
            claimed = await self._take(self._what_to_claim(min(free, places)))
            self._left = claimed.left
            # The state does not count what was just claimed, before it is forwarded.
            is_n8n_full = claimed.n8n_full or self._has_no_place_in_n8n()
            is_round_over = self._is_round_over(claimed)
            # What needs no place in n8n has left some to others.
            has_places = places < free and places <= claimed.taken and not is_n8n_full
            more = has_places or (claimed.more and not is_round_over)
            self._after_tenant = claimed.after_tenant
            look = Look(more, seconds_until(claimed.next_due_at, claimed.now), claimed.left)
        if is_n8n_full and self._left and self._seats.free > 0:
            claimed = await self._take(self._without_n8n(self._seats.free))
            self._left = claimed.left
            self._after_without_n8n = claimed.after_tenant
            due_in = SOON if claimed.more else seconds_until(claimed.next_due_at, claimed.now)
            look = Look(look.more, due_in, claimed.left)
        if self._left and self._seats.free > 0 and self._has_no_place_in_n8n():
            # Another handler may take over a turn that has a place there, and nothing reports that.
            look = Look(more=False, due_in=SOON)
        return look

    async def _take(self, asked: ClaimTurns) -> ClaimedTurns:
        """Claim, and begin what was claimed."""
        claimed = await claim_turns(self._database, asked)
        for put_off in claimed.unreadable:
            log_event(
                _log, Action.TURN_RETRY, f"put off: {put_off.error}",
                level=logging.ERROR, turn_id=put_off.turn_id, tenant_id=put_off.tenant_id,
            )  # fmt: skip
        for ended in claimed.too_old:
            log_event(
                _log, Action.TURN_DEAD, "too old to be answered; it can be retried",
                level=logging.WARNING, **ended.model_dump(),
            )  # fmt: skip
        for ended in claimed.exhausted:
            log_event(
                _log, Action.TURN_DEAD, "the lease of its last attempt ended; it can be retried",
                level=logging.ERROR, **ended.model_dump(),
            )  # fmt: skip
        for turn in claimed.turns:
            self._claims.begin(f"turn {turn.name}", partial(self._begin, turn))
        return claimed

    def _is_round_over(self, claimed: ClaimedTurns) -> bool:
        """Whether all tenants were looked at since the last claimed turn: no turn is due now."""
        if claimed.taken or not claimed.more:
            self._took_none_since = None
            return False
        began = self._after_tenant if self._took_none_since is None else self._took_none_since
        is_over = comes_round(began, self._after_tenant, claimed.after_tenant)
        self._took_none_since = None if is_over else began
        return is_over

    async def _call_others(self) -> float:
        """Notify other routers, which may have a free seat. Return the seconds to the next call."""
        now = asyncio.get_running_loop().time()
        if (again := self._called_others_at + _BETWEEN_CALLS) > now:
            return again - now
        self._called_others_at = now
        await call_routers(self._database, CallRouters(by=self._limits.calls_as))
        return self._limits.poll

    def _what_to_claim(self, free: int) -> ClaimTurns:
        """Say how many turns to claim, and the shares of a tenant in n8n and in this process.

        A turn under way here counts until it ends, even if its lease is over, and this process
        knows better than the state which of its turns are in n8n. A tenant that is alone gets its
        share of the seats; if several tenants have many turns, some seats stay free for other
        tenants. A tenant's standing turns count, too: with them it has no more than a share.
        """
        limits = self._limits
        share, places = limits.tenant_share, self._flows
        is_shared = share < 1
        work = self._claims.under_way.values()
        there = {
            each.turn.turn_id: str(each.turn.tenant.tenant_id)
            for each in work
            if places and places.has(each.turn.turn_id, each.seat)
        }
        not_there = tuple(turn_id for turn_id, _ in self._own() if turn_id not in there)
        own = Counter(str(each.turn.tenant.tenant_id) for each in work)
        sitting = Counter(str(each.turn.tenant.tenant_id) for each in work if each.seat.is_taken)
        return ClaimTurns(
            limit=free,
            lease_seconds=limits.lease,
            max_attempts=limits.max_attempts,
            history_limit=limits.history,
            worker=limits.worker,
            after_tenant=self._after_tenant,
            tenant_max=max(1, int(places.count * share)) if is_shared and places else None,
            n8n_max_in_flight=places.count if places else None,
            in_n8n=Counter(there.values()) if places else None,
            ids_in_n8n=tuple(there) if places else None,
            not_in_n8n=not_there if places else None,
            own=own if is_shared else None,
            own_max=math.ceil(limits.parallel * share) if is_shared else None,
            sitting=sitting if is_shared else None,
            own_times=self._seats.times if is_shared else None,
            answer_within_minutes=limits.answer_within_minutes,
            objects=True,
        )

    def _without_n8n(self, free: int) -> ClaimTurns:
        """Say what to claim while n8n is full: what needs no flow has seats all the same."""
        of_n8n = dict.fromkeys(
            ("tenant_max", "n8n_max_in_flight", "in_n8n", "ids_in_n8n", "not_in_n8n")
        )
        others = {"after_tenant": self._after_without_n8n, "without_n8n": True}
        return self._what_to_claim(free).model_copy(update=of_n8n | others)

    def _has_no_place_in_n8n(self) -> bool:
        return self._flows is not None and self._flows.free(self._own()) <= 0

    def _own(self) -> list[tuple[int, Seat]]:
        return [(each.turn.turn_id, each.seat) for each in self._claims.under_way.values()]

    def _soon(self) -> float:
        return 0.0 if self._flows is None else self._flows.soon(self._own())

    def _flow_has_answered(self) -> None:
        """Claim the next turn for n8n, if the last claim left any."""
        if self._left:
            self.wake(self._soon())

    def _begin(self, turn: ClaimedTurn | NotRead) -> UnderWay:
        read = readable(turn)
        seat = self._seats.seat(read.tenant.tenant_id, read.tenant.evo_server_url)
        seat.needs_no_flow = _needs_no_flow(read)
        return UnderWay(read, self._begin_attempt(read, seat), seat)
