"""Lists of the state, read page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from router.state.calls.shown import AskedPage, Item, Page
from router.state.database import Database

_AskedPage = TypeVar("_AskedPage", bound=AskedPage)


async def all_pages(
    door: Callable[[Database, _AskedPage], Awaitable[Page[Item]]],
    database: Database,
    asked: _AskedPage,
) -> AsyncIterator[tuple[Item, ...]]:
    """Yield the items of each page, from the requested one on. Each page is a separate call."""
    while True:
        page = await door(database, asked)
        yield page.items
        if page.next_cursor is None:
            return
        asked = asked.model_copy(update={"cursor": page.next_cursor})


async def all_items(
    door: Callable[[Database, _AskedPage], Awaitable[Page[Item]]],
    database: Database,
    asked: _AskedPage,
) -> AsyncIterator[Item]:
    """Yield every item of the list."""
    async for items in all_pages(door, database, asked):
        for item in items:
            yield item
