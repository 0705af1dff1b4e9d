"""Flows that take their turns and fall silent: their own tenant's turns go elsewhere alone."""

from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import Response

from loopback.receiver import Received, WebhookReceiver
from tests.scenarios.flow import given, playing
from tests.scenarios.stage import Stage


class N8n(WebhookReceiver):
    """Refuses what comes without the key, as n8n does: by that it is known to be there."""

    async def _take(self, request: Request) -> Response:
        if "x-n8n-api-key" not in request.headers:
            return Response("Authorization data is wrong!", status_code=403)
        return await super()._take(request)


@pytest.fixture
def n8n() -> Iterator[N8n]:
    with N8n() as receiver:
        yield receiver


async def four_silent_flows(stage: Stage, n8n: N8n) -> None:
    """Leave four turns of the first tenant with their flows until their leases have run out."""
    people = [stage.shop.customer(f"55119555501{number:02}", name="P") for number in range(4)]
    for person in people:
        await person.writes("oi")
    await n8n.gets(4)
    await stage.until(
        "select attempt, error from turns",
        lambda rows: all(row["attempt"] > 1 or row["error"] for row in rows),
    )


@pytest.mark.parametrize("fallback", ["python", "queue"])
async def test_one_tenants_silent_flows_take_n8n_from_nobody_else(
    database_url: str, evolution, llm, n8n: N8n, fallback: str
):
    terms = {"N8N_LEASE_SECONDS": "1", "N8N_FALLBACK": fallback, "N8N_PROBE_SECONDS": "600"}
    async with playing(database_url, evolution, llm, n8n, **terms) as stage:
        pharmacy = await stage.open_shop("farmacia")
        joao = pharmacy.customer("5511955550002", name="João")
        await four_silent_flows(stage, n8n)
        await joao.writes("tem remédio?")
        (turn,) = await stage.until(
            "select t.* from turns t join sessions s on s.id = t.session_id"
            f" where s.tenant_id = {stage.tenant_id}",
            lambda rows: bool(rows) and rows[0]["state"] != "pending",
        )
        forwarded = await n8n.changes.until(
            lambda: [each for each in n8n.received if each.body.get("turn_id") == turn["id"]],
            "the other tenant's turn goes to n8n",
        )
        assert forwarded


def turns_given(n8n: N8n) -> list[Received]:
    """What n8n was given but for notices, which may come at any time."""
    return [each for each in n8n.received if "turn_id" in each.body]


async def test_the_turns_of_the_tenant_itself_go_to_the_fallback(
    database_url: str, evolution, llm, n8n: N8n
):
    terms = {"N8N_LEASE_SECONDS": "1", "N8N_PROBE_SECONDS": "600"}
    async with playing(database_url, evolution, llm, n8n, **terms) as stage:
        await four_silent_flows(stage, n8n)
        assert {turn["handler"] for turn in await stage.turns_end()} == {"fallback"}
        seen = len(turns_given(n8n))
        await stage.maria.writes("oi")
        await stage.turns_end()
        assert len(turns_given(n8n)) == seen


async def test_a_flow_that_reports_keeps_its_tenant_with_n8n(
    database_url: str, evolution, llm, n8n: N8n
):
    """Two leases run out, twice over: without the reports in between that would be too many."""
    terms = {"N8N_LEASE_SECONDS": "1", "N8N_PROBE_SECONDS": "600"}
    async with playing(database_url, evolution, llm, n8n, **terms) as stage:
        for round_ in (0, 1):
            for number in (0, 1):
                person = stage.shop.customer(f"551195555{round_}{number:03}", name="P")
                await person.writes("oi")
            await n8n.gets(4 * round_ + 4)
            for number in (2, 3):
                flow = await given(stage, n8n, 4 * round_ + number + 1)
                assert flow.payload["attempt"] == 2
                assert (await flow.reports("extend", seconds=60)).status_code == 200
                assert (await flow.reports("done")).status_code == 200
