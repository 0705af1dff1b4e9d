"""The state alone: SQL functions on a real PostgreSQL, called as the router calls them."""

from collections.abc import AsyncIterator

import pytest

from router.state.direct import DirectDatabase
from tests.state.conversation import Conversation


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[DirectDatabase]:
    database = await DirectDatabase.connect(database_url, size=1)
    yield database
    await database.close()


@pytest.fixture
async def talk(database: DirectDatabase) -> Conversation:
    """A tenant `shop` and a customer, Maria, who has not written yet."""
    conversation = Conversation(database)
    await conversation.open_shop()
    return conversation
