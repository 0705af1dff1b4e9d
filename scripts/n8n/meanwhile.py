"""Starts n8n while the router already serves, so that callers are answered meanwhile."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

UP = "n8n is up: turns go to it from now on."


@contextmanager
def coming_up(
    n8n: AbstractContextManager[object],
    tell: Callable[[str], None],
    told: tuple[type[Exception], ...],
) -> Iterator[None]:
    """Run `n8n` in a thread during the block; print its error if it is one of `told`.

    If the block ends before n8n is up, nothing waits for it: n8n's supervisor ends it with this
    program.
    """
    is_up, ending = threading.Event(), threading.Event()

    def run() -> None:
        try:
            with n8n:
                is_up.set()
                tell(UP)
                ending.wait()
        except told as error:
            tell(str(error))

    beside = threading.Thread(target=run, name="n8n coming up", daemon=True)
    beside.start()
    try:
        yield
    finally:
        ending.set()
        if is_up.is_set():
            beside.join()
