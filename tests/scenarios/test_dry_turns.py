"""A flow is tried: it runs for real, what it sends is told, and nothing of it reaches anybody."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from router.configuration.settings import load_settings
from router.n8n.payload import TurnPayload
from router.n8n.trial import Trial, TriedFlow
from scripts.n8n.trying import told, try_flow
from tests import files
from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.answering import AnsweringN8n
from tests.scenarios.flow import KEY
from tests.scenarios.stage import Stage, performance

TABLES = ("sessions", "messages", "turns", "turn_attempts", "spending", "notices")


@pytest.fixture
def n8n() -> Iterator[AnsweringN8n]:
    with AnsweringN8n() as n8n:
        yield n8n


@pytest.fixture
async def stage(database_url: str, evolution, llm, n8n) -> AsyncIterator[Stage]:
    configuration = {
        "N8N_ENABLED": "true",
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        "N8N_API_KEY": KEY,
        "N8N_ANSWER_SECONDS": "20",
    }
    async with performance(database_url, evolution, llm, **configuration) as stage:
        yield stage


async def asks(stage: Stage, key: str = API_KEY, **wanted: Any) -> httpx.Response:
    async with patient(base_url=stage.router_url) as client:
        return await client.post(
            "/api/instances/padaria/try-flow", json=wanted, headers={"X-API-Key": key}
        )


async def tries(stage: Stage, **wanted: Any) -> dict[str, Any]:
    answer = await asks(stage, **wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def counts(stage: Stage) -> list[int]:
    return [(await stage.sql(f"select count(*) as n from {each}"))[0]["n"] for each in TABLES]


class Flow:
    """What a workflow does with the test turn that it was given."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self.payload = payload

    async def post(self, url: str, body: Any, token: str | None = None) -> httpx.Response:
        async with patient() as client:
            headers = {"apikey": token or self.payload["token"]}
            return await client.post(url, json=body, headers=headers)

    async def calls(self, path: str, body: dict[str, Any], name: str = "padaria") -> httpx.Response:
        number = {"number": self.payload["session"]["number"]}
        return await self.post(f"{self.payload['urls']['gateway']}/{path}/{name}", number | body)

    async def reports(self, what: str, **body: Any) -> httpx.Response:
        return await self.post(self.payload["urls"][what], body)


def asked_of_evolution(stage: Stage) -> list[str]:
    """What was asked, but for the messages that a router looks for when it starts."""
    asked = [call.endpoint for call in stage.shop.calls_made]
    return [endpoint for endpoint in asked if endpoint != "findMessages"]


async def test_what_a_flow_answers_is_told_and_nobody_gets_it(stage: Stage, n8n: AnsweringN8n):
    usage = {"provider": "anthropic", "model": "claude", "tokens_in": 70, "tokens_out": 5}
    n8n.says({"text": "**Temos**!", "usage": usage, "execution_id": "4711"})
    before = await counts(stage)
    tried = await tries(stage, text="tem bolo?")
    assert tried["said"] == [{"text": "*Temos*!", "path": None, "body": None}]
    assert (tried["ok"], tried["error"], tried["usage"]) == (True, None, usage)
    assert (tried["contract"], tried["execution_id"]) == ("answer", "4711")
    assert await counts(stage) == before
    assert asked_of_evolution(stage) == []
    (received,) = n8n.received
    payload = TurnPayload.model_validate(received.body)
    assert payload.dry
    assert (payload.version, payload.contract) == (2, "answer")
    assert [each.text for each in payload.messages] == ["tem bolo?"]
    assert "tem bolo?" in payload.prompt.question
    assert received.headers["x-n8n-api-key"] == KEY


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"silence": "só um emoji"}, {"silence": "só um emoji", "ok": True}),
        (
            {"text": "Já chamo", "handoff": {"reason": "quer falar"}},
            {"handoff": {"reason": "quer falar", "summary": None}, "ok": True},
        ),
        (
            {"messages": [{"media": "https://x.example/a.png", "caption": "hoje"}]},
            {"ok": True, "silence": None},
        ),
    ],
)
async def test_every_kind_of_answer_is_told(stage: Stage, n8n: AnsweringN8n, answer, told):
    n8n.says(answer)
    tried = await tries(stage)
    assert {name: tried[name] for name in told} == told
    if "messages" in answer:
        assert tried["said"][0]["path"] == "message/sendMedia"
        assert tried["said"][0]["body"]["caption"] == "hoje"
    assert asked_of_evolution(stage) == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Response(b"", 200), "it is empty"),
        ({"text": "Agent stopped due to max iterations."}, "an agent's own report"),
        (JSONResponse({"message": "Error in workflow"}, 500), "the newest red one"),
        (
            JSONResponse(
                {"code": 404, "message": 'The requested webhook "x" is not registered.'}, 404
            ),
            "is not registered. Is the workflow published",
        ),
        (
            Response("Authorization data is wrong!", 403),
            "choose the credential HybridFlow and n8n in its Webhook node",
        ),
        ({"text": "oi", "delay": 3}, "delay: the contract has no such field"),
    ],
)
async def test_what_would_be_a_failed_attempt_is_told_with_the_reason(
    stage: Stage, n8n: AnsweringN8n, answer, why: str
):
    n8n.says(answer)
    tried = await tries(stage)
    assert (tried["ok"], tried["said"]) == (False, [])
    assert why in tried["error"]
    assert ("published" in tried["error"]) == ("published" in why)


async def test_what_would_be_an_empty_voice_message_is_told(stage: Stage, n8n: AnsweringN8n):
    n8n.says({"messages": [{"audio": base64.b64encode(files.sound()).decode()}]})
    assert (await tries(stage))["ok"]
    n8n.says({"messages": [{"audio": base64.b64encode(files.picture()).decode()}]})
    tried = await tries(stage)
    assert not tried["ok"]
    assert tried["error"].startswith("the audio of the flow's answer: it is not a sound")


async def test_a_flow_that_sends_by_itself_goes_to_its_end_and_nothing_leaves(
    stage: Stage, n8n: AnsweringN8n
):
    await stage.change(n8n_contract="gateway")
    n8n.says({"execution_id": "7"})
    before = await counts(stage)
    trying = asyncio.create_task(tries(stage, text="oi"))
    (received,) = await n8n.gets()
    flow = Flow(received.body)
    assert received.body["contract"] == "gateway"
    first = await flow.calls("message/sendText", {"text": "**um**"})
    assert first.status_code == 201
    assert first.json()["key"]["id"].startswith("DRY")
    picture = {"mediatype": "image", "media": "https://x.example/a.png"}
    assert (await flow.calls("message/sendMedia", picture)).status_code == 201
    assert (await flow.calls("chat/sendPresence", {"presence": "composing"})).status_code == 201
    large = {"mediatype": "image", "media": "A" * 300_000}
    assert (await flow.calls("message/sendMedia", large)).status_code == 201
    refused = await flow.calls("message/sendMedia", {"mediatype": "image", "media": "A!"})
    assert (refused.status_code, refused.json()["response"]["reason"]) == (400, "media")
    refused = await flow.calls("message/sendWhatsAppAudio", {"audio": "AAAA"})
    assert (refused.status_code, refused.json()["response"]["reason"]) == (400, "audio")
    assert (await flow.reports("began", execution_id="7")).status_code == 200
    assert (await flow.reports("extend", seconds=60)).status_code == 200
    assert (await flow.reports("done", tokens_in=3, tokens_out=4)).status_code == 200
    tried = await trying
    assert [each["text"] or each["path"] for each in tried["said"]] == [
        "*um*", "message/sendMedia", "message/sendMedia",
    ]  # fmt: skip
    assert len(tried["said"][2]["body"]["media"]) < 5000
    assert (tried["ok"], tried["usage"]) == (True, {"tokens_in": 3, "tokens_out": 4})
    assert await counts(stage) == before
    assert asked_of_evolution(stage) == []
    again = await flow.calls("message/sendText", {"text": "tarde"})
    assert (again.status_code, again.json()["response"]["reason"]) == (409, "stale")
    assert (await flow.reports("handoff", reason="tarde")).status_code == 409


async def test_the_last_send_may_end_it(stage: Stage, n8n: AnsweringN8n):
    await stage.change(n8n_contract="gateway")
    n8n.says({"execution_id": "7"})
    trying = asyncio.create_task(tries(stage, text="oi"))
    (received,) = await n8n.gets()
    flow = Flow(received.body)
    wrong = await flow.calls("message/sendText", {"text": "um", "done": {"tokens_in": "viele"}})
    assert (wrong.status_code, wrong.json()["response"]["reason"]) == (400, "done")
    last = {"text": "um", "done": {"tokens_in": 3}}
    assert (await flow.calls("message/sendText", last)).status_code == 201
    tried = await trying
    assert [each["text"] for each in tried["said"]] == ["um"]
    assert (tried["ok"], tried["usage"]) == (True, {"tokens_in": 3})


async def test_what_the_gateway_refuses_is_refused_in_a_test_turn(stage: Stage, n8n: AnsweringN8n):
    await stage.change(n8n_contract="gateway")
    n8n.says({"execution_id": "7"})
    trying = asyncio.create_task(tries(stage))
    flow = Flow((await n8n.gets())[0].body)
    assert (await flow.calls("message/sendText", {"text": "oi", "colour": 1})).status_code == 400
    assert (await flow.calls("message/sendText", {"text": ""})).status_code == 400
    assert (await flow.calls("message/sendFax", {"text": "oi"})).status_code == 404
    assert (await flow.calls("message/sendText", {"text": "oi"}, "another")).status_code == 403
    elsewhere = {"number": "5511900000000", "text": "oi"}
    assert (await flow.calls("message/sendText", elsewhere)).status_code == 403
    assert (await flow.reports("done", tokens_in="many")).status_code == 422
    assert (await flow.reports("fail", kind="llm_down", error="nobody there")).status_code == 200
    tried = await trying
    assert (tried["ok"], tried["said"]) == (False, [])
    assert tried["error"] == "the flow reports llm_down: nobody there"


async def test_its_token_is_good_for_nothing_else_and_no_other_is_good_for_it(
    stage: Stage, n8n: AnsweringN8n
):
    await stage.change(n8n_contract="gateway")
    n8n.says({"execution_id": "7"})
    await stage.maria.writes("oi")
    real = Flow((await n8n.gets())[0].body)
    trying = asyncio.create_task(tries(stage))
    dry = Flow((await n8n.gets(2))[1].body)
    text = {"number": real.payload["session"]["number"], "text": "oi"}
    real_url = f"{real.payload['urls']['gateway']}/message/sendText/padaria"
    dry_url = f"{dry.payload['urls']['gateway']}/message/sendText/padaria"
    assert (await dry.post(real_url, text)).status_code == 401
    assert (await real.post(dry_url, text)).status_code == 401
    for what in ("done", "fail", "handoff", "extend"):
        assert (await dry.post(real.payload["urls"][what], {})).status_code == 409
        assert (await real.post(dry.payload["urls"][what], {})).status_code == 409
    # With the number of the other, too.
    secret = dry.payload["token"].rpartition("_")[2]
    forged = f"hft_{real.payload['turn_id']}_{secret}"
    assert (await dry.post(real_url, text, forged)).status_code == 409
    assert stage.maria.replies == []
    assert (await dry.reports("done")).status_code == 200
    assert (await trying)["ok"]
    assert (await real.reports("done")).status_code == 200


async def test_a_flow_that_never_ends_is_told_as_that(
    database_url: str, evolution, llm, n8n: AnsweringN8n
):
    configuration = {
        "N8N_ENABLED": "true",
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        "N8N_API_KEY": KEY,
        "N8N_ANSWER_SECONDS": "1",
        "N8N_CONTRACT": "gateway",
    }
    n8n.says({"execution_id": "7"})
    async with performance(database_url, evolution, llm, **configuration) as stage:
        tried = await tries(stage)
    assert not tried["ok"]
    assert "neither done, fail nor handoff within 1 seconds" in tried["error"]


async def test_the_deployment_names_another_flow_or_the_editors_webhook(
    stage: Stage, n8n: AnsweringN8n
):
    await tries(stage, flow="agent/hybridflow-turn")
    await tries(stage, flow="agent/hybridflow-turn", in_editor=True)
    assert [each.path for each in n8n.received] == [
        "/webhook/agent/hybridflow-turn", "/webhook-test/agent/hybridflow-turn",
    ]  # fmt: skip
    refused = await asks(stage, flow="../rest/users")
    assert refused.status_code == 422
    assert (await asks(stage, key="wrong")).status_code == 401


async def test_the_command_tries_a_flow_and_prints_what_it_would_say(
    stage: Stage, n8n: AnsweringN8n, capsys
):
    n8n.says({"text": "Temos bolo"})
    settings = load_settings(
        {
            "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
            "N8N_API_KEY": KEY,
            "N8N_ROUTER_URL": stage.router_url,
        },
        env_file=None,
    )
    assert await try_flow(settings, stage.database, Trial("")) == 0
    said = capsys.readouterr()
    assert "  says:  Temos bolo\n" in said.out
    assert "Nothing was sent" in said.out
    assert said.err == ""
    n8n.says(Response(b"", 200))
    assert await try_flow(settings, stage.database, Trial("padaria")) == 1
    assert "  FAILED: the flow's answer: it is empty" in capsys.readouterr().out


def test_what_was_said_is_printed_line_by_line():
    tried = TriedFlow.model_validate(
        {
            "ok": True,
            "flow": "http://localhost:5678/webhook/hybridflow-turn",
            "contract": "gateway",
            "said": [{"text": "um\ndois"}, {"path": "message/sendPoll", "body": {"name": "?"}}],
            "handoff": {"reason": "quer falar"},
            "execution_id": "7",
            "seconds": 1.5,
        }
    )
    assert told(tried) == [
        "http://localhost:5678/webhook/hybridflow-turn, contract gateway: 1.5 s, execution 7",
        "  says:  um",
        "  says:  dois",
        '  sends: message/sendPoll {"name": "?"}',
        "  calls a human: quer falar",
        "Nothing was sent, and no turn was made.",
    ]
