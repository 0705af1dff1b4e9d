"""The record of one conversation: what was said, called, sent and refused, with the times."""

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from benchmarks.faults.plan import Fates, Moment, Plan
from loopback.evolution import Business, Customer, Delivery

MARKER = re.compile(r"\bQ(\d{5})\.(\d{1,2})\b")
_HOLD_SECONDS = 3.0

Hook = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Said:
    """A customer's message. Its text contains `marker`, and so does the reply to it."""

    marker: str | None
    wa_id: str
    at: float
    delivery: Delivery
    deleted_at: float | None = None
    edit: str | None = None


@dataclass(frozen=True, slots=True)
class Human:
    """A message of the business's people, by hand (`owner`) or through another `client`."""

    wa_id: str
    at: float
    by: str
    body: str


@dataclass(slots=True)
class Asked:
    """A pause or a resume by REST, or an erasure; `ended` is None until it is confirmed."""

    what: str
    began: float
    ended: float | None = None
    unknown: bool = False
    """Whether an address of the person did not belong to a contact yet: it is not erased."""


@dataclass(slots=True)
class Written:
    """A message of an operator by REST; `ended` is None until a router has accepted it."""

    body: str
    began: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that reached the phone through Evolution's API: when it was requested and sent."""

    wa_id: str
    body: str
    arrived: float
    at: float


@dataclass(slots=True)
class Conversation:
    """Everything that happens in one conversation. Three threads write it; it is read last."""

    plan: Plan
    shop: Business
    customer: Customer
    loop: asyncio.AbstractEventLoop
    said: list[Said] = field(default_factory=list)
    humans: list[Human] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    erased: Asked | None = None
    delivered: list[Delivered] = field(default_factory=list)
    acks: dict[tuple[str, str], float] = field(default_factory=dict)
    journal: list[tuple[float, str]] = field(default_factory=list)
    troubles: list[tuple[float, str]] = field(default_factory=list)
    refused_bodies: list[str] = field(default_factory=list)
    refused_for_good: bool = False
    in_charge: bool = False
    """Whether a human has the conversation, as far as people know."""
    parts: int = 1
    fates: Fates = field(init=False)
    _hooks: dict[Moment, list[Hook]] = field(default_factory=dict)
    _progress: asyncio.Event = field(default_factory=asyncio.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """The draws of what goes wrong."""
        self.fates = Fates(self.plan)

    @property
    def number(self) -> int:
        """The conversation's number in the run."""
        return self.plan.number

    def note(self, what: str) -> None:
        """Record what happens."""
        self.journal.append((time.time(), what))

    def meets(self, trouble: str, what: str = "") -> None:
        """Record what goes wrong."""
        self.troubles.append((time.time(), trouble))
        self.note(f"fault: {trouble}{what and ' '}{what}")

    def at(self, moment: Moment, hook: Hook) -> None:
        """Run `hook` when this moment comes the next time."""
        with self._lock:
            self._hooks.setdefault(moment, []).append(hook)

    def forget(self, moment: Moment, hook: Hook) -> bool:
        """Remove a hook. Returns False if its moment has come already."""
        with self._lock:
            waiting = self._hooks.get(moment, [])
            if hook not in waiting:
                return False
            waiting.remove(hook)
            return True

    async def reached(self, moment: Moment) -> None:
        """Run the moment's hooks in the people's event loop, and wait until they are done."""
        if (running := self._begin(moment)) is None:
            return
        doing = asyncio.wrap_future(running)
        await asyncio.wait({doing}, timeout=_HOLD_SECONDS)  # people finish what they have begun
        if not doing.done():
            self.note(f"people are slow at {moment}: the world goes on")

    def passed(self, moment: Moment) -> None:
        """Run the moment's hooks, without waiting for them."""
        self._begin(moment)

    def delivers(self, reply: Delivered) -> None:
        """Record what reached the phone."""
        self.delivered.append(reply)
        self.loop.call_soon_threadsafe(self._progress.set)

    async def is_over(self) -> None:
        """Wait until nothing more is expected: everything is answered, or a human is in charge."""
        while not self.in_charge and not self.answered():
            self._progress.clear()
            await self._progress.wait()

    def answered(self) -> bool:
        """Whether every message of the customer has a reply on the phone, as far as is visible."""
        text = " ".join(reply.body[:400] for reply in self.delivered)
        return all(said.marker in text for said in self.said if said.marker and not said.deleted_at)

    def story(self) -> str:
        """Return the plan and what happened, as text."""
        lines = [f"  {_clock(at)} {what}" for at, what in sorted(self.journal)]
        return "\n".join([self.plan.story(), "what happened:", *lines])

    def _begin(self, moment: Moment) -> "Future[None] | None":
        with self._lock:
            waiting = self._hooks.get(moment)
            hook = waiting.pop(0) if waiting else None
        if hook is None:
            return None
        return asyncio.run_coroutine_threadsafe(_run(hook), self.loop)


class Directory:
    """Finds the conversation of a message: by instance and JID, or by its marker."""

    def __init__(self) -> None:
        self._by_jid: dict[tuple[str, str], Conversation] = {}
        self.by_number: dict[int, Conversation] = {}

    def add(self, conversation: Conversation) -> None:
        """Make it known."""
        shop, customer = conversation.shop, conversation.customer
        self.by_number[conversation.number] = conversation
        for jid in (customer.jid, customer.lid):
            if jid is not None:
                self._by_jid[shop.name, jid.partition("@")[0]] = conversation

    def at(self, instance: str, number: object) -> Conversation | None:
        """Return the conversation at a JID or number of an instance."""
        return self._by_jid.get((instance, str(number or "").partition("@")[0]))


async def _run(hook: Hook) -> None:
    await hook()


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03}"
