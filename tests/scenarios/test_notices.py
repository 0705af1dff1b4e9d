"""A business's people are told: of a handoff, of a lost connection, of a QR code that waits."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution, failures
from loopback.evolution.chats import Chat
from loopback.receiver import Received, WebhookReceiver
from tests.clients import patient
from tests.forks import ForkedRouter
from tests.routers import environment
from tests.scenarios.stage import Stage, performance, set_stage

KEY = "a-key-for-n8n-in-the-tests"
ANA = "5511955559999"
HANDOFF, CONNECTION = "/webhook/hybridflow-handoff", "/webhook/hybridflow-connection"
TEXT = "Maria (5511955550001) needs a person: wants a refund\n\nThe cake was dry."


@pytest.fixture
def n8n() -> Iterator[WebhookReceiver]:
    """Stands for n8n's webhooks."""
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def tickets() -> Iterator[WebhookReceiver]:
    """The tenant's own webhook."""
    with WebhookReceiver() as receiver:
        yield receiver


def with_n8n(n8n: WebhookReceiver, **more: str) -> dict[str, str]:
    return {
        "N8N_ENABLED": "true",
        "N8N_CONTRACT": "gateway",
        "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        "N8N_API_KEY": KEY,
        "N8N_LEASE_SECONDS": "20",
        **more,
    }


@asynccontextmanager
async def playing(
    database_url: str, evolution: Evolution, llm: Anthropic, **configuration: str
) -> AsyncIterator["Play"]:
    async with performance(database_url, evolution, llm, **configuration) as stage:
        yield Play(stage)


@pytest.fixture
async def play(
    database_url: str, evolution: Evolution, llm: Anthropic, n8n: WebhookReceiver
) -> AsyncIterator["Play"]:
    """With n8n."""
    async with playing(database_url, evolution, llm, **with_n8n(n8n)) as play:
        yield play


@pytest.fixture
async def alone(database_url: str, evolution: Evolution, llm: Anthropic) -> AsyncIterator["Play"]:
    """Without n8n."""
    async with playing(database_url, evolution, llm) as play:
        yield play


class Play:
    """A stage, and Ana, who is to be told."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.ana = stage.shop.customer(ANA, name="Ana")

    async def tells(self, number: str | None = None, hook: WebhookReceiver | None = None) -> None:
        await self.stage.database.call(
            "change_tenant",
            {
                "tenant_id": self.stage.tenant_id,
                "values": {
                    "notify_number": number,
                    "notify_url": f"{hook.url}/hook" if hook else None,
                },
            },
        )

    async def hands_off(self) -> None:
        """The AI calls a human, by a token that the test takes for itself."""
        stage = self.stage
        await stage.sql("update tenants set debounce_seconds = 600")
        await stage.maria.writes("quero falar com gente")
        await stage.sql(
            "update turns set state = 'running', lease_until = now() + interval '1 hour',"
            " token_hash = hybridflow.hash_token('00000000-0000-4000-8000-000000000001')"
        )
        (turn,) = await stage.sql("select id from turns")
        held = {"turn_id": turn["id"], "token": "00000000-0000-4000-8000-000000000001"}
        await stage.database.call(
            "hand_off", {**held, "reason": "wants a refund", "summary": "The cake was dry."}
        )

    async def time_comes(self) -> None:
        """What waits, or is under way, is due now."""
        await self.stage.sql(
            "update notices set next_at = now(), lease_until = now() where state = 'pending'"
        )

    async def ends(self, state: str = "delivered") -> dict[str, Any]:
        (notice,) = await self.stage.until(
            "select * from notices order by id",
            lambda rows: bool(rows) and rows[-1]["state"] == state,
        )
        return notice

    async def post(self, path: str, token: str, body: Any = None) -> httpx.Response:
        async with patient(base_url=self.stage.router_url) as client:
            return await client.post(path, json=body or {}, headers={"apikey": token})

    async def flow_sends(self, got: Received, **more: Any) -> httpx.Response:
        """What the workflow's node sends, with the payload's own values."""
        told = got.body
        body = {"number": told["notify"]["number"], "text": told["text"], **more}
        name = told["tenant"]["instance_name"]
        return await self.post(f"/n8n/evolution/message/sendText/{name}", told["token"], body)

    async def flow_is_done(self, got: Received) -> httpx.Response:
        return await self.post(f"/n8n/notices/{got.body['notice_id']}/done", got.body["token"])


# Without n8n


async def test_a_handoff_is_told_once_at_the_webhook_and_once_by_whatsapp(
    alone: Play, tickets: WebhookReceiver
):
    await alone.tells(ANA, tickets)
    await alone.hands_off()
    assert await alone.ana.answered() == [TEXT]
    (got,) = await tickets.gets()
    notice = await alone.ends()
    assert got.body == {
        "version": 1,
        "notice_id": notice["id"],
        "kind": "handoff",
        "text": TEXT,
        "reason": "wants a refund",
        "summary": "The cake was dry.",
        "happened_at": got.body["happened_at"],
        "tenant": {"tenant_id": alone.stage.tenant_id, "instance_name": "padaria"},
        "notify": {"number": ANA, "url": f"{tickets.url}/hook"},
        "session": {
            "session_id": notice["session_id"],
            "number": "5511955550001",
            "contact_name": "Maria",
        },
    }
    assert (notice["handler"], notice["attempt"]) == ("fallback", 1)
    assert len(alone.ana.replies) == 1


@pytest.mark.parametrize("when", ["before", "after", "never"])
async def test_a_notice_on_the_phone_is_no_takeover_whenever_its_webhook_comes(
    alone: Play, when: Any
):
    alone.stage.shop.tells_sends = when
    await alone.tells(ANA)
    await alone.hands_off()
    await alone.ends()
    await alone.stage.shop.echoes(alone.ana)
    (session,) = await alone.stage.sql(
        "select s.* from sessions s join session_identities i on i.session_id = s.id"
        " where i.jid = $1",
        f"{ANA}@s.whatsapp.net",
    )
    assert not session["is_paused"]
    said = await alone.stage.sql(
        "select sender, send_state from messages where session_id = $1", session["id"]
    )
    assert said == [{"sender": "ai", "send_state": "sent"}]


async def test_what_the_staff_answer_starts_no_turn(alone: Play):
    await alone.tells(ANA)
    await alone.hands_off()
    await alone.ends()
    await alone.ana.writes("já falo com ela")
    assert len(await alone.stage.sql("select 1 from turns")) == 1
    said = await alone.stage.sql("select 1 from messages where body = 'já falo com ela'")
    assert len(said) == 1


async def test_a_group_of_the_staff_is_told(alone: Play):
    group: Chat = alone.stage.shop.group("120363000000000099@g.us")
    await alone.tells(group.jid)
    await alone.hands_off()
    assert await group.answered() == [TEXT]


async def test_a_webhook_that_fails_is_told_again_and_the_phone_is_not(
    alone: Play, tickets: WebhookReceiver
):
    tickets.statuses = [500, 302]
    await alone.tells(ANA, tickets)
    await alone.hands_off()
    await tickets.gets(3)
    notice = await alone.ends()
    assert (len(tickets.received), notice["attempt"]) == (3, 3)
    assert alone.ana.replies == [TEXT]


async def test_a_phone_that_cannot_be_told_is_told_again_and_the_webhook_is_not(
    alone: Play, tickets: WebhookReceiver
):
    alone.stage.shop.fail("sendText", failures.CONNECTION_CLOSED, times=2)
    await alone.tells(ANA, tickets)
    await alone.hands_off()
    assert await alone.ana.answered() == [TEXT]
    await alone.ends()
    assert len(tickets.received) == 1


@pytest.mark.parametrize("fault", ["taken_then_cut", "cut", "taken_never_answered"])
async def test_a_notice_whose_answer_is_lost_is_not_sent_again(alone: Play, fault: str):
    alone.stage.shop.fail("sendText", failures.BY_NAME[fault])
    await alone.tells(ANA)
    await alone.hands_off()
    await alone.ends()
    assert alone.ana.replies == ([] if fault == "cut" else [TEXT])
    assert len(alone.stage.shop.calls("sendText")) == 1


async def test_a_notice_that_nobody_can_be_told_dies_with_its_reason(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    async with playing(database_url, evolution, llm, TURN_MAX_ATTEMPTS="2") as play:
        play.stage.shop.fail("sendText", failures.not_on_whatsapp(ANA), times=None)
        await play.tells(ANA)
        await play.hands_off()
        notice = await play.ends("dead")
        assert "not on WhatsApp" in notice["error"]
        assert play.ana.replies == []


async def test_without_anybody_to_tell_the_notice_is_closed(alone: Play):
    await alone.hands_off()
    assert (await alone.ends())["reason"] == "nobody"


async def test_a_lost_connection_is_told_once_and_a_flap_is_not(
    alone: Play, tickets: WebhookReceiver
):
    await alone.tells(ANA, tickets)
    line = alone.stage.shop.line
    await line.connects()
    await line.breaks()
    await line.connects()
    assert (await alone.ends())["reason"] == "recovered"
    await alone.stage.sql("delete from notices")
    await line.breaks()
    await line.breaks(408)
    await alone.time_comes()
    notice = await alone.ends()
    (got,) = tickets.received
    assert (got.body["kind"], got.body["reason"]) == ("connection_lost", "close (428)")
    assert got.body["text"].startswith("WhatsApp of padaria is not connected any more.")
    assert (got.body["session"], got.body["notify"]["number"]) == (None, None)
    assert notice["number_told_at"] is None
    assert alone.stage.shop.calls("sendText") == []


async def test_a_waiting_qr_code_is_told_once(alone: Play, tickets: WebhookReceiver):
    await alone.tells(hook=tickets)
    for code in ("2@first", "2@second"):
        await alone.stage.shop.line.shows_qr(code)
    await alone.time_comes()
    await alone.ends()
    await alone.stage.shop.line.shows_qr("2@third")
    (got,) = tickets.received
    assert got.body["kind"] == "qr_waiting"
    assert "2@" not in str(got.body)
    assert len(await alone.stage.sql("select 1 from notices")) == 1


# With n8n


async def test_n8n_is_given_the_notice_and_tells_it_with_its_token(
    play: Play, n8n: WebhookReceiver, tickets: WebhookReceiver
):
    await play.tells(ANA, tickets)
    await play.hands_off()
    (got,) = await n8n.gets()
    assert (got.path, got.headers["x-n8n-api-key"]) == (HANDOFF, KEY)
    assert got.body["text"] == TEXT
    assert got.body["notify"] == {"number": ANA, "url": f"{tickets.url}/hook"}
    assert got.body["token"].startswith(f"hfn_{got.body['notice_id']}_")
    assert play.stage.shop.token not in str(got.body)
    first = await play.flow_sends(got)
    again = await play.flow_sends(got, text="other words")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["key"]["id"] == again.json()["key"]["id"]
    assert play.ana.replies == [TEXT]
    for _ in range(2):
        assert (await play.flow_is_done(got)).status_code == 200
    assert (await play.flow_sends(got)).status_code == 409
    assert (await play.ends())["handler"] == "n8n"
    assert (play.ana.replies, tickets.received) == ([TEXT], [])


async def test_a_connection_goes_to_its_own_workflow_and_asks_for_no_whatsapp_message(
    play: Play, n8n: WebhookReceiver
):
    await play.tells(ANA)
    await play.stage.shop.line.is_logged_out()
    await play.time_comes()
    (got,) = await n8n.gets()
    assert (got.path, got.body["kind"]) == (CONNECTION, "connection_lost")
    assert (got.body["reason"], got.body["notify"]["number"]) == ("logged_out", None)


async def test_a_notices_token_is_good_for_its_own_number_instance_and_path(
    play: Play, n8n: WebhookReceiver
):
    await play.tells(ANA)
    await play.hands_off()
    (got,) = await n8n.gets()
    token = got.body["token"]
    assert (await play.flow_sends(got, number="5511955550001")).status_code == 403
    assert (await play.flow_sends(got, text=" ")).status_code == 400
    body = {"number": ANA, "text": "oi"}
    for path, status in (
        ("message/sendText/farmacia", 403),
        ("message/sendMedia/padaria", 404),
        ("instance/logout/padaria", 404),
    ):
        assert (await play.post(f"/n8n/evolution/{path}", token, body)).status_code == status
    forged = token[:-1] + ("0" if token[-1] != "0" else "1")
    strange = f"hfn_999_{token.rsplit('_', 1)[1]}"
    for bad in (forged, strange, "nonsense"):
        sent = await play.post("/n8n/evolution/message/sendText/padaria", bad, body)
        assert sent.status_code in (401, 409)
        done = await play.post(f"/n8n/notices/{got.body['notice_id']}/done", bad)
        assert done.status_code == 409
    assert play.ana.replies == []


async def test_a_send_of_a_flow_that_failed_may_be_tried_again_and_one_in_doubt_counts_as_sent(
    play: Play, n8n: WebhookReceiver
):
    play.stage.shop.fail("sendText", failures.CONNECTION_CLOSED)
    play.stage.shop.tells_sends = "never"
    await play.tells(ANA)
    await play.hands_off()
    (got,) = await n8n.gets()
    assert (await play.flow_sends(got)).status_code == 503
    play.stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    for _ in range(2):
        assert (await play.flow_sends(got)).status_code == 201
    assert play.ana.replies == [TEXT]


@pytest.mark.parametrize("trouble", ["500", "404", "away"])
async def test_where_n8n_does_not_take_it_the_router_tells_it_at_once(
    play: Play, n8n: WebhookReceiver, tickets: WebhookReceiver, trouble: str
):
    await play.tells(ANA, tickets)
    if trouble == "away":
        n8n.stop()
    else:
        n8n.statuses = [int(trouble)]
    await play.hands_off()
    assert await play.ana.answered() == [TEXT]
    notice = await play.ends()
    assert (notice["handler"], notice["attempt"]) == ("fallback", 1)
    assert len(tickets.received) == 1
    assert "token" not in tickets.received[0].body


async def test_without_a_tenants_own_address_it_waits_until_n8n_takes_it(
    play: Play, n8n: WebhookReceiver
):
    n8n.statuses = [500, 500]
    await play.hands_off()
    got = (await n8n.gets(3))[-1]
    assert got.body["notify"] == {"number": None, "url": None}
    await play.flow_is_done(got)
    assert (await play.ends())["handler"] == "n8n"


async def test_a_flow_that_ends_without_a_word_is_given_it_again_but_the_phone_is_told_once(
    play: Play, n8n: WebhookReceiver, tickets: WebhookReceiver
):
    await play.tells(ANA, tickets)
    await play.hands_off()
    (first,) = await n8n.gets()
    await play.flow_sends(first)
    await play.time_comes()
    second = (await n8n.gets(2))[1]
    assert second.body["notice_id"] == first.body["notice_id"]
    assert second.body["notify"] == {"number": None, "url": f"{tickets.url}/hook"}
    assert (await play.flow_is_done(first)).status_code == 409
    assert (await play.flow_sends(second)).status_code == 201
    assert (await play.flow_is_done(second)).status_code == 200
    await play.ends()
    assert play.ana.replies == [TEXT]


async def test_a_flow_that_never_says_done_is_not_asked_for_ever(
    play: Play, n8n: WebhookReceiver, tickets: WebhookReceiver
):
    await play.tells(ANA, tickets)
    await play.hands_off()
    for number in (1, 2, 3):
        await n8n.gets(number)
        await play.time_comes()
    notice = await play.ends()
    assert (notice["handler"], notice["attempt"], len(n8n.received)) == ("fallback", 4, 3)
    assert (play.ana.replies, len(tickets.received)) == ([TEXT], 1)


# The router dies


@pytest.mark.parametrize("at", ["webhook", "whatsapp"])
async def test_a_router_killed_in_the_middle_tells_it_again_but_the_phone_once(
    database_url: str, evolution: Evolution, llm: Anthropic, tickets: WebhookReceiver, at: str
):
    router = ForkedRouter(environment(database_url, ANTHROPIC_BASE_URL=llm.url))
    router.start()
    try:
        await router.ready()
        async with set_stage(database_url, router.url, evolution, llm) as stage:
            play = Play(stage)
            await play.tells(ANA, tickets)
            gate = tickets.hold() if at == "webhook" else stage.shop.hold("sendText", after=True)
            await play.hands_off()
            await gate.reached()
            router.kill()
            gate.open()
            await play.time_comes()
            router.start()
            await router.ready()
            await play.ends()
            assert play.ana.replies == [TEXT]
            assert len(tickets.received) == 2
    finally:
        router.close()
