"""The connection from an instance to WhatsApp, where a send may take long or fail.

The effects of a send (the message on the phone, stored, reported) happen when it has passed here,
even if the caller has given up meanwhile. If the line breaks while it waits, it is not sent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from loopback.evolution.answers import refused
from loopback.evolution.chats import Json
from loopback.waiting import Changes, Gate

Seconds = float | Callable[[Json], float]
CLOSED = "Error: Connection Closed"


@dataclass(slots=True)
class _Slow:
    seconds: Seconds
    times: int | None


class Socket:
    """How long sends take, as planned by tests; by default no time at all."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._slow: list[_Slow] = []
        self._gates: list[Gate] = []
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def waiting(self) -> int:
        """How many sends are on their way."""
        return len(self._waiting)

    def is_slow(self, seconds: Seconds, *, times: int | None = None) -> None:
        """Let the next `times` sends (None: all, until `heal`) take this long.

        `seconds` may be a function of a send's body, so that a test can choose which sends are
        slow.
        """
        with self._changes.lock:
            self._slow.append(_Slow(seconds, times))

    def hold(self) -> Gate:
        """Hold every send from now on until the gate is opened."""
        gate = Gate(self._changes, "the gate at the socket")
        with self._changes.lock:
            self._gates.append(gate)
        return gate

    def heal(self) -> None:
        """Send without delay again. Sends under way keep their delay; held ones are released."""
        with self._changes.lock:
            gates, self._gates = self._gates, []
            self._slow.clear()
        for gate in gates:
            gate.open()

    def drop(self) -> None:
        """Lose the sends under way, because the line broke."""
        with self._changes.lock:
            waiting = tuple(self._waiting)
        for loop, dropped in waiting:
            try:
                loop.call_soon_threadsafe(dropped.set)
            except RuntimeError:  # the program has stopped, so no send is under way
                continue

    async def carry(self, body: Json) -> None:
        """Carry a send to WhatsApp. Raises Refusal if the line breaks meanwhile."""
        with self._changes.lock:
            seconds, gates = self._claim(body), tuple(self._gates)
        if seconds <= 0 and not gates:
            return
        dropped = asyncio.Event()
        entry = (asyncio.get_running_loop(), dropped)
        with self._changes.made():
            self._waiting.add(entry)
        way = asyncio.ensure_future(_way(seconds, gates))
        drop = asyncio.ensure_future(dropped.wait())
        try:
            await asyncio.wait((way, drop), return_when=asyncio.FIRST_COMPLETED)
            if not way.done():
                raise refused(CLOSED)
            way.result()
        finally:
            way.cancel()
            drop.cancel()
            with self._changes.made():
                self._waiting.discard(entry)

    def _claim(self, body: Json) -> float:
        if not self._slow:
            return 0.0
        slow = self._slow[0]
        if slow.times is not None:
            slow.times -= 1
            if slow.times == 0:
                self._slow.pop(0)
        return slow.seconds(body) if callable(slow.seconds) else slow.seconds


async def _way(seconds: float, gates: tuple[Gate, ...]) -> None:
    for gate in gates:
        await gate.pass_through()
    await asyncio.sleep(seconds)
