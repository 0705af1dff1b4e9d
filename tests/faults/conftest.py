"""The same stage as the scenarios', and routers that can be killed."""

from collections.abc import Iterator

import pytest

from loopback.anthropic import Anthropic
from tests.forks import ForkedRouter
from tests.routers import RouterProcess, environment
from tests.scenarios.conftest import evolution, handler, llm, stage

__all__ = ["evolution", "handler", "llm", "stage"]


@pytest.fixture
def router(database_url: str, llm: Anthropic) -> Iterator[RouterProcess]:
    """A router as a process, not started yet; its leases are short, for it is going to die."""
    process = ForkedRouter(
        environment(
            database_url,
            ANTHROPIC_BASE_URL=llm.url,
            LLM_TIMEOUT="1",
            TURN_LEASE_SECONDS="6.5",
            SEND_SETTLE_SECONDS="2",
        )
    )
    yield process
    process.close()


@pytest.fixture
def patient_router(database_url: str, llm: Anthropic) -> Iterator[RouterProcess]:
    """A router that is stopped long before any of its time-outs ends, however slow the machine."""
    process = ForkedRouter(
        environment(
            database_url,
            ANTHROPIC_BASE_URL=llm.url,
            LLM_TIMEOUT="60",
            TURN_LEASE_SECONDS="120",
            SEND_TIMEOUT="60",
        )
    )
    yield process
    process.close()
