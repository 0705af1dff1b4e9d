"""A conversation told in SQL calls: who writes what, and what the state makes of it."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from loopback.waiting import DEADLINE
from router.state.database import Json

MARIA = "5511955550001@s.whatsapp.net"
MARIA_LID = "201955550001001@lid"
JOAO = "5511955550002@s.whatsapp.net"
POLICY = {
    "debounce_seconds": 2,
    "debounce_cap_seconds": 10,
    "resume_after_hours": 2,
    "answer_within_minutes": 60,
}


class Conversation:
    """Talks to one database. Times are given as seconds (or a timedelta) before now."""

    def __init__(self, database: Any, instance: str = "shop") -> None:
        """`database` is a DirectDatabase, or a RestDatabase with a pool beside it."""
        self.database = database
        self.instance = instance
        self._ids = itertools.count(1)
        self.offset = timedelta()

    async def sql(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        rows = await self.database._pool.fetch(query, *arguments, timeout=DEADLINE)
        return [dict(row) for row in rows]

    async def value(self, query: str, *arguments: object) -> Any:
        return await self.database._pool.fetchval(query, *arguments, timeout=DEADLINE)

    async def open_shop(self, instance: str | None = None, **settings: object) -> int:
        name = instance or self.instance
        tenant_id: int = await self.value(
            "insert into tenants (instance_name, evo_server_url, system_prompt, llm_provider)"
            " values ($1, 'https://evolution.example', 'Be kind.', 'anthropic') returning id",
            name,
        )
        for column, setting in settings.items():
            await self.set_rule(column, setting, name)
        return tenant_id

    async def set_rule(self, column: str, setting: object, instance: str | None = None) -> None:
        await self.sql(
            f"update tenants set {column} = $1 where instance_name = $2",
            setting,
            instance or self.instance,
        )

    async def travel(self, **by: float) -> None:
        """Move the state's clock forward."""
        self.offset += timedelta(**by)
        seconds = self.offset.total_seconds()
        await self.sql(f"set hybridflow.clock_offset = '{seconds} seconds'")
        await self.sql("update tests.clock set clock_offset = $1", f"{seconds} seconds")

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def message(
        self,
        text: str,
        *,
        jids: Sequence[str] = (MARIA,),
        from_me: bool = False,
        wa_id: str | None = None,
        origin: str = "upsert",
        status: str | None = None,
        kind: str = "text",
        expects_reply: bool | None = None,
        ago: float = 0,
        instance: str | None = None,
        chat: str = "contact",
        author_name: str | None = "Maria",
    ) -> Json:
        wa_id = wa_id or f"{'3EB0' if from_me else 'AC'}{next(self._ids):08X}"
        name = {"upsert": "messages.upsert", "send": "send.message"}[origin]
        sent_at = (self.now() - timedelta(seconds=ago)).replace(microsecond=0)
        return {
            "instance": instance or self.instance,
            "event": name,
            "type": "message",
            "key": f"{name}:{int(from_me)}:{wa_id}",
            "origin": origin,
            "wa_id": wa_id,
            "from_me": from_me,
            "chat": chat,
            "jids": list(jids),
            "participant_name": None,
            "author_name": None if from_me else author_name,
            "status": status or ("SERVER_ACK" if from_me else "DELIVERY_ACK"),
            "kind": kind,
            "text": text,
            "expects_reply": (not from_me and kind != "reaction")
            if expects_reply is None
            else expects_reply,
            "media": None,
            "quoted": None,
            "sent_at": sent_at.isoformat(),
        }

    async def ingest(self, *events: Json, policy: Json | None = None) -> list[Json]:
        answer = await self.database.call(
            "ingest_events", {"events": list(events), "policy": policy or POLICY}
        )
        decisions: list[Json] = answer["decisions"]
        assert not [d for d in decisions if d["outcome"] == "failed"], decisions
        return decisions

    async def maria_writes(self, text: str, **how: Any) -> Json:
        return (await self.ingest(self.message(text, **how)))[0]

    async def owner_writes(self, text: str, **how: Any) -> Json:
        return (await self.ingest(self.message(text, from_me=True, **how)))[0]

    async def claim(self, **how: Any) -> list[Json]:
        turns: list[Json] = (await self.look(**how))["turns"]
        return turns

    async def look(self, *, limit: int = 10, lease: float = 60, max_attempts: int = 5) -> Json:
        """All that a claim answers."""
        return await self.database.call(
            "claim_turns",
            {
                "limit": limit,
                "lease_seconds": lease,
                "max_attempts": max_attempts,
                "history_limit": 50,
                "worker": "test",
                "objects": True,
            },
        )

    async def claim_one(self, **how: Any) -> Json:
        """The one turn that is due once the debounce is over."""
        await self.travel(seconds=11)
        turns = await self.claim(**how)
        assert len(turns) == 1, turns
        return turns[0]

    async def save(self, turn: Json, *parts: str) -> Json:
        return await self.database.call(
            "save_reply", {**held(turn), "parts": list(parts), "handler": "fallback"}
        )

    async def begin(self, turn: Json, body: str, part: int = 0) -> Json:
        return await self.database.call(
            "begin_send", {**held(turn), "part": part, "body": body, "lease_seconds": 45}
        )

    async def finish(self, turn: Json, begun: Json, wa_id: str, jid: str = MARIA) -> Json:
        return await self.database.call(
            "finish_send",
            {
                "tenant_id": turn["tenant"]["tenant_id"],
                "message_id": begun["message_id"],
                "wa_id": wa_id,
                "jid": jid,
                "status": "pending",
            },
        )

    async def fail(self, turn: Json, kind: str = "transient", **more: object) -> Json:
        return await self.database.call(
            "fail_turn",
            {
                **held(turn),
                "kind": kind,
                "error": "it did not work",
                "max_attempts": 5,
                "base_seconds": 2,
                **more,
            },
        )

    async def answer(self, text: str = "Olá!", wa_id: str | None = None) -> Json:
        """The whole way of one turn: claimed, written, sent."""
        turn = await self.claim_one()
        await self.save(turn, text)
        begun = await self.begin(turn, text)
        await self.finish(turn, begun, wa_id or f"3EB0A{next(self._ids):07X}")
        return turn

    async def session(self, jid: str = MARIA, instance: str | None = None) -> dict[str, Any]:
        rows = await self.sql(
            "select s.* from sessions s join session_identities i on i.session_id = s.id"
            " join tenants t on t.id = s.tenant_id where i.jid = $1 and t.instance_name = $2",
            jid,
            instance or self.instance,
        )
        assert len(rows) == 1, rows
        return rows[0]

    async def turns(self) -> list[dict[str, Any]]:
        return await self.sql("select * from turns order by id")

    async def turn_states(self) -> list[str]:
        return [turn["state"] for turn in await self.turns()]

    async def sayings(self) -> list[tuple[str, str]]:
        rows = await self.sql("select sender, body from messages order by sent_at, id")
        return [(row["sender"], row["body"]) for row in rows]


def held(turn: Json) -> Json:
    return {"turn_id": turn["turn_id"], "token": turn["token"]}


def answered(turn: Json) -> list[str]:
    """What the customer said that this turn answers."""
    return [message["body"] for message in turn["history"] if message["in_turn"]]
