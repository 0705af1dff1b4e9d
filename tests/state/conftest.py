"""The state alone: SQL functions on a real PostgreSQL, called as the router calls them.

What asks for `database` or `talk` runs twice: over PostgreSQL's own protocol and over PostgREST's
double. What is marked `both` runs once more, over the real PostgREST.

All share one event loop, since they share connections, and one database, which is put back behind
each: see `tests.state.kept`. One marked `own_database` or `spoils` gets a new one.
"""

from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from router.state.direct import DirectDatabase
from tests.postgres import Databases
from tests.real_postgrest.choice import DIRECT, DOUBLE, program_for
from tests.state.conversation import Conversation
from tests.state.kept import NEW, Kept, Shelf
from tests.state.one_loop import make_in_one_loop, run_in_one_loop
from tests.state.transports import RestDatabase, over_postgrest
from tests.supabase import TestProject

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    run_in_one_loop(items, _HERE)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    make_in_one_loop(fixturedef)
    return (yield)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kept_shelf(databases: Databases, template_url: str) -> AsyncIterator[Shelf]:
    shelf = Shelf(databases, template_url)
    yield shelf
    await shelf.clear()


@pytest.fixture
async def kept_database(request: pytest.FixtureRequest, kept_shelf: Shelf) -> AsyncIterator[Kept]:
    if any(request.node.get_closest_marker(mark) is not None for mark in NEW):
        kept = await kept_shelf.make()
        yield kept
        await kept_shelf.throw_away(kept)
    else:
        kept = await kept_shelf.take()
        yield kept
        await kept_shelf.give_back(kept)


@pytest.fixture
def database_url(kept_database: Kept) -> str:
    """The address of a database with the schema, and nothing in it."""
    return kept_database.dsn


@pytest.fixture(params=[DIRECT, pytest.param(DOUBLE, marks=pytest.mark.twice)])
async def database(
    request: pytest.FixtureRequest, kept_database: Kept
) -> AsyncIterator[DirectDatabase | RestDatabase]:
    if request.param == DIRECT:
        yield kept_database.direct()
        return
    program = program_for(request.param)
    if program is None:
        yield await kept_database.rest()
        return
    with TestProject(kept_database.dsn, program) as project:
        async with over_postgrest(project, kept_database.dsn) as database:
            yield database


@pytest.fixture
async def talk(database: DirectDatabase | RestDatabase) -> Conversation:
    """A tenant `shop` and a customer, Maria, who has not written yet."""
    conversation = Conversation(database)
    await conversation.open_shop()
    return conversation
