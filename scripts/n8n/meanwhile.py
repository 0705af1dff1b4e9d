"""n8n starts while the router already serves, so that nobody waits with nothing answering."""

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
    """Enter `n8n` beside the block, and leave it with the block; a fault of `told` is said.

    Where the block ends before it is up, nobody waits: it ends with this program, supervised.
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
