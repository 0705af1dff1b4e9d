"""Replies that WhatsApp refuses after Evolution has taken them: error 463, FAILED on Meta's API."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Business, Customer, Evolution
from loopback.evolution.chats import PhoneMessage
from loopback.receiver import WebhookReceiver
from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.stage import Stage, performance

ANA = "5511955559999"


@pytest.fixture
def tickets() -> Iterator[WebhookReceiver]:
    """The tenant's own webhook."""
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture(params=["baileys", "cloud"])
async def line(
    request: pytest.FixtureRequest, database_url: str, evolution: Evolution, llm: Anthropic
) -> AsyncIterator["Line"]:
    async with performance(database_url, evolution, llm) as stage:
        if request.param == "baileys":
            yield Line(stage, stage.shop, "ERROR", "DELIVERY_ACK")
        else:
            yield Line(stage, await stage.open_cloud_shop(), "FAILED", "DELIVERED")


class Line:
    """A tenant's number that WhatsApp may have restricted."""

    def __init__(self, stage: Stage, shop: Business, failed: str, delivered: str) -> None:
        self.stage = stage
        self.shop = shop
        self._failed = failed
        self._delivered = delivered
        self.maria = shop.customer("5511955550001", name="Maria")
        shop.tells_states = ()  # a test says what becomes of each reply

    async def fails(self, customer: Customer, replies: int = 1) -> None:
        """The latest reply, when there are so many, turns out not to be delivered."""
        await self.shop.tells_state(customer, await self._latest(customer, replies), self._failed)

    async def arrives(self, customer: Customer, replies: int = 1) -> None:
        latest = await self._latest(customer, replies)
        await self.shop.tells_state(customer, latest, self._delivered)

    async def is_refused(self, customers: int = 3) -> None:
        """So many customers, each new, write and get no reply."""
        for number in range(customers):
            customer = self.shop.customer(f"551196666000{number}")
            await customer.writes("oi")
            await self.fails(customer)

    async def _latest(self, customer: Customer, replies: int) -> PhoneMessage:
        await customer.answered(replies)
        sent = [each for each in customer.transcript if each.author == "api"][-1]
        await self.stage.until(
            f"select 1 from messages where wa_id = '{sent.wa_id}' and send_state = 'sent'", bool
        )
        return sent

    async def time_comes(self) -> None:
        await self.stage.until("select 1 from turns where state = 'pending'", bool)
        await self.stage.time_comes_to("select run_after from turns where state = 'pending'")

    async def get(self, path: str) -> Any:
        async with patient(base_url=self.stage.router_url) as client:
            return (await client.get(path, headers={"X-API-Key": API_KEY})).json()

    async def check(self) -> Any:
        return await self.get(f"/api/instances/{self.shop.name}/test-webhook")

    def prompts(self) -> list[list[dict[str, str]]]:
        return [request.body["messages"] for request in self.stage.llm.requests]


def warning_of(check: Any) -> str:
    warnings: list[str] = [w for w in check["warnings"] if "did not deliver" in w]
    return "".join(warnings)


async def test_an_undelivered_reply_is_made_again_and_was_never_said(line: Line):
    await line.maria.writes("quanto custa o bolo?")
    await line.fails(line.maria)
    await line.maria.answered(2)
    assert line.prompts()[1] == line.prompts()[0]
    (first, second) = await line.stage.turns_end()
    assert (first["state"], first["undelivered"]) == ("sent", 1)
    assert first["error"].startswith("WhatsApp did not deliver 1 of 1")
    assert (second["state"], second["undelivered"]) == ("sent", 0)
    turns = await line.get(f"/api/turns?tenant_id={line.stage.tenant_id}")
    assert [turn["undelivered"] for turn in turns["items"]] == [0, 1]


async def test_what_the_customer_asks_next_is_answered_with_it(line: Line):
    """As in public reports: the reply fails, and the customer asks whether anybody is there."""
    await line.maria.writes("quanto custa o bolo?")
    await line.fails(line.maria)
    await line.maria.writes("alguém aí?")
    await line.maria.answered(2)
    (said,) = line.prompts()[1]
    assert said["role"] == "user"
    assert "quanto custa o bolo?" in said["content"]
    assert "alguém aí?" in said["content"]
    warning = warning_of(await line.check())
    assert "the last reply (to 1 contact)" in warning
    assert "463" in warning


async def test_a_reply_that_arrives_after_all_is_not_sent_twice(line: Line):
    await line.maria.writes("quanto custa o bolo?")
    await line.fails(line.maria)
    await line.arrives(line.maria)
    turns = await line.stage.turns_end()
    assert [turn["reason"] for turn in turns] == [None, "delivered"]
    await line.maria.writes("obrigada")
    await line.maria.answered(2)
    assert [m["role"] for m in line.prompts()[1]] == ["user", "assistant", "user"]
    assert warning_of(await line.check()) == ""


async def test_a_reply_is_made_again_twice_and_no_more(line: Line):
    await line.maria.writes("quanto custa o bolo?")
    for replies in (1, 2):
        await line.fails(line.maria, replies)
        await line.time_comes()
    await line.fails(line.maria, 3)
    await line.stage.turns_end()
    assert len(line.maria.replies) == 3


async def test_a_human_who_writes_meanwhile_has_the_conversation(line: Line):
    await line.maria.writes("quanto custa o bolo?")
    await line.fails(line.maria)
    await line.shop.other_client_sends(line.maria, "oi Maria, 40 reais")
    turns = await line.stage.turns_end()
    assert [turn["state"] for turn in turns] == ["sent", "cancelled"]
    assert len(line.maria.replies) == 1


async def test_several_in_a_row_are_told_to_the_staff_once_and_warned_of(
    line: Line, tickets: WebhookReceiver
):
    ana = line.shop.customer(ANA, name="Ana")
    await line.stage.change(notify_number=ANA, notify_url=f"{tickets.url}/hook")
    assert (await line.get("/health"))["checks"]["delivery"]["message"].startswith("no tenant")
    await line.is_refused()
    await line.stage.time_passes(minutes=10)
    (told,) = await ana.answered()
    assert told.startswith(
        f"WhatsApp did not deliver the last 3 replies (to 3 contacts) of {line.shop.name}."
    )
    assert "463" in told
    (got,) = await tickets.gets()
    assert (got.body["kind"], got.body["session"]) == ("undelivered", None)
    assert got.body["reason"] == "3 replies in a row were not delivered"

    health = await line.get("/health")
    assert health["ok"]
    assert "the replies of 1 tenant" in health["checks"]["delivery"]["message"]
    check = await line.check()
    assert "the last 3 replies (to 3 contacts) (the first 0 min ago" in warning_of(check)
    assert check["failed"] != "delivery"

    await line.maria.writes("oi")
    await line.fails(line.maria)
    assert len(await line.stage.sql("select 1 from notices where kind = 'undelivered'")) == 1


async def test_once_a_reply_arrives_nobody_is_warned_any_more(line: Line):
    await line.is_refused()
    await line.maria.writes("oi")
    await line.arrives(line.maria)
    assert (await line.get("/health"))["checks"]["delivery"]["message"].startswith("no tenant")
    assert warning_of(await line.check()) == ""


async def test_n8n_is_given_the_notice_for_the_workflow_of_the_line(
    database_url: str, evolution: Evolution, llm: Anthropic
):
    with WebhookReceiver() as n8n:
        configuration = {
            "N8N_ENABLED": "true",
            "N8N_CONTRACT": "gateway",
            "N8N_WEBHOOK_URL": f"{n8n.url}/webhook",
        }
        configuration |= {"N8N_API_KEY": "a-key-for-n8n-in-the-tests"}
        async with performance(database_url, evolution, llm, **configuration) as stage:
            await stage.change(notify_number=ANA)
            await stage.sql(
                "insert into notices (tenant_id, kind, facts, next_at) values"
                " (1, 'undelivered', '{\"replies\": 3, \"contacts\": 1}', now())"
            )
            (got,) = await n8n.gets()
    assert got.path == "/webhook/hybridflow-connection"
    assert got.body["notify"]["number"] == ANA
    assert "the last 3 replies (to 1 contact)" in got.body["text"]
