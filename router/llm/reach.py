"""Tells whether an LLM that did not answer is away, or this one question is too much for it."""

import time
from collections.abc import Callable


class Reach:
    """Remembers when each LLM last gave a reply in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._worked: dict[str, float] = {}

    def now(self) -> float:
        """Return the time, for `worked_since`."""
        return self._clock()

    def worked(self, llm: str) -> None:
        """Note that the LLM has just given a reply."""
        self._worked[llm] = self._clock()

    def worked_since(self, llm: str, moment: float) -> bool:
        """Whether the LLM gave any reply after that moment."""
        return self._worked.get(llm, float("-inf")) > moment
