"""Calls a function as soon as the process is told to stop, with any ASGI server.

A server tells its application only when all responses are finished. A stream is never finished, so
uvicorn would wait for it, by default for ever.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_Handler = Callable[[int, FrameType | None], object]


@contextmanager
def before_the_server_stops(told: Callable[[], None]) -> Iterator[None]:
    """Call `told` in this event loop when a signal stops the server, which gets it as well.

    If the server handles no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    is_over = False

    def hears(before: _Handler) -> _Handler:
        def heard(number: int, frame: FrameType | None) -> object:
            if not is_over:
                loop.call_soon_threadsafe(told)
            return before(number, frame)

        return heard

    ours: dict[signal.Signals, tuple[_Handler, _Handler]] = {}
    for each in _SIGNALS:
        before = signal.getsignal(each)
        if callable(before):
            ours[each] = (before, hears(before))
            signal.signal(each, ours[each][1])
    try:
        yield
    finally:
        is_over = True
        for each, (before, heard) in ours.items():
            if signal.getsignal(each) is heard:
                signal.signal(each, before)
