"""Log lines name nobody: a keyed hash stands for the contact, and no text is in them."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from loopback.faults import wrong_answer
from router.logs.formatters import JsonFormatter
from router.logs.scrubber import Scrubber
from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.stage import BOTH_HANDLERS, Stage

pytestmark = BOTH_HANDLERS
TELLING = ("955550001", "201955550001001", "cenoura", "Maria", "deixa comigo")


class Lines(logging.Handler):
    """What would be written, made into text at the moment at which it would be."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(JsonFormatter(Scrubber()))
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def of(self, action: str) -> list[dict[str, Any]]:
        lines = [json.loads(text) for text in self.texts]
        return [line for line in lines if line.get("action") == action]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    router = logging.getLogger("router")
    level = router.level
    router.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    router.setLevel(level)


async def test_a_conversation_with_all_that_goes_wrong_names_nobody(stage: Stage, lines: Lines):
    await stage.maria.writes("tem bolo de cenoura?")
    await stage.maria.answered()
    await stage.turns_end()
    stage.shop.fail("sendText", wrong_answer(400, {"message": "5511955550001 is not there"}))
    await stage.maria.writes("e amanhã, de cenoura?")
    await stage.turns_end()
    await stage.shop.owner.writes(stage.maria, "deixa comigo, Maria")
    await stage.until("select is_paused from sessions", lambda rows: rows[0]["is_paused"])
    about = {"tenant_id": stage.tenant_id}
    for what in ("resume", "pause", "export", "erase"):
        await stage.post(f"/api/contacts/5511955550001/{what}", params=about)
    async with patient(base_url=stage.router_url, headers={"X-API-Key": API_KEY}) as api:
        gone = await api.post("/api/contacts/5511955550001/erase", params=about)
    assert gone.status_code == 404

    told = [text for text in lines.texts if any(word in text for word in TELLING)]
    assert told == []
    contacts = {json.loads(text).get("contact") for text in lines.texts} - {None}
    assert len(contacts) == 1
    for action in ("webhook_received", "paused", "resumed", "contact_exported", "contact_erased"):
        assert [line for line in lines.of(action) if "contact" in line], action
    assert len(contacts.pop()) == 12


async def test_a_line_is_found_by_the_hash_that_the_audit_log_keeps(stage: Stage, lines: Lines):
    await stage.maria.writes("oi")
    await stage.maria.answered()
    await stage.turns_end()
    about = {"tenant_id": stage.tenant_id}
    await stage.post("/api/contacts/5511955550001/erase", params=about)
    (erased,) = await stage.sql(
        "select detail ->> 'contact' as contact from audit_log where action = 'erase_contact'"
    )
    (received, *_) = lines.of("webhook_received")
    assert erased["contact"].startswith(received["contact"])
