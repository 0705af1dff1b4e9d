"""Who goes away in the middle of a request costs no error in the log."""

import asyncio
import logging
import socket
from urllib.parse import urlsplit

import pytest

from tests.routers import API_KEY, CRON_SECRET, WEBHOOK_SECRET, environment, running_router

CALLS = {
    "/webhook/padaria": f"X-Webhook-Secret: {WEBHOOK_SECRET}",
    "/api/tenants": f"X-API-Key: {API_KEY}",
    "/n8n/evolution/message/sendText/padaria": "apikey: 1.5b6cf6b0-0000-4000-8000-000000000001",
    "/n8n/turns/1/done": "apikey: 1.5b6cf6b0-0000-4000-8000-000000000001",
    "/cron/auto-resume": f"X-Cron-Secret: {CRON_SECRET}",
}
N8N = {
    "N8N_ENABLED": "true",
    "N8N_CONTRACT": "gateway",
    "N8N_WEBHOOK_URL": "http://127.0.0.1:9/webhook",
    "N8N_API_KEY": "a-key-for-n8n-in-the-tests",
}


async def send_half(url: str, path: str, header: str, *, declared: bool) -> None:
    """Send half of a body and close."""
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    length = "Content-Length: 200" if declared else "Transfer-Encoding: chunked"
    half = (
        '{"event": "messages.upsert", ' if declared else '1d\r\n{"event": "messages.upsert", \r\n'
    )
    head = f"POST {path} HTTP/1.1\r\nHost: router\r\n{header}\r\n{length}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\n\r\n{half}".encode())
    await writer.drain()
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    if not declared:  # once politely, once by a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


@pytest.mark.parametrize("declared", [True, False], ids=["Content-Length", "chunked, reset"])
@pytest.mark.parametrize("path", CALLS)
async def test_a_caller_that_goes_away_within_its_body_is_no_error(
    database_url: str, caplog: pytest.LogCaptureFixture, path: str, declared: bool
):
    caplog.set_level(logging.DEBUG)
    async with running_router(environment(database_url, **N8N)) as url:
        await send_half(url, path, CALLS[path], declared=declared)
    loud = [
        r
        for r in caplog.records
        if r.levelno >= logging.WARNING or (r.exc_info and not r.name.startswith("anthropic"))
    ]  # the SDK tells of a look at the account, of which nobody is here, with its trace
    assert [r.getMessage() for r in loud if "is not set" not in r.getMessage()] == []
