"""A captured request that somebody posts again: after minutes, hours, and after all is pruned."""

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.clients import patient
from tests.fixtures import webhook
from tests.routers import WEBHOOK_SECRET, environment, running_router

HEADERS = {"X-Webhook-Secret": WEBHOOK_SECRET}
DAYS = 24

# The clock of the whole database is moved, which connections that are open do not see.
pytestmark = pytest.mark.spoils


class Line:
    """What goes over the wire to a router, kept byte for byte, and its database."""

    def __init__(self, database_url: str, database: asyncpg.Connection) -> None:
        self.database_url = database_url
        self.database = database

    async def posts(self, body: dict[str, Any]) -> dict[str, Any]:
        """Post to a router that was just started: whatever one remembers is no help."""
        env = environment(self.database_url, ANTHROPIC_BASE_URL="http://127.0.0.1:9")
        async with running_router(env) as url, patient(base_url=url) as http:
            answer = await http.post("/webhook/padaria", headers=HEADERS, json=body)
        assert answer.status_code == 200, answer.text
        taken: dict[str, Any] = answer.json()
        # Whatever it led to has been done long before a replay.
        await self.database.execute(
            "update turns set state = 'cancelled', lease_until = null"
            " where state in ('pending', 'running')"
        )
        await self.database.execute("update notices set state = 'delivered'")
        return taken

    async def passes(self, hours: float) -> None:
        """The state's clock goes on, for every connection from now on."""
        name = urlsplit(self.database_url).path.lstrip("/")
        await self.database.execute(
            f"alter database {name} set hybridflow.clock_offset = '{hours * 3600} seconds'"
        )

    async def forgets_events(self) -> None:
        """What pruning takes after seven days."""
        await self.database.execute("delete from processed_events")

    async def forgets_messages(self) -> None:
        await self.database.execute("delete from messages")

    async def state(self) -> list[Any]:
        """Everything that a replay could change."""
        return [
            await self.database.fetch(query)
            for query in (
                "select id, body, edited_at, deleted_at, status from messages order by id",
                "select id, state from turns order by id",
                "select id, is_paused, paused_at, last_human_at from sessions order by id",
                "select connection_state, qr_code, connection_lost_at from tenants",
                "select id, kind, state from notices order by id",
            )
        ]


@pytest.fixture
async def line(database_url: str) -> AsyncIterator[Line]:
    async with connected(database_url) as database:
        await database.execute(
            "insert into tenants (instance_name, evo_server_url)"
            " values ('padaria', 'https://evolution.example')"
        )
        yield Line(database_url, database)


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    database = await asyncpg.connect(database_url)
    yield database
    await database.close()


def captured(name: str, **data: Any) -> dict[str, Any]:
    """A request as it goes over the wire now."""
    body = copy.deepcopy(webhook(name)) | {"instance": "padaria"}
    now = datetime.now(UTC)
    body["date_time"] = now.isoformat()
    if "messageTimestamp" in (body["data"] or {}):
        body["data"]["messageTimestamp"] = int(now.timestamp())
    if body["data"]:
        body["data"] |= data
    return body


@pytest.mark.parametrize("hours", [0, 3, 5 * DAYS])
@pytest.mark.parametrize(
    "name",
    [
        *("messages_upsert__text", "messages_upsert__owner_android"),
        *("connection_update__close", "qrcode_updated__code", "messages_update__read"),
    ],
)
async def test_for_days_a_replay_gets_the_first_answer_and_changes_nothing(
    line: Line, name: str, hours: float
):
    body = captured(name)
    first = await line.posts(body)
    before = await line.state()
    await line.passes(hours)
    again = await line.posts(body)
    assert again["status"] == "duplicate"
    assert again["reason"] == first["reason"]
    assert await line.state() == before


@pytest.mark.parametrize("name", ["messages_upsert__text", "messages_upsert__owner_android"])
async def test_later_the_message_itself_is_known(line: Line, name: str):
    body = captured(name)
    await line.posts(body)
    before = await line.state()
    await line.passes(8 * DAYS)
    await line.forgets_events()
    assert (await line.posts(body))["reason"] in ("known_message", "own_message")
    assert await line.state() == before


async def test_when_even_the_message_is_gone_it_is_too_old_to_be_answered(line: Line):
    body = captured("messages_upsert__text")
    await line.posts(body)
    await line.passes(90 * DAYS)
    await line.forgets_events()
    await line.forgets_messages()
    assert (await line.posts(body))["reason"] == "too_old"
    turns = await line.database.fetch("select state from turns")
    assert [turn["state"] for turn in turns] == ["cancelled"]


async def test_when_even_the_owners_message_is_gone_it_takes_nothing_over(line: Line):
    body = captured("messages_upsert__owner_android")
    await line.posts(body)
    assert (await line.state())[2][0]["is_paused"]
    await line.database.execute("update sessions set is_paused = false")
    await line.passes(90 * DAYS)
    await line.forgets_events()
    await line.forgets_messages()
    await line.posts(body)
    assert not (await line.state())[2][0]["is_paused"]


@pytest.mark.parametrize(
    "name",
    [
        *("connection_update__close", "connection_update__open", "qrcode_updated__code"),
        *("logout_instance__null", "remove_instance__null", "messages_update__read"),
        *("messages_edited__edit", "messages_delete__key"),
    ],
)
async def test_later_an_event_without_a_message_is_too_old_to_be_true(line: Line, name: str):
    body = captured(name)
    await line.posts(body)
    await line.database.execute("update tenants set connection_state = 'open', qr_code = null")
    await line.database.execute("delete from notices")
    before = await line.state()
    await line.passes(8 * DAYS)
    await line.forgets_events()
    again = await line.posts(body)
    assert (again["status"], again["reason"]) == ("ignored", "too_old")
    assert await line.state() == before


async def test_an_edit_that_was_edited_again_is_not_brought_back(line: Line):
    message = captured("messages_upsert__text")
    await line.posts(message)
    edit = captured("messages_edited__edit")
    await line.posts(edit)
    await line.database.execute("update messages set body = 'as it is now'")
    await line.passes(8 * DAYS)
    await line.forgets_events()
    await line.posts(edit)
    assert (await line.state())[0][0]["body"] == "as it is now"


async def test_a_fresh_event_is_taken_whatever_zone_evolution_writes(line: Line):
    for hours in (-14, 0, 14):
        body = captured("connection_update__close")
        moment = datetime.now(UTC).timestamp() + hours * 3600
        body["date_time"] = datetime.fromtimestamp(moment, UTC).isoformat()
        assert (await line.posts(body))["reason"] == "connection_changed"
