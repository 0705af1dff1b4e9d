"""The state alone: SQL functions on a real PostgreSQL, called as the router calls them.

What asks for `database` or `talk` runs twice: over PostgreSQL's own protocol and over PostgREST's
double. What is marked `both` runs once more, over the real PostgREST.
"""

from collections.abc import AsyncIterator

import pytest

from router.state.direct import DirectDatabase
from tests.real_postgrest.choice import DIRECT, DOUBLE, program_for
from tests.state.conversation import Conversation
from tests.state.transports import RestDatabase, over_postgresql, over_postgrest
from tests.supabase import TestProject


@pytest.fixture(params=[DIRECT, pytest.param(DOUBLE, marks=pytest.mark.twice)])
async def database(
    request: pytest.FixtureRequest, database_url: str
) -> AsyncIterator[DirectDatabase | RestDatabase]:
    if request.param == DIRECT:
        async with over_postgresql(database_url) as database:
            yield database
        return
    program = program_for(request.param)
    with TestProject(database_url, program) as project:
        async with over_postgrest(project, database_url) as database:
            yield database


@pytest.fixture
async def talk(database: DirectDatabase | RestDatabase) -> Conversation:
    """A tenant `shop` and a customer, Maria, who has not written yet."""
    conversation = Conversation(database)
    await conversation.open_shop()
    return conversation
