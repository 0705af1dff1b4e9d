"""The stage of the n8n tests: n8n is real, WhatsApp and the LLM are loopback programs."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from tests.n8n_server import TestN8n
from tests.scenarios.conftest import (
    database_url,
    evolution,
    kept_shelf,
    llm,
    pytest_fixture_setup,
)
from tests.scenarios.stage import Stage, performance
from tests.state.one_loop import run_in_one_loop

__all__ = ["database_url", "evolution", "kept_shelf", "llm", "pytest_fixture_setup"]

_HERE = Path(__file__).parent

Staged = Callable[..., AbstractAsyncContextManager[Stage]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    run_in_one_loop(items, _HERE)


@pytest.fixture
def staged(
    n8n: TestN8n, database_url: str, evolution: Evolution, llm: Anthropic
) -> Iterator[Staged]:
    """A stage whose router gives its turns to n8n; takes the flow's name and configuration."""
    n8n.anthropic.leads_to(llm.url)

    @asynccontextmanager
    async def stage(flow: str = "", **configuration: str) -> AsyncIterator[Stage]:
        settings = n8n.configuration(flow, **configuration)
        async with performance(database_url, evolution, llm, **settings) as stage:
            yield stage
            llm.heal()
            await n8n.falls_silent()

    yield stage
    n8n.anthropic.leads_to(None)
    n8n.router.leads_to(None)


@pytest.fixture
async def mortal(n8n: TestN8n) -> AsyncIterator[TestN8n]:
    """The n8n, which the test may kill: it is there again for the next one."""
    yield n8n
    if n8n.server.has_ended():
        n8n.server.start()
        await n8n.server.ready()
