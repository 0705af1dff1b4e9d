"""The stage on which the scenarios are played."""

from collections.abc import AsyncIterator, Iterator

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
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
async def stage(database_url: str, evolution: Evolution, llm: Anthropic) -> AsyncIterator[Stage]:
    async with performance(database_url, evolution, llm) as stage:
        yield stage
