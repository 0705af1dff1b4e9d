"""The gateway and the callbacks, as a flow meets them: the test is the flow."""

import pytest

from loopback.evolution import failures
from tests.scenarios.conftest import evolution, llm
from tests.scenarios.flow import KEY, Flow, given, n8n, playing, stage
from tests.scenarios.stage import Stage

__all__ = ["evolution", "llm", "n8n", "stage"]


async def test_a_turn_is_posted_with_the_key_and_everything_a_flow_needs(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    (got,) = n8n.received
    assert got.headers["x-n8n-api-key"] == KEY
    payload = flow.payload
    assert payload["version"] == 1
    assert payload["tenant"]["instance_name"] == "padaria"
    assert [m["text"] for m in payload["messages"]] == ["tem bolo?"]
    assert payload["prompt"]["question"] == "tem bolo?"
    assert payload["session"]["number"] == "5511955550001@s.whatsapp.net"
    assert stage.shop.token not in str(payload)


async def test_a_flow_sends_as_to_evolution_and_closes_the_turn(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    sent = await flow.sends("Temos **sim**!")
    assert sent.status_code == 201
    assert sent.json()["key"]["id"]
    assert stage.maria.replies == ["Temos *sim*!"]
    assert (await flow.reports("done")).status_code == 200
    assert (await flow.reports("done")).status_code == 200
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["handler"]) == ("sent", "n8n")
    assert stage.llm.requests == []


async def test_the_same_request_again_gets_the_first_answer_and_sends_nothing(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    first = await flow.sends("Temos sim!")
    again = await flow.sends("Temos sim!")
    assert again.status_code == 201
    assert again.json()["key"]["id"] == first.json()["key"]["id"]
    assert len(stage.maria.replies) == 1


async def test_after_a_takeover_the_flow_gets_409_with_the_reason(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    await stage.shop.owner.writes(stage.maria, "deixa comigo")
    refused = await flow.sends("Temos sim!")
    assert refused.status_code == 409
    assert refused.json()["status"] == 409
    assert stage.maria.replies == []
    assert (await flow.reports("done")).status_code == 409
    await stage.turns_end()
    assert await stage.paused()


async def test_a_token_is_good_for_its_own_contact_instance_and_turn_alone(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    elsewhere = await flow.sends("oi", number="5511900009999")
    assert elsewhere.status_code == 403
    other = await flow.post("/n8n/evolution/message/sendText/farmacia", {"text": "oi"})
    assert other.status_code == 403
    forged = flow.token[:-1] + ("0" if flow.token[-1] != "0" else "1")
    for token in (forged, "nonsense", f"hft_999_{flow.token.rsplit('_', 1)[1]}"):
        bad = await flow.post("/n8n/evolution/message/sendText/padaria", {"text": "oi"}, token)
        assert bad.status_code in (401, 409)
    unknown = await flow.post("/n8n/evolution/instance/logout/padaria")
    assert unknown.status_code == 404
    assert stage.maria.replies == []


async def test_a_flow_of_one_tenant_cannot_touch_a_turn_of_another(stage: Stage, n8n):
    """Two tenants, one customer: all that a flow can ask for, with the wrong token."""
    pharmacy = await stage.open_shop("farmacia")
    await stage.maria.writes("tem bolo?")
    mine = await given(stage, n8n)
    same_maria = pharmacy.customer("5511955550001", name="Maria")
    await same_maria.writes("tem aspirina?")
    theirs = await given(stage, n8n, 2)
    turn = theirs.payload["turn_id"]
    bodies = {
        "began": {"execution_id": "666"}, "done": {}, "fail": {}, "extend": {"seconds": 5},
        "handoff": {"reason": "x"},
    }  # fmt: skip
    for what, body in bodies.items():
        refused = await mine.post(f"/n8n/turns/{turn}/{what}", body)
        assert refused.status_code in (401, 403, 409), what
    number = theirs.payload["session"]["number"]
    send = {"number": number, "text": "compre bolo"}
    for path in ("message/sendText", "chat/markMessageAsRead", "chat/sendPresence"):
        refused = await mine.post(f"/n8n/evolution/{path}/farmacia", send)
        assert refused.status_code in (403, 404), path
    assert same_maria.replies == []
    (untouched,) = await stage.sql("select * from turns where id = $1", turn)
    assert (untouched["state"], untouched["execution_id"]) == ("running", None)
    assert not await stage.paused()


async def test_a_flow_that_fails_is_tried_again_and_in_the_end_is_dead_or_answered(
    stage: Stage, n8n
):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    failed = await flow.reports("fail", kind="flow_error", error="crash")
    assert failed.json()["state"] == "pending"
    second = await given(stage, n8n, 2)
    assert second.payload["attempt"] == 2
    assert (await flow.sends("velho")).status_code == 409
    await second.sends("Temos sim!")
    await second.reports("done")
    await stage.turns_end()
    assert stage.maria.replies == ["Temos sim!"]


@pytest.mark.parametrize(
    ("kind", "error", "is_away"),
    [
        ("llm_down", "Connection error.", True),
        ("llm_down", "500 Internal server error", True),
        ("llm_rate_limited", "429 Too many requests", True),
        ("llm_rate_limited", "529 Overloaded", True),
        ("llm_down", "408 Request timeout", True),
        ("evolution_away", "503: {}", True),
        ("llm_empty", "400: {}", False),
        ("llm_down", "400: {}", False),  # so says the workflow of an earlier release
        ("llm_down", "no status 400 prompt is too long", False),
        ("llm_down", "401 invalid key", False),
        ("flow_error", "crash", False),
        ("transient", "", False),
    ],
)
async def test_what_is_away_uses_up_no_attempt_and_what_has_answered_does(
    database_url: str, evolution, llm, n8n, kind: str, error: str, is_away: bool
):
    async with playing(database_url, evolution, llm, n8n, RETRY_BASE_SECONDS="30") as stage:
        await stage.maria.writes("tem bolo?")
        flow = await given(stage, n8n)
        failed = await flow.reports("fail", kind=kind, error=error)
        assert failed.json()["state"] == "pending"
        (turn,) = await stage.sql("select attempt, error_kind from turns")
    assert turn == {
        "attempt": 0 if is_away else 1,
        "error_kind": "away" if is_away else "transient",
    }


@pytest.mark.parametrize(("status", "is_away"), [(500, False), (502, True), (503, True)])
async def test_a_flow_that_died_before_it_answered_is_no_n8n_that_is_away(
    database_url: str, evolution, llm, n8n, status: int, is_away: bool
):
    n8n.statuses = [status]
    async with playing(database_url, evolution, llm, n8n, RETRY_BASE_SECONDS="30") as stage:
        await stage.maria.writes("tem bolo?")
        (turn,) = await stage.until(
            "select attempt, error_kind from turns",
            lambda turns: turns[0]["error_kind"] is not None,
        )
    assert turn == {
        "attempt": 0 if is_away else 1,
        "error_kind": "away" if is_away else "transient",
    }


async def test_a_permanent_failure_is_dead_with_its_reason(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    await flow.reports("fail", kind="llm_refused", error="no")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["error"]) == ("dead", "llm_refused: no")


async def test_a_flow_that_said_something_and_failed_is_not_begun_again(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    await flow.sends("Vou ver…")
    await flow.reports("fail", kind="flow_error", error="crash")
    (turn,) = await stage.turns_end()
    assert (turn["state"], turn["incomplete"]) == ("sent", True)
    assert stage.maria.replies == ["Vou ver…"]


async def test_a_handoff_pauses_with_a_reason_and_closes_the_turn(stage: Stage, n8n):
    await stage.maria.writes("o bolo veio errado")
    flow = await given(stage, n8n)
    for _ in range(2):
        answer = await flow.reports("handoff", reason="asked for a human", summary="about cake")
        assert answer.status_code == 200
    (turn,) = await stage.turns_end()
    (session,) = await stage.sessions()
    assert (session["is_paused"], session["pause_source"]) == (True, "ai")
    assert session["pause_reason"] == "asked for a human: about cake"
    assert (turn["reason"], len(stage.maria.replies)) == ("handoff", 1)  # and it is said


async def test_a_slow_flow_may_ask_for_more_time(stage: Stage, n8n):
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    before = (await stage.sql("select lease_until from turns"))[0]["lease_until"]
    assert (await flow.reports("extend", seconds=300)).status_code == 200
    after = (await stage.sql("select lease_until from turns"))[0]["lease_until"]
    assert (after - before).total_seconds() > 200


async def doubts(stage: Stage, n8n, fault) -> Flow:
    """A flow whose only send is in doubt, and which gives up."""
    await stage.maria.writes("tem bolo?")
    flow = await given(stage, n8n)
    stage.shop.fail("sendText", fault)
    stage.shop.tells_sends = "never"
    doubt = await flow.sends("Temos sim!")
    assert doubt.status_code == 409
    assert doubt.json()["response"]["reason"] == "in_doubt"
    assert (await flow.sends("Temos sim!")).status_code == 409
    await flow.reports("fail", kind="evolution_away", error="in doubt")
    return flow


async def test_a_flows_send_whose_answer_was_lost_is_settled_and_never_repeated(stage: Stage, n8n):
    await doubts(stage, n8n, failures.TAKEN_THEN_CUT)
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert stage.maria.replies == ["Temos sim!"]
    assert len(n8n.received) == 1


async def test_a_flow_whose_only_send_never_left_is_asked_anew(stage: Stage, n8n):
    await doubts(stage, n8n, failures.CUT)
    again = await given(stage, n8n, 2)
    await again.sends("Temos sim, quentinho!")
    await again.reports("done")
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert stage.maria.replies == ["Temos sim, quentinho!"]


async def test_a_flow_that_never_ends_loses_its_turn_to_the_next_attempt(
    database_url, evolution, llm, n8n
):
    async with playing(database_url, evolution, llm, n8n, N8N_LEASE_SECONDS="4") as stage:
        await stage.maria.writes("tem bolo?")
        first = await given(stage, n8n)
        second = await given(stage, n8n, 2)
        assert (await first.sends("tarde")).status_code == 409
        assert (await second.sends("Temos sim!")).status_code == 201
        await second.reports("done")
        await stage.turns_end()
        assert stage.maria.replies == ["Temos sim!"]


async def test_while_n8n_is_away_the_python_handlers_answer(database_url, evolution, llm, n8n):
    async with playing(database_url, evolution, llm, n8n) as stage:
        n8n.stop()
        await stage.maria.writes("tem bolo?")
        await stage.maria.answered()
        (turn,) = await stage.turns_end()
        assert turn["handler"] == "fallback"


async def test_a_burst_waits_in_the_database_and_not_in_n8n(database_url, evolution, llm, n8n):
    async with playing(database_url, evolution, llm, n8n, N8N_MAX_IN_FLIGHT="2") as stage:
        customers = [stage.shop.customer(f"55119555520{n:02}", name=f"C{n}") for n in range(6)]
        for customer in customers:
            await customer.writes("oi")
        answered = 0
        while answered < len(customers):
            flow = await given(stage, n8n, answered + 1)
            assert len(n8n.received) - answered <= 2
            await flow.sends("Olá!")
            await flow.reports("done")
            answered += 1
        await stage.turns_end()
        assert [len(customer.replies) for customer in customers] == [1] * 6
