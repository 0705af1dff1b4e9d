"""What the API shows as the state has it: pages, times."""

from datetime import datetime
from typing import Annotated, Generic, TypeAlias, TypeVar

from pydantic import Field, Strict

from router.state.calls.model import Answer, Asked, Items, Text

Item = TypeVar("Item")

Time: TypeAlias = Annotated[datetime, Strict(strict=False)]
"""A time of an answer, which the API writes in its own way."""


class AskedPage(Asked):
    """Which part of a list: so many items, from `next_cursor` of the page before."""

    limit: int | None = None
    cursor: Text | None = None


class Page(Answer, Generic[Item]):
    """Part of a list."""

    items: Items[Item]
    next_cursor: str | None = Field(
        description="`cursor` of the next page; null at the end. A page with few items may have"
        " one, too"
    )
