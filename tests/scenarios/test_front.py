"""Attacks on the front of a running router, with bounded work; others are served meanwhile."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from tests.clients import patient
from tests.fixtures import webhook
from tests.routers import API_KEY, CRON_SECRET, WEBHOOK_SECRET, environment, running_router
from tests.scenarios.test_limits import posted

KEY = {"X-API-Key": API_KEY}
GOOD = {"X-Webhook-Secret": WEBHOOK_SECRET}
NEW = {"name": "ana", "role": "viewer", "tenant_ids": None}
_MUCH = 40_000_000  # more than any buffer between the two ends takes


@asynccontextmanager
async def front(database_url: str, **configuration: str):
    """A router; `dial` opens a connection from another address than the client's."""
    async with (
        running_router(environment(database_url, **configuration)) as url,
        patient(base_url=url) as client,
    ):
        port = int(url.rpartition(":")[2])

        async def dial(number: int = 2):
            return await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(f"127.0.0.{number}", 0)
            )

        yield client, dial


async def poured(dial, first: bytes, again: bytes) -> int:
    """How many bytes were taken before the connection was closed."""
    _, writer = await dial()
    writer.write(first)
    sent = 0
    block = again * (60_000 // len(again))
    try:
        while sent < _MUCH:
            writer.write(block)
            await writer.drain()
            sent += len(block)
    except OSError:
        pass
    finally:
        writer.transport.abort()
    return sent


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"GET /health/live HTTP/1.1\r\nHost: a\r\n", b"X-Many: 1\r\n"),
        (b"GET /health/live HTTP/1.1\r\nHost: a\r\nX: ", b"a"),
        (b"", b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"),
    ],
    ids=["heads", "a header", "requests in advance"],
)
async def test_what_never_ends_is_not_taken_in(database_url: str, first: bytes, again: bytes):
    async with front(database_url) as (client, dial):
        assert await poured(dial, first, again) < _MUCH
        assert (await client.get("/health/live")).status_code == 200


async def test_silent_connections_of_one_address_leave_room_for_others(database_url: str):
    async with front(database_url, MAX_CONNECTIONS="40", MAX_CONNECTIONS_PER_ADDRESS="10") as (
        client,
        dial,
    ):
        lines = [await dial() for _ in range(30)]
        reads = [asyncio.create_task(gone(reader)) for reader, _ in lines]
        while sum(read.done() for read in reads) < 20:
            await asyncio.sleep(0.01)
        assert (await client.get("/health/live")).status_code == 200
        assert sum(read.done() for read in reads) == 20
        others = [await dial(3 + number) for number in range(60)]  # and of many
        async with patient(base_url=client.base_url) as another:
            assert (await another.get("/health/live")).status_code == 200
        for _, writer in (*lines, *others):
            writer.transport.abort()
        await asyncio.wait(reads)


async def gone(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        await reader.read()


async def test_slow_bodies_hold_no_place(database_url: str):
    async with front(database_url, MAX_CONCURRENT_REQUESTS="4") as (client, dial):
        lines = []
        for path, header in (
            ("/cron/auto-resume", f"X-Cron-Secret: {CRON_SECRET}"),
            ("/api/tenants", f"X-API-Key: {API_KEY}"),
            ("/webhook/padaria", f"X-Webhook-Secret: {WEBHOOK_SECRET}"),
            ("/api/tenants", "X-API-Key: wrong"),
        ):
            for number in range(10):
                _, writer = line = await dial(2 + number)
                head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{header}\r\nContent-Length: 500\r\n\r\n"
                writer.write(head.encode() + b"{")
                await writer.drain()
                lines.append(line)
        assert (await client.get("/api/tenants", headers=KEY)).status_code == 200
        cron = {"X-Cron-Secret": CRON_SECRET}
        assert (await client.post("/cron/auto-resume", headers=cron)).status_code == 200
        assert (await client.patch("/api/tenants/1", headers=KEY, json={})).status_code == 404
        answer = await client.post("/webhook/padaria", headers=GOOD, json=posted(1))
        assert answer.status_code == 503  # no tenant has it
        for _, writer in lines:
            writer.transport.abort()


@pytest.mark.parametrize("length", [60_000, 99_999])
async def test_bodies_of_flows_that_nobody_knows_keep_no_webhook_out(
    database_url: str, length: int
):
    async with front(
        database_url,
        N8N_ENABLED="true",
        N8N_CONTRACT="gateway",
        N8N_API_KEY="a-key-for-n8n-in-the-tests",
        N8N_WEBHOOK_URL="http://127.0.0.1:9/webhook",
        MAX_WEBHOOK_BYTES="100000",
        MAX_REQUEST_BYTES="100000",
    ) as (client, dial):
        lines = []
        for number in range(20):
            _, writer = await dial(2 + number)
            token = f"hft_{number + 1}_00000000-0000-0000-0000-000000000000"
            head = (
                f"POST /n8n/turns/1/done HTTP/1.1\r\nHost: a\r\napikey: {token}\r\n"
                f"Content-Length: {length}\r\n\r\n"
            )
            writer.write(head.encode() + b" " * (length - 1))
            with suppress(OSError):
                await writer.drain()
            lines.append(writer)
        for _ in range(5):
            answer = await client.post("/webhook/padaria", headers=GOOD, json=posted(1))
            assert answer.json()["error"]["code"] == "unknown_instance"
        for writer in lines:
            writer.transport.abort()


BOMB = b"[" + b"[]," * 400_000 + b"1]"


async def test_a_webhook_of_many_values_is_refused_before_it_is_parsed(database_url: str):
    async with front(database_url) as (client, _):
        for body in (BOMB, b'{"event":"messages.upsert","data":' + BOMB + b"}"):
            answer = await client.post("/webhook/padaria", headers=GOOD, content=body)
            assert answer.status_code == 422
            assert answer.json()["error"]["code"] == "too_many_values"
        media = webhook("messages_upsert__text") | {"instance": "padaria"}
        media["data"]["message"] |= {"base64": "a" * 3_000_000}
        answer = await client.post("/webhook/padaria", headers=GOOD, json=media)
        assert answer.status_code in (200, 503)


@pytest.mark.parametrize("kind", ["deployment", "made", "cron"])
async def test_junk_from_the_same_address_shuts_out_no_right_key(database_url: str, kind: str):
    async with front(database_url, ADDRESS_CALLS_PER_MINUTE="6") as (client, _):
        made = await client.post("/api/api-keys", headers=KEY, json=NEW)
        junk = ["wrong", "hfk_" + "a" * 43, "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"]
        statuses = [
            (await client.get("/api/tenants", headers={"X-API-Key": each})).status_code
            for each in junk * 4
        ]
        assert statuses == [401] * 6 + [429] * 6
        if kind == "cron":
            cron = {"X-Cron-Secret": CRON_SECRET}
            answer = await client.post("/cron/auto-resume", headers=cron)
        else:
            key = API_KEY if kind == "deployment" else made.json()["key"]
            answer = await client.get("/api/tenants", headers={"Authorization": f"bearer  {key}"})
        assert answer.status_code == 200, answer.text


async def test_a_revoked_key_is_junk_at_once(database_url: str):
    async with front(database_url) as (client, _):
        made = (await client.post("/api/api-keys", headers=KEY, json=NEW)).json()
        shown = {"X-API-Key": made["key"]}
        assert (await client.get("/api/tenants", headers=shown)).status_code == 200
        gone = await client.post(f"/api/api-keys/{made['id']}/revoke", headers=KEY)
        assert gone.status_code == 200, gone.text
        for _ in range(3):
            assert (await client.get("/api/tenants", headers=shown)).status_code == 401
