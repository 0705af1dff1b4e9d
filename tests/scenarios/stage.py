"""The whole of HybridFlow on loopback: the phones, Evolution, the router, the LLM."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Business, Customer, Evolution
from loopback.waiting import DEADLINE
from router.state.direct import DirectDatabase
from tests.clients import patient
from tests.routers import API_KEY, CRON_SECRET, WEBHOOK_SECRET, environment, running_router

EVENTS = (
    *("MESSAGES_UPSERT", "MESSAGES_UPDATE", "MESSAGES_EDITED", "MESSAGES_DELETE", "SEND_MESSAGE"),
    *("CONNECTION_UPDATE", "QRCODE_UPDATED", "LOGOUT_INSTANCE", "REMOVE_INSTANCE"),
)

# Tests that hold whoever makes the replies: the Python fallback, and the workflows in a real n8n.
# Before the first thing that Maria says in what the LLM is asked.
NAMED = "[the customer's name on WhatsApp: Maria]\n"
BOTH_HANDLERS = pytest.mark.parametrize(
    "handler", ["fallback", pytest.param("n8n", marks=pytest.mark.n8n)], indirect=True
)


# What the state's clock is then. A router's connections take no setting of a test's.
MOVED_CLOCK = """
    create or replace function hybridflow.clock() returns timestamptz
    language sql volatile set search_path = ''
    as $$ select clock_timestamp() + interval '{seconds} seconds' $$
"""


class Stage:
    """A shop with a customer, Maria, and whatever looks into the state behind them."""

    def __init__(
        self, evolution: Evolution, llm: Anthropic, database: DirectDatabase, router_url: str
    ) -> None:
        self.evolution = evolution
        self.llm = llm
        self.database = database
        self.router_url = router_url
        self.offset = timedelta()
        self.shop: Business
        self.maria: Customer
        self.tenant_id: int

    async def open(self) -> None:
        """Open the shop, and let Maria have its number."""
        self.shop = await self.open_shop()
        self.maria = self.shop.customer("5511955550001", name="Maria", lid="201955550001001")

    async def open_shop(self, name: str = "padaria", **settings: object) -> Business:
        """An instance at Evolution and its tenant; the webhook leads to the router."""
        shop = self.evolution.instance(name)
        shop.sends_webhooks_to(
            f"{self.router_url}/webhook/{name}",
            headers={"X-Webhook-Secret": WEBHOOK_SECRET},
            events=EVENTS,
        )
        created = await self.database.call(
            "create_tenant",
            {
                "values": {
                    "instance_name": name,
                    "evo_server_url": self.evolution.url,
                    "evo_api_key": shop.token,
                    "system_prompt": f"You answer for {name}.",
                    **settings,
                }
            },
        )
        self.tenant_id = created["tenant"]["id"]
        return shop

    async def open_cloud_shop(self) -> Business:
        """A number on Meta's Cloud API."""
        self.evolution.instance("nuvem", channel="WHATSAPP-BUSINESS")
        return await self.open_shop("nuvem")

    async def sql(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        rows = await self.database._pool.fetch(query, *arguments, timeout=DEADLINE)
        return [dict(row) for row in rows]

    async def until(
        self, query: str, found: Callable[[list[dict[str, Any]]], bool], within: float = DEADLINE
    ) -> list[dict[str, Any]]:
        """Ask the database until it says what is waited for."""
        rows: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(within):
                while not found(rows := await self.sql(query)):
                    await asyncio.sleep(0.03)
        except TimeoutError:
            turns = await self.sql(
                "select id, state, reason, attempt, error from turns order by id"
            )
            raise AssertionError(f"in vain: {query}\n{rows}\nturns: {turns}") from None
        return rows

    async def leases_run_out(self) -> None:
        """Let the leases be over: a flow had them for as long as a busy machine may need."""
        await self.time_comes_to("select lease_until from turns")

    async def turns_end(self) -> list[dict[str, Any]]:
        """Wait until nothing is pending or under way; the turns, oldest first."""
        return await self.until(
            "select * from turns order by id",
            lambda turns: not {t["state"] for t in turns} & {"pending", "running", "sending"},
        )

    async def sessions(self) -> list[dict[str, Any]]:
        return await self.sql("select * from sessions order by id")

    async def paused(self) -> bool:
        return any(session["is_paused"] for session in await self.sessions())

    async def time_passes(self, **by: float) -> None:
        """Move the clocks of the state and of Evolution forward, for every connection there is."""
        self.offset += timedelta(**by)
        seconds = self.offset.total_seconds()
        await self.sql(MOVED_CLOCK.format(seconds=seconds))
        self.evolution.now = lambda: time.time() + seconds

    async def time_comes_to(self, moments: str) -> None:
        """Move the clocks to the last moment that a query gives, if it is still to come."""
        (row,) = await self.sql(
            "select extract(epoch from max(at) - hybridflow.clock()) as seconds"
            f" from ({moments}) as m (at)"
        )
        await self.time_passes(seconds=max(0.0, float(row["seconds"] or 0)) + 0.01)

    async def cron_runs(self) -> dict[str, Any]:
        return await self.post("/cron/auto-resume", {"X-Cron-Secret": CRON_SECRET})

    async def change(self, **values: object) -> None:
        """Change the tenant as an operator does."""
        async with patient(base_url=self.router_url) as client:
            answer = await client.patch(
                f"/api/tenants/{self.tenant_id}", headers={"X-API-Key": API_KEY}, json=values
            )
        assert answer.status_code == 200, answer.text

    async def post(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
        async with patient(base_url=self.router_url) as client:
            answer = await client.post(path, headers=headers or {"X-API-Key": API_KEY}, **more)
        assert answer.status_code < 300, answer.text
        return answer.json()


@asynccontextmanager
async def set_up(
    database_url: str, router_url: str, evolution: Evolution, llm: Anthropic
) -> AsyncIterator[Stage]:
    database = await DirectDatabase.connect(database_url, size=2)
    try:
        yield Stage(evolution, llm, database, router_url)
    finally:
        await database.close()


@asynccontextmanager
async def set_stage(
    database_url: str, router_url: str, evolution: Evolution, llm: Anthropic
) -> AsyncIterator[Stage]:
    """A stage before a router that runs already."""
    async with set_up(database_url, router_url, evolution, llm) as stage:
        await stage.open()
        yield stage


@asynccontextmanager
async def performance(
    database_url: str, evolution: Evolution, llm: Anthropic, **configuration: str
) -> AsyncIterator[Stage]:
    """A stage whose router runs in this loop."""
    async with dark_stage(database_url, evolution, llm, **configuration) as stage:
        await stage.open()
        yield stage


@asynccontextmanager
async def dark_stage(
    database_url: str, evolution: Evolution, llm: Anthropic, **configuration: str
) -> AsyncIterator[Stage]:
    """A stage whose shop is not open yet."""
    env = environment(database_url, ANTHROPIC_BASE_URL=llm.url, **configuration)
    async with (
        running_router(env) as router_url,
        set_up(database_url, router_url, evolution, llm) as stage,
    ):
        yield stage
