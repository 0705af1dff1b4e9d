"""Loads in a thread what takes seconds, while the event loop goes on serving requests."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from router.logs.events import Action, log_event

_log = logging.getLogger(__name__)
T = TypeVar("T")


class InThread(Generic[T]):
    """An object that is created once, in a thread, when it is first needed."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._making: asyncio.Task[T] | None = None

    @property
    def made(self) -> T | None:
        """The object, if it exists already."""
        making = self._making
        if making is None or not making.done() or making.cancelled() or making.exception():
            return None
        return making.result()

    def begin(self) -> None:
        """Create the object in the background."""
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._make), name="loading")
            self._making.add_done_callback(self._made)

    async def get(self) -> T:
        """Return the object as soon as it exists. Raises what creating it raises."""
        self.begin()
        assert self._making is not None  # noqa: S101 - just begun
        return await asyncio.shield(self._making)

    def _made(self, making: "asyncio.Task[T]") -> None:
        if making.cancelled() or making.exception() is not None:
            self._making = None  # the next call tries again


def rehearse(ask: Callable[[], None], name: str) -> None:
    """Make a dry call of an SDK, so that it has loaded all that its first real call needs."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - only the first real call takes longer
        log_event(
            _log, Action.UNEXPECTED, f"the SDK of {name} could not be rehearsed: {error!r}",
            level=logging.WARNING,
        )  # fmt: skip
