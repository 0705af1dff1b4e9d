"""The OpenAPI document holds: Schemathesis asks a running router all that it allows, and more."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.state.direct import DirectDatabase
from tests.routers import API_KEY, CRON_SECRET, RouterProcess, environment
from tests.state.conversation import Conversation

MANY = "1000000"
# What the form of a value cannot say: a cursor is one that was given, a moment lies in the future,
# an address leads outside, a number is one of WhatsApp's. These may be refused with 422.
CONFIGURATION = f"""
[auth.openapi.ApiKey]
api_key = "{API_KEY}"
[auth.openapi.CronSecret]
api_key = "{CRON_SECRET}"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 422, 429, "5xx"]
"""


async def _furnish(database_url: str) -> None:
    """A tenant with a session, messages, turns and a pause, so that answers are not all 404."""
    database = await DirectDatabase.connect(database_url, size=1)
    talk = Conversation(database)
    await talk.open_shop()
    await talk.maria_writes("oi")
    await talk.owner_writes("olá", jids=["5511955550009@s.whatsapp.net"])
    await database.close()


@pytest.fixture
def router(database_url: str) -> Iterator[RouterProcess]:
    asyncio.run(_furnish(database_url))
    configuration = {
        "API_CALLS_PER_MINUTE": MANY,
        "ADDRESS_CALLS_PER_MINUTE": MANY,
        "API_DOCS": "true",
        "N8N_ENABLED": "true",
        "N8N_WEBHOOK_URL": "http://127.0.0.1:9/webhook",
        "N8N_API_KEY": "a-key-for-n8n-in-the-tests",
    }
    router = RouterProcess(environment(database_url, **configuration))
    router.start()
    asyncio.run(router.ready())
    yield router
    router.close()


@pytest.mark.timeout(660)  # thousands of calls, beside four other rows of tests
def test_the_document_holds_whatever_is_asked(router: RouterProcess, tmp_path: Path):
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
            *("run", f"{router.url}/openapi.json"),
            *("--checks", "all", "--seed", "1"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "15"),
            *("--suppress-health-check", "all", "--no-shrink", "--continue-on-failure"),
            *("--warnings", "off", "--no-color"),
            # It answers for as long as it is open: see test_stream.py.
            *("--exclude-operation-id", "follow_changes"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{router.log()[-3000:]}"
