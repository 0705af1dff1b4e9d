"""Types of answers that the API shows unchanged: pages and times."""

from datetime import datetime
from typing import Annotated, Generic, TypeAlias, TypeVar

from pydantic import Field, Strict

from router.state.calls.model import Answer, Asked, Items, Text

Item = TypeVar("Item")

Time: TypeAlias = Annotated[datetime, Strict(strict=False)]
"""A time in an answer; the API writes it in its own format."""


class AskedPage(Asked):
    """The requested page: how many items, and `next_cursor` of the page before."""

    limit: int | None = None
    cursor: Text | None = None


class Page(Answer, Generic[Item]):
    """Part of a list."""

    items: Items[Item]
    next_cursor: str | None = Field(
        description="`cursor` of the next page; null at the end. A page with few items may have"
        " one, too"
    )
