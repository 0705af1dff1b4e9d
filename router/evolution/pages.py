"""Reads Evolution's stored messages page by page, with fewer records per page if they are large.

A record may contain media (on the Cloud channel all of it in base64; a thumbnail with one value for
each byte), so even a normal Evolution's page may be longer than a response may be.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from router.evolution.client import MessagePage
from router.evolution.errors import AnswerTooLarge

# Each size divides the previous one, so the records read so far are whole pages of any smaller
# size.
SIZES = (100, 50, 25, 5, 1)
Find = Callable[[int, int], Awaitable[MessagePage]]
"""Returns the page with this number and size. Raises AnswerTooLarge if it is too large."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A record that is too large even on a page of its own.

    `place` counts from the newest record; `wa_id` is its message's id, if it can be read.
    """

    place: int
    wa_id: str | None
    why: str


class Pages:
    """The progress of reading the records, newest first.

    `turned` is the number of records read, `passed_over` are the unreadable ones among them;
    `asked` is the number of calls, and `in_vain` the weight of responses that were too large.
    """

    def __init__(self, find: Find) -> None:
        self.turned = 0
        self.passed_over: list[PassedOver] = []
        self.asked = 0
        self.in_vain = 0
        self.is_over = False
        self._find = find
        self._place = 0  # among the sizes

    async def turn(self) -> MessagePage:
        """Make one call; return its records, or none if it was too large."""
        size = SIZES[self._place]
        number = self.turned // size + 1
        self.asked += 1
        try:
            page = await self._find(number, size)
        except AnswerTooLarge as error:
            if size > 1:
                self._place += 1
            else:
                self._go_on(size)
                self.passed_over.append(PassedOver(self.turned, error.wa_id, str(error)))
            self.in_vain += error.weight
            return MessagePage((), 0, 0)
        self._go_on(size)
        self.is_over = number >= page.pages
        return page

    def _go_on(self, size: int) -> None:
        self.turned += size
        if self._place and self.turned % SIZES[self._place - 1] == 0:
            self._place -= 1
