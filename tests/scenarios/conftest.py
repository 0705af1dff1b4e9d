"""The stage on which the scenarios are played."""

from collections.abc import AsyncIterator, Iterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from tests.n8n_server import TestN8n
from tests.scenarios.stage import Stage, performance


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
