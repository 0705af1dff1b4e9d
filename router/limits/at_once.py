"""How much one may have under way at once, of whatever is counted by a key."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class TooManyAtOnce(Exception):
    """As much is under way for the key as may be; nothing was begun."""


class AtOnce:
    """Counts what is under way, key by key."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._under_way: Counter[Hashable] = Counter()

    @contextmanager
    def taken(self, key: Hashable) -> Iterator[None]:
        """Count one more for the block. Raises TooManyAtOnce."""
        if self._under_way[key] >= self.most:
            raise TooManyAtOnce(f"{self.most} are under way")
        self._under_way[key] += 1
        try:
            yield
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]
