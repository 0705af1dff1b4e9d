"""The stream of changes, over real HTTP: opened, followed, resumed, and ended."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from router.embedded.ports import free_port
from router.state.direct import DirectDatabase
from tests.clients import patient
from tests.routers import API_KEY, ROOT, environment, running_router
from tests.state.conversation import Conversation

BOSS = {"X-API-Key": API_KEY}
OWN = {"Sec-Fetch-Site": "same-origin"}
SEALS = {"SECRETS_KEY": "a-sealing-key-for-the-tests-0123456789"}
PATH = "/api/stream?tenant_id=1"
PATIENCE = 20


class Stream:
    """Reads events as a browser does."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id: str | None = None
        self._lines = answer.aiter_lines()

    async def event(self) -> tuple[str, Any]:
        """The next one that is no beat: its name and data."""
        name, data, known = "message", None, False
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                match field:
                    case "event":
                        name, known = value, True
                    case "data":
                        data = orjson.loads(value)
                    case "id":
                        self.last_id = value
                    case "" if known and not line:
                        return name, data
        return "over", None

    async def until(self, wanted: str) -> Any:
        """The data of the next event of this name."""
        while True:
            name, data = await self.event()
            if name == wanted:
                return data
            assert name != "over", f"it ended without {wanted}"


@asynccontextmanager
async def stream(client: httpx.AsyncClient, headers: Mapping[str, str]) -> AsyncIterator[Stream]:
    async with client.stream("GET", PATH, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        opened = Stream(answer)
        assert await opened.event() == ("ready", {})
        yield opened


async def opens(client: httpx.AsyncClient) -> bool:
    """Whether one more may be open now."""
    async with client.stream("GET", PATH, headers=BOSS) as answer:
        return answer.status_code == 200


@pytest.fixture
async def talk(database_url: str) -> AsyncIterator[Conversation]:
    database = await DirectDatabase.connect(database_url)
    talk = Conversation(database)
    await talk.open_shop()
    yield talk
    await database.close()


@pytest.fixture
async def client(talk: Conversation, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running_router(environment(database_url, **SEALS)) as url,
        patient(base_url=url) as client,
    ):
        yield client


async def made_key(client: httpx.AsyncClient, *tenant_ids: int) -> dict[str, Any]:
    making = {"name": "ana", "role": "viewer", "tenant_ids": list(tenant_ids)}
    made: dict[str, Any] = (await client.post("/api/api-keys", json=making, headers=BOSS)).json()
    return made


async def test_what_happens_comes_by_its_ids_and_in_no_words(
    client: httpx.AsyncClient, talk: Conversation
):
    async with stream(client, BOSS) as open_one:
        headers = open_one.answer.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["x-accel-buffering"] == "no"
        assert headers["cache-control"] == "no-store"
        decision = await talk.maria_writes("tem bolo de cenoura?")
        while True:
            told = await open_one.until("session")
            assert set(told) == {"session_id", "turn_id", "kind"}
            if told["kind"] == "message":
                break
        assert told["session_id"] == decision["session_id"]
        assert told["turn_id"] == decision["turn_id"]


async def test_who_comes_back_misses_nothing(client: httpx.AsyncClient, talk: Conversation):
    async with stream(client, BOSS) as open_one:
        last = open_one.last_id
    assert last is not None
    decision = await talk.maria_writes("oi")
    async with stream(client, {**BOSS, "Last-Event-ID": last}) as again:
        assert (await again.until("session"))["session_id"] == decision["session_id"]
        assert again.last_id != last


@pytest.mark.parametrize("last", ["1/1:2:", "nonsense"])
async def test_who_comes_back_too_late_is_told_to_read_anew(client: httpx.AsyncClient, last: str):
    async with stream(client, {**BOSS, "Last-Event-ID": last}) as again:
        assert await again.event() == ("reset", {})


async def test_nobody_opens_it_without_a_right(client: httpx.AsyncClient, talk: Conversation):
    await talk.open_shop("pharmacy")
    key = (await made_key(client, 1))["key"]
    for headers, tenant_id, status in (
        ({}, 1, 401),
        ({"X-API-Key": "wrong"}, 1, 401),
        ({"X-API-Key": key}, 2, 404),
        ({"X-API-Key": key}, 999, 404),
        (BOSS, 999, 404),
    ):
        path = f"/api/stream?tenant_id={tenant_id}"
        assert (await client.get(path, headers=headers)).status_code == status
    assert (await client.get("/api/stream", headers=BOSS)).status_code == 422
    body = await client.request("GET", "/api/stream?tenant_id=1", headers=BOSS, content=b"x" * 9)
    assert body.status_code == 413


async def test_a_revoked_key_and_a_lost_tenant_end_it(client: httpx.AsyncClient):
    first, second = await made_key(client, 1), await made_key(client, 1)
    async with (
        stream(client, {"X-API-Key": first["key"]}) as one,
        stream(client, {"X-API-Key": second["key"]}) as other,
        stream(client, BOSS) as bosss,
    ):
        await client.post(f"/api/api-keys/{first['id']}/revoke", headers=BOSS)
        assert await one.until("end") == {"reason": "not_allowed"}
        assert await one.event() == ("over", None)
        await client.post(f"/api/api-keys/{second['id']}/revoke", headers=BOSS)
        assert await other.until("end") == {"reason": "not_allowed"}
        assert (await client.get("/api/me", headers=BOSS)).status_code == 200
        assert not bosss.answer.is_closed


async def test_a_browser_opens_it_with_its_cookie_and_signing_out_ends_it(
    client: httpx.AsyncClient, talk: Conversation
):
    signed_in = await client.post("/api/session", headers={**BOSS, **OWN})
    assert signed_in.status_code == 200
    async with stream(client, OWN) as open_one:
        await talk.maria_writes("oi")
        await open_one.until("session")
        assert (await client.delete("/api/session", headers=OWN)).status_code == 204
        assert await open_one.until("end") == {"reason": "signed_out"}
    refused = await client.get("/api/stream?tenant_id=1", headers=OWN)
    assert refused.status_code == 401


async def test_signing_out_ends_it_in_every_router(database_url: str, talk: Conversation):
    env = environment(database_url, **SEALS)
    async with (
        running_router(env) as here,
        running_router(env) as there,
        patient() as browser,
    ):
        await browser.post(f"{here}/api/session", headers={**BOSS, **OWN})
        path = f"{there}/api/stream?tenant_id=1"
        async with browser.stream("GET", path, headers=OWN) as answer:
            open_one = Stream(answer)
            await open_one.until("ready")
            await browser.delete(f"{here}/api/session", headers=OWN)
            assert await open_one.until("end") == {"reason": "signed_out"}


async def test_a_stop_of_the_router_ends_it_at_once(database_url: str, talk: Conversation):
    """The server would wait for the answer, and then break it off."""
    async with patient() as client:
        async with running_router(environment(database_url)) as url:
            path = f"{url}/api/stream?tenant_id=1"
            answer = await client.send(client.build_request("GET", path, headers=BOSS), stream=True)
            open_one = Stream(answer)
            await open_one.until("ready")
        assert await open_one.until("end") == {"reason": "stopping"}
        assert await open_one.event() == ("over", None)


async def test_under_any_server_an_open_stream_keeps_no_stop_waiting(
    database_url: str, talk: Conversation
):
    """By its own way uvicorn would wait for the stream's end, which never comes."""
    with plain_uvicorn(database_url) as (program, url):
        async with patient(base_url=url) as client:
            async with asyncio.timeout(3 * PATIENCE):
                while not await is_up(client):
                    await asyncio.sleep(0.1)
            async with stream(client, BOSS) as open_one:
                program.send_signal(signal.SIGTERM)
                assert await open_one.until("end") == {"reason": "stopping"}
        await asyncio.to_thread(program.wait, PATIENCE)


@contextmanager
def plain_uvicorn(database_url: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    port = str(free_port())
    env = {**os.environ, **environment(database_url)}
    command = [sys.executable, "-m", "uvicorn", "router.main:app", "--port", port]
    with subprocess.Popen(command, cwd=ROOT, env=env) as program:
        try:
            yield program, f"http://127.0.0.1:{port}"
        finally:
            program.kill()


async def is_up(client: httpx.AsyncClient) -> bool:
    with suppress(httpx.TransportError):
        return (await client.get("/api/me", headers=BOSS)).status_code == 200
    return False


async def test_open_streams_take_no_place_of_calls_and_have_bounds_of_their_own(
    database_url: str, talk: Conversation
):
    few = environment(database_url, MAX_CONCURRENT_REQUESTS="2", MAX_CONNECTIONS="10")
    async with (
        running_router(few) as url,
        patient(base_url=url) as client,
        stream(client, BOSS),
        stream(client, BOSS),
        stream(client, BOSS),
    ):
        for _ in range(3):
            assert (await client.get("/api/tenants", headers=BOSS)).status_code == 200
        # Five may be open, and one tenant's leave room for another's.
        async with stream(client, BOSS):
            refused = await client.get("/api/stream?tenant_id=1", headers=BOSS)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "too_many_at_once"
        async with asyncio.timeout(PATIENCE):  # who leaves makes room, as soon as it is seen
            while not await opens(client):
                await asyncio.sleep(0.05)


async def test_a_change_in_one_router_is_told_by_another(database_url: str, talk: Conversation):
    env = environment(database_url)
    async with (
        running_router(env) as here,
        running_router(env) as there,
        patient(base_url=there) as client,
        stream(client, BOSS) as open_one,
    ):
        await talk.maria_writes("oi")
        await open_one.until("session")
        async with patient(base_url=here) as other:
            paused = await other.post("/api/sessions/1/pause?tenant_id=1", headers=BOSS, json={})
        assert paused.status_code == 200, paused.text
        while (await open_one.until("session"))["kind"] != "pause":
            pass


async def test_a_database_that_comes_back_is_read_on(
    client: httpx.AsyncClient, talk: Conversation, database_url: str
):
    """Its connections were cut: nothing that happened meanwhile is missed."""
    async with stream(client, BOSS) as open_one:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await connection.execute(
            "insert into sessions (tenant_id, phone_jid) values (1, '5511955550009@s.whatsapp.net')"
        )
        await connection.close()
        assert (await open_one.until("session"))["kind"] == "session"
