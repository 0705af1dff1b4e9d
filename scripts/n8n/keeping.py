"""Restarts n8n if it ends by itself: it crashed, was killed, or ran out of memory."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from scripts.n8n.server import N8nServer

_LOOK_SECONDS = 0.2
_STEADY_SECONDS = 60.0  # an n8n that ran this long is not crashing in a loop
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


def next_pause(before: float, ran_for: float) -> float:
    """Return the seconds to wait before the next start of n8n; the last wait was `before`.

    The wait doubles with each start that did not last, up to a minute.
    """
    if before == 0 or ran_for >= _STEADY_SECONDS:
        return _FIRST_PAUSE
    return min(before * 2, _LONGEST_PAUSE)


@contextmanager
def kept_alive(
    server: N8nServer, tell: Callable[[str], None], pause: Callable[[float, float], float]
) -> Iterator[None]:
    """Restart `server` each time it has ended, until the end of the block.

    `pause` is `next_pause`, or a test's.
    """
    ending = threading.Event()

    def keep() -> None:
        waited, started = 0.0, time.monotonic()
        while not ending.wait(_LOOK_SECONDS):
            if not server.has_ended():
                continue
            waited = pause(waited, time.monotonic() - started)
            with suppress(OSError, ValueError):  # the output may be closed already
                tell(f"n8n has ended, and is started again in {waited:g} s. Its last words:")
                tell(server.log_end())
            try:
                server.stop()
                if ending.wait(waited):
                    return
                started = time.monotonic()
                server.start()
            except (OSError, ValueError) as error:
                with suppress(OSError, ValueError):
                    tell(f"n8n could not be started: {error}")

    keeper = threading.Thread(target=keep, name="n8n", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ending.set()
        keeper.join()
