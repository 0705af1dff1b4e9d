"""The flows on n8n's own expression engine, `vm`, which n8n Cloud runs: as on `legacy`."""

from collections.abc import Iterator

import pytest

from loopback.anthropic import Anthropic
from scripts.n8n.server import MEASURED
from tests.n8n.test_trying import tries
from tests.n8n_server import TestN8n, running_n8n
from tests.postgres import Databases
from tests.scenarios.stage import performance

pytestmark = [pytest.mark.n8n, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["vm", "legacy"])
def engine(request, databases: Databases, tmp_path_factory) -> Iterator[TestN8n]:
    """An n8n on one of its two engines: the run's own, or one with what a deployment chooses."""
    own = "N8N_EXPRESSION_ENGINE"
    if request.param == MEASURED[own]:
        n8n = request.getfixturevalue("n8n")
        assert n8n.server.home.environment()[own] == request.param
        yield n8n
        return
    folder = tmp_path_factory.mktemp(request.param)
    url = databases.create()
    with running_n8n(url, folder, {own: request.param}) as n8n:
        yield n8n


@pytest.mark.parametrize(
    ("flow", "contract"), [("", "answer"), ("agent", "gateway"), ("gateway", "gateway")]
)
async def test_what_is_shipped_answers_on_both_engines(
    engine: TestN8n, flow: str, contract: str, database_url: str, evolution, llm: Anthropic
):
    engine.anthropic.leads_to(llm.url)
    configuration = engine.configuration(flow)
    async with performance(database_url, evolution, llm, **configuration) as stage:
        llm.answers("Temos bolo de cenoura")
        tried = await tries(stage, text="tem bolo?")
        await engine.falls_silent()
    assert [each["text"] for each in tried["said"]] == ["Temos bolo de cenoura"], tried
    assert (tried["ok"], tried["contract"]) == (True, contract)
