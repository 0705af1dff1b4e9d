"""What takes seconds to load, loaded in a thread: meanwhile the event loop serves requests."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from router.logs.events import Action, log_event

_log = logging.getLogger(__name__)
T = TypeVar("T")


class InThread(Generic[T]):
    """Something that is made once, in a thread, when it is first wanted."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._making: asyncio.Task[T] | None = None

    @property
    def made(self) -> T | None:
        """The thing, if it exists already."""
        making = self._making
        if making is None or not making.done() or making.cancelled() or making.exception():
            return None
        return making.result()

    def begin(self) -> None:
        """Make it in the background."""
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._make), name="loading")
            self._making.add_done_callback(self._made)

    async def get(self) -> T:
        """Return it as soon as it is made. Raises what the making raises."""
        self.begin()
        assert self._making is not None  # noqa: S101 - just begun
        return await asyncio.shield(self._making)

    def _made(self, making: "asyncio.Task[T]") -> None:
        if making.cancelled() or making.exception() is not None:
            self._making = None  # the next call tries again


def rehearse(ask: Callable[[], None], name: str) -> None:
    """Make a dry call of an SDK, so that what it loads and builds for its first answer is there."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - the first answer takes longer, nothing else
        log_event(
            _log, Action.UNEXPECTED, f"the SDK of {name} could not be rehearsed: {error!r}",
            level=logging.WARNING,
        )  # fmt: skip
