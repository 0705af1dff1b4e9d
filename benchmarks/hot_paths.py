"""All calls that a busy router makes, in the order of a conversation, on a filled database."""

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
Call = Callable[[str, str, Json], Awaitable[Json]]
"""Makes one call of a path: its name, the function, and the argument."""

_POLICY = {"resume_after_hours": 2, "answer_within_minutes": 60, "debounce_seconds": 0}
_BOSS = {"kind": "deployment", "name": "benchmark"}


class Walk:
    """Walks all paths once, and can be repeated. `sessions`: the number in the filled database."""

    def __init__(self, call: Call, sessions: int) -> None:
        self._call = call
        # From the middle of the large tenant's sessions, and not paused.
        self._contacts = (n for n in itertools.count(sessions // 2) if n % 2 == 0 and n % 20)
        self._ids = itertools.count(1)

    async def all_paths(self) -> None:
        """Walk each path."""
        await self._a_reply_by_hand_of_the_router()
        await self._a_reply_through_n8n()
        await self._an_outage()
        await self._a_takeover()
        await self._what_an_operator_looks_at()
        await self._what_an_operator_looks_for()
        await self._what_a_person_asks_for()
        await self._what_runs_by_itself()

    async def _a_reply_by_hand_of_the_router(self) -> None:
        question = self._message(self._known(), "tem bolo?")
        await self._ingest("a known contact writes", question)
        await self._ingest("the same message comes again", question)
        await self._ingest("somebody new writes", self._message(f"5521{next(self._ids)}", "oi"))
        for turn in await self._claim("turns are claimed"):
            held = {"turn_id": turn["turn_id"], "token": turn["token"]}
            budget = held | {"day": None, "turns": 1, "tokens": 900, "policy": {}}
            await self._call("a budget is reserved", "reserve_budget", budget)
            reply = {"parts": ["Tem."], "handler": "fallback", "provider": "anthropic"}
            part = held | {"part": 0, "body": "Tem.", "lease_seconds": 45, "reply": reply}
            begun = await self._call("a reply is saved and begins to be sent", "begin_send", part)
            sent = held | {
                "tenant_id": 1,
                "message_id": begun["message_id"],
                "wa_id": f"3EB0{begun['message_id']:08X}",
                "status": "PENDING",
            }
            await self._call("a send is recorded", "finish_send", sent)
            echo = self._message(begun["jid"].partition("@")[0], "Tem.", from_me=True)
            echo |= {"wa_id": sent["wa_id"], "key": f"messages.upsert:1:{sent['wa_id']}"}
            await self._ingest("its echo comes back", echo)
            read = {
                "type": "status",
                "event": "messages.update",
                "key": f"messages.update:{sent['wa_id']}:read",
                "status": "READ",
            }
            await self._ingest("it is read", echo | read)

    async def _a_reply_through_n8n(self) -> None:
        await self._ingest("a known contact writes", self._message(self._known(), "e amanhã?"))
        for turn in await self._claim("turns are claimed"):
            held = {"turn_id": turn["turn_id"], "token": turn["token"]}
            await self._call("a turn is forwarded", "forward_turn", held | {"lease_seconds": 60})
            execution = {"execution_id": str(turn["turn_id"])}
            await self._call("a flow begins", "begin_flow", held | execution)
            await self._call("a flow's token is looked up", "prove_flow", held)
            await self._call("the gateway looks at a turn", "look_at_turn", held)
            said = {"kind": "text", "body": "Também.", "lease_seconds": 45}
            begun = await self._call("a flow's send begins", "begin_flow_send", held | said)
            sent = {
                "tenant_id": 1,
                "message_id": begun["message_id"],
                "wa_id": f"3EB1{begun['message_id']:08X}",
            }
            await self._call("a send is recorded", "finish_send", held | sent)
            await self._call("a turn is finished", "finish_turn", held)

    async def _an_outage(self) -> None:
        for away in ("llm", "evolution"):
            await self._ingest("a known contact writes", self._message(self._known(), "e hoje?"))
            for turn in await self._claim("turns are claimed"):
                failed = {"turn_id": turn["turn_id"], "token": turn["token"], "kind": "away"}
                failed |= {"away": away, "error": "?", "max_attempts": 5, "base_seconds": 2}
                await self._call("a turn is put off", "fail_turn", failed)
        event = {"instance": "shop1", "event": "connection.update", "type": "connection"}
        event |= {"key": f"connection:{next(self._ids)}", "state": "open", "reason": "200"}
        await self._ingest("the line is up again", event)

    async def _a_takeover(self) -> None:
        await self._ingest(
            "the owner writes", self._message(self._known(), "deixa comigo", from_me=True)
        )
        await self._ingest(
            "a group is ignored",
            self._message("120363000000000001", "oi") | {"chat": "group"},
        )

    async def _what_an_operator_looks_at(self) -> None:
        tenant = {"tenant_id": 1}
        page = await self._ask("sessions are listed", "list_sessions", tenant)
        cursor = {"cursor": page["next_cursor"]}
        await self._ask("sessions are listed", "list_sessions", tenant | cursor)
        await self._ask("paused sessions are listed", "list_sessions", tenant | {"paused": True})
        session = tenant | {"session_id": page["items"][0]["id"]}
        await self._ask("a session is read", "get_session", session)
        page = await self._ask("a session's messages are listed", "list_messages", session)
        page = await self._ask("a tenant's messages are listed", "list_messages", tenant)
        cursor = {"cursor": page["next_cursor"]}
        await self._ask("a tenant's messages are listed", "list_messages", tenant | cursor)
        page = await self._ask("turns are listed", "list_turns", tenant)
        turn = tenant | {"turn_id": page["items"][0]["id"]}
        await self._ask("a turn is read", "get_turn", turn)
        await self._ask("a turn's life is told", "tell_turn", turn)
        await self._ask("a session's turns are listed", "list_turns", session)
        await self._ask("spending is read", "get_spending", tenant)
        pause = session | {"source": "operator"}
        await self._ask("a session is paused", "pause_session", pause)
        await self._ask("a session is resumed", "resume_session", pause | {"policy": _POLICY})
        await self._ask("the audit log is read", "list_audit", tenant)

    async def _what_an_operator_looks_for(self) -> None:
        tenant = {"tenant_id": 1}
        number = self._known()
        for name, contact in {
            "the beginning of a number": number[:12],
            "the end of a number": number[4:],
            "the beginning of all numbers": "5511",
            "a part of numbers": "1000000",
            "a part of no number": "99999",
            "a name that nobody has": "zz",
        }.items():
            path = f"{name} is searched"
            asked = tenant | {"contact": contact}
            page = await self._ask(path, "list_sessions", asked)
            if page["next_cursor"]:
                await self._ask(path, "list_sessions", asked | {"cursor": page["next_cursor"]})
            await self._ask(path, "list_sessions", asked | {"paused": True})
        await self._ask(
            "who is not paused is searched", "list_sessions", tenant | {"paused": False}
        )
        nobody = {"sender": "operator"}
        page = await self._ask("messages are searched", "list_messages", tenant | nobody)
        await self._ask(
            "messages are searched",
            "list_messages",
            tenant | nobody | {"cursor": page["next_cursor"]},
        )
        session = tenant | {"session_id": await self._session_of(number)}
        await self._ask("a session's messages are searched", "list_messages", session | nobody)
        await self._ask("a session's turns are searched", "list_turns", session | {"state": "dead"})
        await self._ask("dead turns are searched", "retry_turns", tenant | {"limit": 20})
        nothing = {"error_kind": "nothing"}
        await self._ask("dead turns are searched", "retry_turns", tenant | nothing)
        await self._ask("the audit log is searched", "list_audit", tenant | {"action": "nothing"})

    async def _what_a_person_asks_for(self) -> None:
        number = self._known()
        person: Json = {"tenant_id": 1, "jids": [f"{number}@s.whatsapp.net"]}
        session = {"tenant_id": 1, "session_id": await self._session_of(number)}
        begun = person | {"rows_follow": True}
        await self._ask("an export begins", "export_contact", begun)
        for rows in (
            *("messages", "archived_messages", "turns", "notices", "spending"),
            *("kept_files", "events", "archived_events", "changes"),
        ):
            await self._ask(f"{rows} are exported", "export_rows", session | {"list": rows})
        await self._ask("everything is exported", "export_contact", person)
        await self._ask("some of a history is erased", "erase_history", person | {"batch": 4})
        hashes = {"hashes": {person["jids"][0]: ["0" * 64]}}
        await self._ask("a contact is erased", "erase_contact", person | hashes)

    async def _session_of(self, number: str) -> int:
        asked = {"tenant_id": 1, "contact": number}
        page = await self._ask("a number is searched", "list_sessions", asked)
        session_id: int = page["items"][0]["id"]
        return session_id

    async def _what_runs_by_itself(self) -> None:
        lease = {"limit": 10, "lease_seconds": 60, "max_attempts": 5}
        await self._call("notices are claimed", "claim_notices", lease)
        await self._call("media jobs are claimed", "claim_media_jobs", lease)
        files = {"stores": ["folder"], "limit": 20, "retry_seconds": 600}
        await self._call("kept files are looked after", "claim_kept_files", files)
        await self._call("executions to erase", "claim_executions_to_erase", {"limit": 10})
        await self._call("the guards are read", "webhook_guards", {})
        await self._call("the health is asked", "check_database", {})
        await self._what_is_followed()
        await self._call("pauses end", "auto_resume", {"policy": _POLICY})
        await self._call("a batch is pruned", "prune", {"batch": 100})

    async def _what_is_followed(self) -> None:
        """What a router asks four times a second, and what a returning follower asks."""
        tenant = {"tenant_id": 1}
        position = (await self._ask("changes are followed", "follow_tenant", tenant))["position"]
        await self._ingest("a known contact writes", self._message(self._known(), "e depois?"))
        since = {"since": position}
        await self._ask("changes are followed", "follow_tenant", tenant | since)
        await self._call("changes are read", "read_changes", {"tenant_ids": [1]} | since)
        followers = {"followers": [{"caller": _BOSS} | tenant]}
        await self._call("rights are looked at", "may_follow", followers)
        await self._call("old changes are deleted", "forget_changes", {})

    async def _ask(self, path: str, function: str, argument: Json) -> Json:
        asked = {"caller": _BOSS, "function": function, "argument": argument}
        result: Json = (await self._call(path, "as_operator", asked))["result"]
        return result

    async def _ingest(self, path: str, event: Json) -> None:
        answer = await self._call(path, "ingest_events", {"events": [event], "policy": _POLICY})
        (decision,) = answer["decisions"]
        if decision["outcome"] == "failed":
            raise AssertionError(f"{path}: {decision}")

    async def _claim(self, path: str) -> list[Json]:
        argument = {
            "limit": 5,
            "lease_seconds": 60,
            "max_attempts": 5,
            "history_limit": 40,
            "worker": "benchmark",
        }
        turns: list[Json] = (await self._call(path, "claim_turns", argument))["turns"]
        return turns

    def _known(self) -> str:
        return str(5511000000000 + next(self._contacts))

    def _message(self, number: str, text: str, *, from_me: bool = False) -> Json:
        wa_id = f"NEW{next(self._ids)}"
        return {
            "instance": "shop1",
            "event": "messages.upsert",
            "type": "message",
            "key": f"messages.upsert:{int(from_me)}:{wa_id}",
            "origin": "upsert",
            "wa_id": wa_id,
            "from_me": from_me,
            "chat": "contact",
            "jids": [f"{number}@s.whatsapp.net"],
            "author_name": None,
            "status": "SERVER_ACK",
            "kind": "text",
            "text": text,
            "expects_reply": not from_me,
            "sent_at": datetime.now(UTC).isoformat(),
        }
