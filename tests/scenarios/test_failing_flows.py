"""A flow that always fails: its turns go elsewhere, others' do not, and people are told once."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from loopback.receiver import WebhookReceiver
from tests.clients import patient
from tests.scenarios.answering import AnsweringN8n
from tests.scenarios.flow import KEY, given
from tests.scenarios.stage import Stage, performance

STAFF = "5511955559999"
BROKEN = JSONResponse({"message": "Error in workflow"}, status_code=500)
NO_KEY = JSONResponse({"error": "401 invalid x-api-key"})
NOTICES = "select * from notices where kind = 'flow_failing' order by id"
QUICK = {
    "N8N_FLOW_FAILURES": "3",
    "N8N_PROBE_SECONDS": "600",
    "RETRY_BASE_SECONDS": "0.05",
    "POLL_SECONDS": "0.2",
}


@pytest.fixture
def n8n() -> Iterator[AnsweringN8n]:
    with AnsweringN8n() as n8n:
        yield n8n


@pytest.fixture
def sending_n8n() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as n8n:
        yield n8n


@asynccontextmanager
async def playing(
    database_url: str, evolution: Any, llm: Any, n8n: Any, **more: str
) -> AsyncIterator[Stage]:
    configuration = {
        "N8N_ENABLED": "true",
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        "N8N_API_KEY": KEY,
        **QUICK,
        **more,
    }
    async with performance(database_url, evolution, llm, **configuration) as stage:
        yield stage


async def health(stage: Stage) -> tuple[bool, str]:
    async with patient(base_url=stage.router_url) as client:
        told = (await client.get("/health")).json()
    return told["ok"], told["checks"]["n8n"]["message"]


def broken_at(*flows: str) -> Any:
    """Return what fails for the turns of some tenants, and answers the others."""

    def answer(payload: dict[str, Any]) -> object:
        return BROKEN if payload["tenant"]["instance_name"] in flows else {"text": "Da flow."}

    return answer


def turns_given(n8n: AnsweringN8n) -> list[str]:
    return [each.path for each in n8n.received if each.path.endswith("hybridflow-turn")]


def lines(caplog: pytest.LogCaptureFixture, action: str) -> list[logging.LogRecord]:
    return [line for line in caplog.records if getattr(line, "action", None) == action]


@pytest.mark.parametrize("broken", [BROKEN, NO_KEY, Response(b""), JSONResponse({}, 404)])
async def test_the_fallback_answers_and_the_business_and_the_log_are_told_once(
    database_url: str, evolution, llm, n8n: AnsweringN8n, caplog, broken: Response
):
    caplog.set_level(logging.INFO)
    async with playing(database_url, evolution, llm, n8n) as stage:
        await stage.change(notify_number=STAFF)
        n8n.says(lambda told: broken if "prompt" in told else JSONResponse({}, 404))
        await stage.maria.writes("tem bolo?")
        if broken is NO_KEY:  # each of these fails for good: the third one is made elsewhere
            for name in ("Ana", "Bia"):
                await stage.turns_end()
                person = stage.shop.customer(f"55119555500{ord(name[0])}", name=name)
                await person.writes("oi")
        turns = await stage.turns_end()
        assert turns[-1]["state"] == "sent"
        assert turns[-1]["handler"] == "fallback"
        assert len(turns_given(n8n)) == 3
        ok, told = await health(stage)
        assert ok
        assert "hybridflow-turn (of 1 tenant); the Python handler answers its turns" in told
        if broken is NO_KEY:  # told after what it is about: that the key is refused
            await stage.time_passes(minutes=3)
        await stage.until(NOTICES, lambda rows: bool(rows) and rows[0]["state"] == "delivered")
        await stage.maria.writes("e agora?")
        await stage.turns_end()
        assert len(turns_given(n8n)) == 3
        (notice,) = await stage.sql(NOTICES)
        assert notice["facts"]["failures"] == 3
    assert len(lines(caplog, "flow_failing")) == 1
    staff = [text for text in stage.shop.customer(STAFF, name="Equipe").replies if "flow" in text]
    (said,) = staff
    assert said == (
        "The flow hybridflow-turn of padaria in n8n has failed 3 times in a row. Until it works"
        " again, HybridFlow's own AI is asked instead. Its last executions in n8n show why."
    )


async def test_other_flows_and_other_tenants_go_on(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    async with playing(database_url, evolution, llm, n8n) as stage:
        n8n.says(broken_at("padaria"))
        await stage.maria.writes("tem bolo?")
        await stage.turns_end()
        for name, flow in (("farmacia", None), ("livraria", "livraria/hybridflow-turn")):
            shop = await stage.open_shop(name, **({"n8n_flow": flow} if flow else {}))
            await shop.customer("5511955550007", name="João").writes("oi")
            turns = await stage.turns_end()
            assert turns[-1]["handler"] == "n8n"


async def test_after_a_while_one_turn_tries_it_and_a_success_closes_it(
    database_url: str, evolution, llm, n8n: AnsweringN8n, caplog
):
    caplog.set_level(logging.INFO)
    times = {"N8N_PROBE_SECONDS": "0.2", "RETRY_BASE_SECONDS": "0.01"}
    async with playing(database_url, evolution, llm, n8n, **times) as stage:
        n8n.says(BROKEN, BROKEN, BROKEN, {"text": "Da flow."})
        await stage.maria.writes("tem bolo?")
        await stage.until("select 1 from turns where attempt >= 3 or state = 'sent'", bool)
        await stage.turns_end()
        while "fail" in (await health(stage))[1]:
            await stage.maria.writes("e agora?")
            await stage.turns_end()
        (last, *_) = await stage.sql("select handler from turns order by id desc")
        assert last["handler"] == "n8n"
        assert (await health(stage))[1] == "n8n handles the turns"
    assert len(lines(caplog, "flow_failing")) == 1
    assert len(lines(caplog, "flow_works")) == 1


async def test_where_turns_wait_for_n8n_those_of_the_flow_wait_too(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    async with playing(database_url, evolution, llm, n8n, N8N_FALLBACK="queue") as stage:
        n8n.says(broken_at("padaria"))
        await stage.maria.writes("tem bolo?")
        (turn,) = await stage.until(
            "select * from turns", lambda rows: bool(rows) and "again and again" in str(rows[0])
        )
        assert (turn["state"], turn["error_kind"]) == ("pending", "away")
        shop = await stage.open_shop("farmacia")
        await shop.customer("5511955550007", name="João").writes("oi")
        await stage.until(f"select 1 from turns where state = 'sent' and id > {turn['id']}", bool)
        ok, told = await health(stage)
        assert ok
        assert "its turns wait" in told
        (notice,) = await stage.sql(NOTICES)
        assert notice["facts"]["state"] == "queue"


@pytest.mark.parametrize("kind", ["flow_error", "transient"])
async def test_a_flow_that_sends_by_itself_and_reports_failures_is_given_up_too(
    database_url: str, evolution, llm, sending_n8n: WebhookReceiver, kind: str
):
    async with playing(database_url, evolution, llm, sending_n8n, N8N_CONTRACT="gateway") as stage:
        await stage.maria.writes("tem bolo?")
        for number in (1, 2, 3):
            flow = await given(stage, sending_n8n, number)
            assert (await flow.reports("extend", seconds=60)).is_success  # n8n runs it all the same
            assert (await flow.reports("fail", kind=kind, error="no such node")).is_success
        (turn,) = await stage.turns_end()
        assert (turn["handler"], turn["attempt"]) == ("fallback", 4)
        assert len(await stage.sql(NOTICES)) == 1


async def test_one_whose_key_is_refused_is_given_up_before_its_turn_is_dead(
    database_url: str, evolution, llm, sending_n8n: WebhookReceiver
):
    async with playing(
        database_url, evolution, llm, sending_n8n, N8N_CONTRACT="gateway", N8N_FLOW_FAILURES="1"
    ) as stage:
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, sending_n8n)
        told = await flow.reports("fail", kind="llm_refused", error="401 invalid x-api-key")
        assert told.json()["state"] == "pending"
        (turn,) = await stage.turns_end()
        assert (turn["state"], turn["handler"]) == ("sent", "fallback")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("llm_down", "503"),
        ("llm_rate_limited", "429"),
        ("evolution_away", "503"),
        ("llm_empty", "no text"),
    ],
)
async def test_what_others_lack_is_no_failure_of_the_flow(
    database_url: str, evolution, llm, sending_n8n: WebhookReceiver, kind: str, error: str
):
    async with playing(database_url, evolution, llm, sending_n8n, N8N_CONTRACT="gateway") as stage:
        await stage.maria.writes("tem bolo?")
        for number in (1, 2, 3, 4):
            flow = await given(stage, sending_n8n, number)
            assert (await flow.reports("fail", kind=kind, error=error)).is_success
        await given(stage, sending_n8n, 5)
        assert await stage.sql(NOTICES) == []
