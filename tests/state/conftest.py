"""The state alone: SQL functions on a real PostgreSQL, called as the router calls them.

What asks for `database` or `talk` runs twice: over PostgreSQL's own protocol and over PostgREST.
"""

from collections.abc import AsyncIterator

import pytest

from router.state.direct import DirectDatabase
from tests.state.conversation import Conversation
from tests.state.transports import RestDatabase, over_postgresql, over_postgrest


@pytest.fixture(params=["direct", pytest.param("postgrest", marks=pytest.mark.twice)])
async def database(
    request: pytest.FixtureRequest, database_url: str
) -> AsyncIterator[DirectDatabase | RestDatabase]:
    if request.param == "direct":
        way = over_postgresql(database_url)
    else:
        way = over_postgrest(request.getfixturevalue("postgrest"), database_url)
    async with way as database:
        yield database


@pytest.fixture
async def talk(database: DirectDatabase | RestDatabase) -> Conversation:
    """A tenant `shop` and a customer, Maria, who has not written yet."""
    conversation = Conversation(database)
    await conversation.open_shop()
    return conversation
