"""The stage on which the scenarios are played."""

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from tests.n8n_server import TestN8n
from tests.postgres import Databases
from tests.scenarios.stage import Stage, performance
from tests.state.kept import NEW, Shelf
from tests.state.lending import lent_to_this_loop
from tests.state.one_loop import make_in_one_loop, run_in_one_loop

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
async def database_url(request: pytest.FixtureRequest, kept_shelf: Shelf) -> AsyncIterator[str]:
    """The address of a database with the schema, and nothing in it: see `tests.state.kept`."""
    if any(request.node.get_closest_marker(mark) is not None for mark in NEW):
        new = await kept_shelf.make()
        yield new.dsn
        await kept_shelf.throw_away(new)
        return
    kept = await kept_shelf.take()
    with lent_to_this_loop(kept.dsn, kept.lending):
        yield kept.dsn
    await kept_shelf.give_back(kept)


@pytest.fixture
def evolution() -> Iterator[Evolution]:
    with Evolution() as evolution:
        yield evolution


@pytest.fixture
def llm() -> Iterator[Anthropic]:
    with Anthropic() as llm:
        yield llm


@pytest.fixture
def handler(request: pytest.FixtureRequest, llm: Anthropic) -> Iterator[TestN8n | None]:
    """Who makes the replies: the fallback (None), or n8n where a test says so.

    A module whose tests hold for both says `pytestmark = BOTH_HANDLERS`.
    """
    if getattr(request, "param", "fallback") == "fallback":
        yield None
        return
    n8n: TestN8n = request.getfixturevalue("n8n")
    n8n.anthropic.leads_to(llm.url)
    yield n8n
    n8n.anthropic.leads_to(None)


@pytest.fixture
async def stage(
    database_url: str, evolution: Evolution, llm: Anthropic, handler: TestN8n | None
) -> AsyncIterator[Stage]:
    settings = handler.configuration() if handler else {}
    async with performance(database_url, evolution, llm, **settings) as stage:
        yield stage
        if handler:
            await handler.falls_silent()
