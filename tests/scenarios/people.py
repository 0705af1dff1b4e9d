"""The people of a business on a stage: an operator at a desk, and the staff with their phone."""

from dataclasses import replace
from typing import Any

import httpx

from loopback.evolution import Customer, contents
from loopback.evolution.chats import PhoneMessage
from loopback.evolution.contents import Content
from tests.clients import patient
from tests.routers import API_KEY
from tests.scenarios.stage import Stage

ANA = "5531988880009"


class Desk:
    """Where an operator writes to a conversation over the API."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def post(self, key: str, /, **body: Any) -> httpx.Response:
        (session,) = await self.stage.sql(
            "select s.id from sessions as s join session_identities as i on i.session_id = s.id"
            " where i.jid = '5511955550001@s.whatsapp.net'"
        )
        headers = {"X-API-Key": API_KEY, "Idempotency-Key": key}
        async with patient(base_url=self.stage.router_url) as client:
            return await client.post(
                f"/api/sessions/{session['id']}/messages",
                params={"tenant_id": self.stage.tenant_id}, headers=headers, json=body,
            )  # fmt: skip

    async def writes(self, key: str, /, **body: Any) -> Any:
        answer = await self.post(key, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def ends(self, number: int = 1) -> list[dict[str, Any]]:
        """Wait until so many relays are over."""
        return await self.stage.until(
            "select * from relays order by id",
            lambda rows: len(rows) == number and all(row["finished_at"] for row in rows),
        )

    async def comes(self) -> None:
        """The time comes when what waits is tried again."""
        await self.stage.time_comes_to("select next_at from relays where finished_at is null")


def quoting(stage: Stage, content: Content, notice: PhoneMessage) -> Content:
    """Return anything that a message can hold, as an answer to the notice."""
    about = contents.quoting("", notice.wa_id, notice.text, stage.shop.jid)
    return replace(content, has_context=True, context=about.context)


class Staff:
    """Ana, who is told notices and quotes them."""

    def __init__(self, stage: Stage, ana: Customer) -> None:
        self.stage = stage
        self.ana = ana

    async def are_told(self, number: str = ANA) -> PhoneMessage:
        """Maria asks for a human, and Ana has the notice on her phone."""
        stage = self.stage
        await stage.change(notify_number=number)
        await stage.maria.writes("oi")
        await stage.maria.answered()
        await stage.turns_end()
        await stage.sql("update tenants set debounce_seconds = 600")
        await stage.maria.writes("meu bolo veio seco")
        token = "00000000-0000-4000-8000-000000000001"
        (turn,) = await stage.sql(
            "update turns set state = 'running', lease_until = now() + interval '1 hour',"
            " token_hash = hybridflow.hash_token($1::uuid) where state = 'pending' returning id",
            token,
        )
        await stage.sql("update tenants set debounce_seconds = 0")
        await stage.database.call(
            "hand_off", {"turn_id": turn["id"], "token": token, "reason": "asked_for_person"}
        )
        await self.ana.answered()
        await stage.until(
            "select state from notices", lambda rows: rows == [{"state": "delivered"}]
        )
        return next(each for each in self.ana.transcript if each.author == "api")

    async def word(self, number: int = 2) -> str:
        """The word back that comes as this message."""
        return (await self.ana.answered(number))[number - 1]
