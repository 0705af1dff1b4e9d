"""Plays and judges a run: all conversations, disasters at the same time, then the healing."""

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace

import asyncpg
import httpx

from benchmarks.faults import watch
from benchmarks.faults.conversation import MARKER, Conversation
from benchmarks.faults.disasters import Disasters
from benchmarks.faults.history import (
    Call,
    History,
    HumanMessage,
    OperatorMessage,
    PhoneReply,
    SaidMessage,
)
from benchmarks.faults.judge import Offence, judge
from benchmarks.faults.people import People
from benchmarks.faults.plan import Plan, make_plan
from benchmarks.faults.terms import Terms
from benchmarks.faults.world import World, running_world

_PATIENCE = 10.0  # seconds that a conversation waits for its last reply before it makes room
_JANITOR = 3.0
_TELL = 10.0
_LET_UP = 600.0
_LOOK = 0.1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """The order for a run. `only`: one conversation's plan, `times` over, with other numbers."""

    seed: int
    conversations: int
    tenants: int = 24
    at_once: int = 200
    per_second: float = 10.0
    beyond: bool = False
    flows: bool = False
    disasters: bool = True
    only: int | None = None
    times: int = 1
    settle_seconds: float = 180.0
    disaster_pause: tuple[float, float] = (3.0, 8.0)

    def plans(self) -> Sequence[Plan]:
        """Return the plans."""
        if self.only is None:
            numbers = range(self.conversations)
            return [
                make_plan(self.seed, number, tenants=self.tenants, beyond=self.beyond)
                for number in numbers
            ]
        plan = make_plan(self.seed, self.only, tenants=self.tenants, beyond=self.beyond)
        return [plan, *(self._again(plan, place) for place in range(1, self.times))]

    def _again(self, plan: Plan, place: int) -> Plan:
        number = 50_000 + place
        return replace(
            plan,
            number=number,
            drawn_as=plan.number,
            phone=f"551197{number:07}",
            lid=None if plan.lid is None else f"20199{number:08}",
        )


@dataclass(slots=True)
class Outcome:
    """The results of a run."""

    order: Order
    terms: Terms
    seconds: float = 0.0
    healing_seconds: float = 0.0
    messages: int = 0
    replies: int = 0
    interventions: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    offences: list[Offence] = field(default_factory=list)
    stories: dict[int, str] = field(default_factory=dict)
    recoveries: list[float] = field(default_factory=list)
    beyond: int = 0
    longest_end: float = 0.0
    stalled: float = 0.0
    given_up: Counter[str] = field(default_factory=Counter)
    untold: int = 0
    """Messages that no router acknowledged, even after the healing. With any, the run proves
    nothing."""
    left_open: tuple[int, int] = (0, 0)
    deadlocks: int = 0
    disasters: list[tuple[float, str]] = field(default_factory=list)
    router_logs: list[str] = field(default_factory=list)

    def count(self, kind: str, *, apart: bool = False) -> int:
        """Return the number of offences of a kind."""
        return sum(o.kind == kind and bool(o.apart) is apart for o in self.offences)

    @property
    def clean(self) -> bool:
        """Whether everything was played, and no promise that counts was broken."""
        return not self.untold and all(offence.apart for offence in self.offences)


async def play(order: Order, terms: Terms | None = None) -> Outcome:
    """Play a run and judge it."""
    terms = terms or Terms()
    outcome = Outcome(order, terms)
    async with running_world(terms, order.tenants, flows=order.flows) as world:
        stage = _Stage(world, order)
        began = time.time()
        disasters = await stage.play()
        outcome.seconds = time.time() - began
        outcome.left_open = await stage.settle(order.settle_seconds)
        outcome.healing_seconds = time.time() - began - outcome.seconds
        held = await watch.read(world.dsn, disasters.number_of)
        histories = [
            _history(conversation, held.get(number), world)
            for number, conversation in world.directory.by_number.items()
        ]
        outcome.router_logs = [router.log() for router in world.routers]
        _sum_up(outcome, world, disasters)
    for history in histories:
        found = judge(history)
        outcome.offences += found
        outcome.beyond += history.is_beyond
        outcome.untold += sum(said.acked_at is None for said in history.said)
        if found:
            outcome.stories[history.number] = history.story
    return outcome


class _Stage:
    """The conversations of one run, a limited number at once."""

    def __init__(self, world: World, order: Order) -> None:
        self._world = world
        self._order = order
        self._places = asyncio.Semaphore(order.at_once)
        self._over = 0

    async def play(self) -> Disasters:
        """Play every conversation."""
        world, order = self._world, self._order
        over = asyncio.Event()
        disasters = Disasters(
            world, random.Random(f"{order.seed}-disasters"), pause=order.disaster_pause
        )
        async with _rest(world) as rest, asyncio.TaskGroup() as group:
            janitor = group.create_task(self._keep_tidy())
            telling = group.create_task(self._tell())
            raging = group.create_task(disasters.rage(over)) if order.disasters else None
            async with asyncio.TaskGroup() as conversations:
                for plan in order.plans():
                    await asyncio.sleep(1 / order.per_second)
                    await self._places.acquire()
                    await self._lets_up()
                    conversations.create_task(self._converse(plan, rest))
            over.set()
            if raging is not None:
                await raging
            janitor.cancel()
            telling.cancel()
        return disasters

    async def settle(self, seconds: float) -> tuple[int, int]:
        """Heal everything, and wait until the database is quiet. Returns how much is still open."""
        self._world.heal()
        await self._world.database_answers()
        end, quiet, left = time.monotonic() + seconds, 0, (0, 0)
        while quiet < 3 and time.monotonic() < end:
            await asyncio.sleep(1)
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                left = await watch.unquiet(self._world.dsn)
                quiet = quiet + 1 if left == (0, 0) and not self._world.wire.under_way else 0
        return left

    async def _lets_up(self) -> None:
        """Wait while more webhooks are under way than the routers and this machine can handle."""
        async with asyncio.timeout(_LET_UP):
            while self._world.wire.under_way > self._order.at_once:  # noqa: ASYNC110 - in a thread
                await asyncio.sleep(_LOOK)

    async def _tell(self) -> None:
        """Report the progress from time to time."""
        total, began = len(self._order.plans()), time.time()
        while True:
            await asyncio.sleep(_TELL)
            _log.info("%d of %d conversations, %.0f s", self._over, total, time.time() - began)

    async def _converse(self, plan: Plan, rest: httpx.AsyncClient) -> None:
        try:
            conversation = self._conversation(plan)
            tenant_id = self._world.tenant_ids[plan.tenant]
            world = self._world
            await People(conversation, tenant_id, rest, world.urls, world.dsn).play()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(conversation.is_over(), _PATIENCE)
        finally:
            self._over += 1
            self._places.release()

    def _conversation(self, plan: Plan) -> Conversation:
        shop = self._world.shops[plan.tenant]
        customer = shop.customer(
            plan.phone, name=f"C{plan.number}", lid=plan.lid, identity=plan.identity
        )
        conversation = Conversation(plan, shop, customer, asyncio.get_running_loop())
        self._world.directory.add(conversation)
        return conversation

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(_JANITOR)
            self._world.forget_what_is_over()


@contextlib.asynccontextmanager
async def _rest(world: World) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        timeout=4, limits=limits, trust_env=False, headers={"X-API-Key": world.terms.api_key}
    ) as rest:
        yield rest


def _history(conversation: Conversation, held: watch.Held | None, world: World) -> History:
    acks = conversation.acks
    said = [
        SaidMessage(
            marker=each.marker,
            wa_id=each.wa_id,
            at=each.at,
            acked_at=acks.get(("messages.upsert", each.wa_id)),
            deleted=each.deleted_at is not None,
            delete_acked=each.deleted_at is not None
            and each.edit is None
            and ("messages.edited", each.wa_id) in acks,
            edit_acked=each.edit is not None
            and each.deleted_at is None
            and ("messages.edited", each.wa_id) in acks,
        )
        for each in conversation.said
    ]
    humans = [
        HumanMessage(
            wa_id=human.wa_id,
            at=human.at,
            by=human.by,
            acked_at=acks.get(
                ("messages.upsert" if human.by == "owner" else "send.message", human.wa_id)
            ),
        )
        for human in conversation.humans
    ]
    phone = [
        PhoneReply(
            each.wa_id, each.body, each.arrived, each.at,
            # A webhook is received only after several turns of an event loop that may stall in
            # each.
            world.stalls.within(each.arrived - world.terms.bound, each.at),
        )
        for each in conversation.delivered
    ]  # fmt: skip
    history = History(
        number=conversation.number,
        tenant=conversation.plan.tenant,
        bound=world.terms.bound,
        said=said,
        humans=humans,
        calls=[Call(each.what, each.began, each.ended) for each in conversation.asked],
        written=[OperatorMessage(w.body, w.began, w.ended) for w in conversation.written],
        erased=None
        if (erased := conversation.erased) is None
        else Call(erased.what, erased.began, erased.ended, erased.unknown),
        phone=phone,
        refused_for_good=conversation.refused_for_good,
    )
    if held is None:
        return replace(history, story=conversation.story())
    for change in held.changes:
        if change.what != "identity" or change.detail.get("from") is not None:
            about = " ".join(f"{k}={v}" for k, v in change.detail.items() if v is not None)
            conversation.journal.append(
                (change.at, f"    database: session {change.session_id} {change.what} {about}")
            )
    return replace(
        history,
        rows=held.rows,
        turns=held.turns,
        sessions=held.sessions,
        changes=held.changes,
        story=conversation.story(),
    )


def _sum_up(outcome: Outcome, world: World, disasters: Disasters) -> None:
    conversations = world.directory.by_number.values()
    outcome.messages = sum(len(c.said) for c in conversations)
    outcome.replies = sum(len(c.delivered) for c in conversations)
    outcome.interventions = sum(
        len(c.humans) + len(c.asked) + len(c.written) + (c.erased is not None)
        for c in conversations
    )
    outcome.faults = Counter(trouble for c in conversations for _, trouble in c.troubles)
    outcome.faults.update(world.wire.troubles)
    outcome.faults.update(disasters.counts)
    outcome.deadlocks = world.deadlocks()
    outcome.longest_end = disasters.longest_end
    outcome.disasters = disasters.journal
    outcome.stalled = sum(late for _, late in world.stalls.found)
    outcome.given_up = Counter(
        " ".join([delivery.state, *(str(a.status or a.error[:60]) for a in delivery.attempts)])
        for delivery in world.wire.given_up
    )
    outcome.recoveries = list(_recoveries(world, disasters))


def _recoveries(world: World, disasters: Disasters) -> Iterable[float]:
    """Yield the seconds from each recovery to the next reply of an interrupted conversation."""
    strikes = [began for began, _ in disasters.journal]
    for interruption in disasters.interruptions:
        for number in interruption.numbers:
            conversation = world.directory.by_number[number]
            waiting = {
                s.marker for s in conversation.said if s.marker and s.at < interruption.began
            }
            first = next((d for d in conversation.delivered if d.at > interruption.back), None)
            if first is None or not waiting & {m[0] for m in MARKER.finditer(first.body[:400])}:
                continue
            since = interruption.began - world.terms.bound
            struck = any(since <= at <= first.at for at, _ in conversation.troubles)
            again = any(interruption.back <= began <= first.at for began in strikes)
            if not struck and not again:
                yield first.at - interruption.back
