"""Whether an LLM that gave no answer is away, or only this one question is too much for it."""

import time
from collections.abc import Callable


class Reach:
    """When each LLM last gave a reply, as far as this process knows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._worked: dict[str, float] = {}

    def now(self) -> float:
        """Return the time, for `worked_since`."""
        return self._clock()

    def worked(self, llm: str) -> None:
        """The LLM gave a reply just now."""
        self._worked[llm] = self._clock()

    def worked_since(self, llm: str, moment: float) -> bool:
        """Whether it gave anybody a reply after that moment."""
        return self._worked.get(llm, float("-inf")) > moment
