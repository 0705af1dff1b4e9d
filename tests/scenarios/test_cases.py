"""Conversations that went wrong in comparable systems, one a file in cases/; by both handlers.

A step is one of: `message` (a webhook of one message: `message`, `from_me`, `ago` in seconds, `id`,
`event`, `status`, `jid`, `context`), `edit` and `delete` (of the message `id`), `llm` (what it
answers next), `hold` (whether its answers are held back), `asked` (wait until it was asked so
often), `settle` (until no turn is under way), `resumes` (until the pause is over), `later` (so many
seconds pass), `waits` (until a turn waits for minutes).
"""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from loopback.waiting import Gate
from tests.clients import patient
from tests.routers import API_KEY, WEBHOOK_SECRET
from tests.scenarios.stage import BOTH_HANDLERS, Stage

CASES = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "cases").glob("*.json"))
}
MARIA = "5511955550001@s.whatsapp.net"
OWNER = "5511900000001@s.whatsapp.net"


class Player:
    """Plays one case on the stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._began = int(time.time())
        self._ids = itertools.count(1)
        self._gate: Gate | None = None

    async def play(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            ((kind, given),) = step.items()
            await getattr(self, f"_{kind}")(given)

    async def _message(self, given: dict[str, Any]) -> None:
        from_me = given.get("from_me", False)
        ago = given.get("ago")
        name = "3EB0" if from_me else "AC"
        data = {
            "key": {
                "remoteJid": given.get("jid", MARIA),
                "fromMe": from_me,
                "id": given.get("id", f"{name}0CASE{next(self._ids):04X}"),
            },
            "pushName": "Maria",
            "status": given.get("status", "SERVER_ACK" if from_me else "DELIVERY_ACK"),
            "message": given["message"],
            "contextInfo": given.get("context"),
            "messageType": next(iter(given["message"])),
            "messageTimestamp": int(time.time()) if ago is None else self._began - ago,
            "source": "android",
        }
        await self._post(given.get("event", "messages.upsert"), data)

    async def _edit(self, given: dict[str, Any]) -> None:
        said = {"editedMessage": {"conversation": given["text"]}}
        await self._change(given["id"], {"type": "MESSAGE_EDIT", **said})

    async def _delete(self, given: dict[str, Any]) -> None:
        await self._change(given["id"], {"type": "REVOKE"})

    async def _change(self, wa_id: str, change: dict[str, Any]) -> None:
        """As Evolution tells of it: from the point of view of the phone that changes it."""
        key = {"remoteJid": OWNER, "fromMe": True, "id": wa_id}
        change["timestampMs"] = int(time.time() * 1000)
        await self._post("messages.edited", {"key": key, **change})

    async def _post(self, event: str, data: dict[str, Any]) -> None:
        body = {"event": event, "instance": "padaria", "data": data, "sender": OWNER}
        async with patient() as client:
            answer = await client.post(
                f"{self._stage.router_url}/webhook/padaria",
                json=body,
                headers={"X-Webhook-Secret": WEBHOOK_SECRET},
            )
        assert answer.status_code == 200, answer.text

    async def _llm(self, texts: list[str]) -> None:
        self._stage.llm.answers(*texts)

    async def _hold(self, held: bool) -> None:
        if held:
            self._gate = self._stage.llm.hold()
        elif self._gate is not None:
            self._gate.open()
            self._stage.llm.heal()

    async def _asked(self, times: int) -> None:
        await self._stage.llm.asked(times)

    async def _settle(self, _: object) -> None:
        await self._stage.turns_end()

    async def _later(self, seconds: float) -> None:
        await self._stage.time_passes(seconds=seconds)

    async def _waits(self, _: object) -> None:
        await self._stage.until(
            "select id from turns where waiting"
            " and run_after > hybridflow.clock() + interval '1 minute'",
            bool,
        )

    async def _states(self, told: bool) -> None:
        if not told:
            self._stage.shop.tells_states = ()

    async def _undelivered(self, _: object) -> None:
        (sent,) = await self._stage.until(
            "select wa_id from messages where sender = 'ai' and send_state = 'sent'"
            " order by id desc limit 1",
            lambda rows: bool(rows) and rows[0]["wa_id"] is not None,
        )
        said = {"keyId": sent["wa_id"], "remoteJid": MARIA, "fromMe": True, "status": "ERROR"}
        await self._post("messages.update", said)

    async def _resumes(self, _: object) -> None:
        await self._stage.until("select id from sessions where is_paused", bool)
        await self._stage.time_passes(minutes=2)


@BOTH_HANDLERS
@pytest.mark.parametrize("name", CASES)
async def test_it_goes_as_expected(stage: Stage, name: str):
    case = CASES[name]
    if case["tenant"]:
        await stage.database.call(
            "change_tenant", {"tenant_id": stage.tenant_id, "values": case["tenant"]}
        )
    await Player(stage).play(case["steps"])
    for what, value in case["expected"].items():
        assert await seen(stage, what, value) == value, what


async def seen(stage: Stage, what: str, value: Any) -> Any:
    """What the state, the LLM and the phone say of it."""
    match what:
        case "decisions":
            rows = await stage.sql(
                "select decision ->> 'decision' as d from processed_events"
                " where decision ->> 'decision' not in ('own_message', 'status_applied')"
                " order by id"
            )
            return [
                row["d"] for row in rows if row["d"] is not None and "connection" not in row["d"]
            ]
        case "paused":
            return await stage.paused()
        case "asked":
            return len(stage.llm.requests)
        case "answered":
            return len(stage.maria.replies)
        case "replies":
            return stage.maria.replies
        case "reply_has":
            return value if value in stage.maria.replies[-1] else stage.maria.replies
        case "told" | "told_all" | "not_told":
            return told(stage.llm.requests[-1].text, what, value)
        case "warns":
            return await warned(stage, value)
    raise AssertionError(f"no case expects {what}")


def told(text: str, what: str, value: Any) -> Any:
    """What the LLM was shown: the value where it is as it should be."""
    match what:
        case "told":
            is_so = value in text
        case "told_all":
            is_so = all(each in text for each in value)
        case _:
            is_so = value not in text
    return value if is_so else text


async def warned(stage: Stage, value: str) -> Any:
    """What the check of the instance warns of."""
    checked = f"/api/instances/{stage.shop.name}/test-webhook"
    async with patient(base_url=stage.router_url) as client:
        answer = await client.get(checked, headers={"X-API-Key": API_KEY})
    warnings: list[str] = answer.json()["warnings"]
    return value if any(value in warning for warning in warnings) else warnings
