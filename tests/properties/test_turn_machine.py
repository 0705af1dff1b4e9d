"""The turn state machine against the SQL functions, in random interleavings.

Never two sends for one turn, never a send while paused, never a lost message.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from router.errors import NotFound
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import MARIA, MARIA_LID, POLICY, Conversation, answered, held

WAYS = st.sampled_from([(MARIA,), (MARIA_LID,), (MARIA_LID, MARIA)])


class Phone:
    """What really left, as WhatsApp would know it: the ground truth."""

    def __init__(self) -> None:
        self.said: list[tuple[int, int, str]] = []  # turn, part, wa_id

    def take(self, turn_id: int, part: int) -> str:
        wa_id = f"3EB0{len(self.said):08X}"
        self.said.append((turn_id, part, wa_id))
        return wa_id


class Counted(Conversation):
    """Counts how often each turn was claimed."""

    def __init__(self, database: DirectDatabase) -> None:
        super().__init__(database)
        self.claims: Counter[int] = Counter()

    async def claim(self, **how: Any) -> list[Json]:
        turns = await super().claim(**how)
        self.claims.update(turn["turn_id"] for turn in turns)
        return turns


class TurnMachine(RuleBasedStateMachine):
    """Everybody who can act on a session, acting in any order."""

    url: str
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.talk = Counted(self.wait(DirectDatabase.connect(self.url, size=1)))
        self.wait(self.talk.sql("truncate tenants cascade"))
        self.tenant_id = self.wait(self.talk.open_shop())
        self.wait(self.talk.open_shop("restarting", on_new_message="restart"))
        self.phone = Phone()
        self.attempts: list[Json] = []  # every claim ever made, living or dead
        self.in_flight: list[tuple[Json, int, Json, bool]] = []
        self.made_for: dict[str, set[str]] = {}  # what each text of a reply was made in sight of
        self.written = 0
        self.texts = 0
        self.humans = True

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        try:
            self.everything_heals()
            self.every_message_is_answered()
        finally:
            self.wait(self.talk.database.close())

    def everything_heals(self) -> None:
        """What is in flight ends, everybody is resumed, and routers work until it is quiet."""
        for turn, _, begun, left in self.in_flight:
            if left:
                self.wait(self.talk.finish(turn, begun, begun["wa_id"]))
            else:
                self.drop(turn, begun)
        self.in_flight.clear()
        for session in self.wait(self.talk.sql("select id, tenant_id from sessions")):
            named = {"tenant_id": session["tenant_id"], "session_id": session["id"]}
            self.wait(
                self.talk.database.call(
                    "resume_session", {**named, "source": "operator", "policy": POLICY}
                )
            )
        for _ in range(30):
            self.wait(self.talk.travel(seconds=61))
            turns = self.wait(self.talk.claim(max_attempts=1000, lease=60))
            for turn in turns:
                self.work_on(turn)
            if not turns and not self.active():
                return
        raise AssertionError(f"it never gets quiet: {self.active()}")

    def active(self) -> list[dict[str, Any]]:
        active: list[dict[str, Any]] = self.wait(
            self.talk.sql(
                "select id, state, stop_reason, beside, waits, reply from turns"
                " where state in ('pending', 'running', 'sending')"
            )
        )
        return active

    def work_on(self, turn: Json) -> None:
        """Do as an attempt does, and nothing fails."""
        self.settle_doubts(turn)
        row = self.wait(self.talk.sql("select * from turns where id = $1", turn["turn_id"]))[0]
        if row["state"] not in ("running", "sending"):
            return
        if row["reply"] is None and turn["parts"]:
            if "refused" in self.wait(self.talk.database.call("begin_anew", held(turn))):
                self.wait(self.talk.database.call("finish_turn", held(turn)))
            return
        self.texts += 1
        reply = row["reply"] or [f"resposta final {self.texts}"]
        if row["reply"] is None:
            self.make(turn, reply)
        for part, body in enumerate(reply):
            begun = self.wait(self.talk.begin(turn, body, part=part))
            if "refused" not in begun:
                self.wait(self.talk.finish(turn, begun, self.phone.take(turn["turn_id"], part)))

    def every_message_is_answered(self) -> None:
        asked = self.wait(
            self.talk.sql(
                "select m.body, m.turn_id, t.state, t.reason, array(select r.body from messages r"
                " where r.turn_id = m.turn_id and r.from_me and r.send_state = 'sent') as replies"
                " from messages m left join turns t on t.id = m.turn_id"
                " where not m.from_me and m.sent_at > hybridflow.clock() - interval '50 minutes'"
                " and t.state is distinct from 'dead'"
                " and not exists (select from messages o where o.session_id = m.session_id"
                " and o.sender in ('owner', 'operator') and o.send_state is distinct from 'failed'"
                " and (o.sent_at, o.id) > (m.sent_at, m.id))"
            )
        )
        lost = [
            each
            for each in asked
            if not any(each["body"] in self.made_for[reply] for reply in each["replies"])
        ]
        assert lost == []

    @rule(way=WAYS, ago=st.sampled_from([0, 0, 5, 40]))
    def customer_writes(self, way: tuple[str, ...], ago: float) -> None:
        decision = self.wait(self.talk.maria_writes(f"pergunta {self.written}", jids=way, ago=ago))
        assert decision["decision"] in ("turn_pending", "paused"), decision
        self.written += 1

    @initialize(humans=st.booleans())
    def people_are_there(self, humans: bool) -> None:
        """A human's message answers all that was asked before: half of the runs have none."""
        self.humans = humans

    @precondition(lambda self: self.humans)
    @rule(way=WAYS)
    def owner_writes(self, way: tuple[str, ...]) -> None:
        decision = self.wait(self.talk.owner_writes(f"humano {self.texts}", jids=way))
        self.texts += 1
        assert decision["decision"] in ("takeover", "takeover_over")
        assert decision["decision"] == "takeover_over" or self.paused(decision["session_id"])

    @rule()
    def operator_pauses(self) -> None:
        self.wait(
            self.talk.database.call(
                "pause_contact",
                {"tenant_id": self.tenant_id, "jids": [MARIA], "source": "operator"},
            )
        )

    @rule()
    def operator_resumes(self) -> None:
        who = {"tenant_id": self.tenant_id, "jids": [MARIA]}
        with suppress(NotFound):  # of whom nothing is known
            self.wait(
                self.talk.database.call(
                    "resume_contact", {**who, "source": "operator", "policy": POLICY}
                )
            )

    @rule(seconds=st.sampled_from([1, 3, 11, 61]))
    def time_passes(self, seconds: int) -> None:
        self.wait(self.talk.travel(seconds=seconds))

    @rule()
    def pauses_run_out(self) -> None:
        self.wait(self.talk.travel(hours=2.1))
        self.wait(self.talk.database.call("auto_resume", {"policy": POLICY}))

    @rule()
    def claim(self) -> None:
        self.attempts += self.wait(self.talk.claim(max_attempts=50))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), parts=st.integers(1, 3))
    def write_reply(self, data: st.DataObject, parts: int) -> None:
        turn = data.draw(st.sampled_from(self.attempts[-3:]))
        rows = self.wait(self.talk.sql("select reply from turns where id = $1", turn["turn_id"]))
        if rows[0]["reply"] is not None:
            return  # an attempt goes on with what is written down
        self.texts += 1
        self.make(turn, [f"resposta {self.texts} parte {n}" for n in range(parts)])

    def make(self, turn: Json, parts: list[str]) -> None:
        self.made_for.update({text: set(answered(turn)) for text in parts})
        self.wait(self.talk.save(turn, *parts))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), part=st.integers(0, 2), leaves=st.booleans())
    def begin_send(self, data: st.DataObject, part: int, leaves: bool) -> None:
        turn = data.draw(st.sampled_from(self.attempts[-3:]))
        row = self.wait(self.talk.sql("select reply from turns where id = $1", turn["turn_id"]))
        reply = row[0]["reply"] or []
        if part >= len(reply):
            return
        session_id = self.wait(
            self.talk.value("select session_id from turns where id = $1", turn["turn_id"])
        )
        paused = self.paused(session_id)
        begun = self.wait(self.talk.begin(turn, reply[part], part=part))
        if "refused" in begun:
            return
        assert not paused, "the fence let a send through during a pause"
        if leaves:
            self.in_flight.append((turn, part, begun, True))
            begun |= {"wa_id": self.phone.take(turn["turn_id"], part), "left_at": self.talk.now()}
        else:
            self.in_flight.append((turn, part, begun, False))

    @rule(parts=st.integers(1, 2), how=st.sampled_from(["refused", "lost", "taken"]))
    def an_attempt_ends_at_its_first_part(self, parts: int, how: str) -> None:
        """As often as it takes for what follows it: single steps seldom meet."""
        self.wait(self.talk.travel(seconds=61))
        for turn in self.wait(self.talk.claim(max_attempts=50)):
            self.attempts.append(turn)
            if turn["parts"]:
                continue
            self.texts += 1
            reply = turn["reply"] or [f"resposta {self.texts} parte {n}" for n in range(parts)]
            if turn["reply"] is None:
                self.make(turn, reply)
            begun = self.wait(self.talk.begin(turn, reply[0]))
            if "refused" in begun:
                continue
            if how == "refused":
                self.drop(turn, begun)
                self.wait(self.talk.fail(turn, "away"))
                continue
            if how == "taken":
                begun |= {"wa_id": self.phone.take(turn["turn_id"], 0), "left_at": self.talk.now()}
            self.in_flight.append((turn, 0, begun, how == "taken"))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), how=st.sampled_from(["answer", "echo", "doubt", "fail", "crash"]))
    def send_ends(self, data: st.DataObject, how: str) -> None:
        flight = data.draw(st.sampled_from(self.in_flight))
        self.in_flight.remove(flight)
        turn, _, begun, left = flight
        if how == "answer" and left:
            self.wait(self.talk.finish(turn, begun, begun["wa_id"]))
        elif how == "echo" and left:
            body = self.wait(
                self.talk.value("select body from messages where id = $1", begun["message_id"])
            )
            since = (self.talk.now() - begun["left_at"]).total_seconds()
            decision = self.wait(
                self.talk.owner_writes(
                    body,
                    wa_id=begun["wa_id"],
                    origin="send",
                    status="PENDING",
                    ago=since,
                    jids=[begun["jid"]],
                )
            )
            assert decision["decision"] == "own_message", decision
        elif how == "fail" and not left:
            self.drop(turn, begun)
            self.wait(self.talk.fail(turn, "away"))
        elif how == "doubt":
            argument = {"message_id": begun["message_id"], "error": "time-out", "check_after": 1}
            self.wait(
                self.talk.database.call(
                    "doubt_send",
                    {**held(turn), "tenant_id": turn["tenant"]["tenant_id"], **argument},
                )
            )

    def drop(self, turn: Json, begun: Json) -> None:
        send = {"tenant_id": turn["tenant"]["tenant_id"], "message_id": begun["message_id"]}
        self.wait(self.talk.database.call("fail_send", send))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """An attempt that finds a doubt asks the phone, as Evolution's store would tell."""
        self.settle_doubts(data.draw(st.sampled_from(self.attempts[-3:])))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def begin_anew(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.attempts[-3:]))
        self.wait(self.talk.database.call("begin_anew", held(turn)))

    @precondition(lambda self: self.attempts)
    @rule()
    def heart_beats(self) -> None:
        turns = [held(turn) for turn in self.attempts[-3:]]
        argument = {"turns": turns, "worker": "test", "lease_seconds": 60}
        self.wait(self.talk.database.call("renew_turns", argument))

    @precondition(lambda self: self.humans)
    @rule(how=st.sampled_from(["answer", "fail", "crash"]))
    def operator_writes(self, how: str) -> None:
        sessions = self.wait(
            self.talk.sql("select id from sessions where tenant_id = $1", self.tenant_id)
        )
        if not sessions:
            return
        named = {"tenant_id": self.tenant_id, "session_id": sessions[0]["id"]}
        self.texts += 1
        begun = self.wait(
            self.talk.database.call("begin_human_send", {**named, "body": f"operador {self.texts}"})
        )
        send = {"tenant_id": self.tenant_id, "message_id": begun["message_id"]}
        if how == "answer":
            sent = {**send, "wa_id": f"3EB0FF{self.texts:06X}"}
            self.wait(self.talk.database.call("finish_send", sent))
        elif how == "fail":
            self.wait(self.talk.database.call("fail_send", send))

    def settle_doubts(self, turn: Json) -> None:
        for part in turn["parts"]:
            if part["send_state"] not in ("sending", "unknown"):
                continue
            if any(f[2]["message_id"] == part["message_id"] for f in self.in_flight):
                continue  # still on its way: the store would say nothing yet
            known = self.wait(self.talk.sql("select wa_id from messages where wa_id is not null"))
            ids = [
                wa_id
                for turn_id, number, wa_id in self.phone.said
                if (turn_id, number) == (turn["turn_id"], part["part"])
                and wa_id not in {row["wa_id"] for row in known}
            ]
            self.wait(
                self.talk.database.call(
                    "settle_send",
                    {
                        **held(turn),
                        "message_id": part["message_id"],
                        "outcome": "sent" if ids else "not_sent",
                        "wa_id": ids[0] if ids else None,
                        "error": "",
                        "check_after": 1,
                        "give_up_hours": 24,
                    },
                )
            )

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), kind=st.sampled_from(["transient", "permanent"]))
    def llm_fails(self, data: st.DataObject, kind: str) -> None:
        turn = data.draw(st.sampled_from(self.attempts[-3:]))
        row = self.wait(self.talk.sql("select state from turns where id = $1", turn["turn_id"]))
        if row[0]["state"] == "running":
            self.wait(self.talk.fail(turn, kind))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def router_stops(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.attempts[-3:]))
        self.wait(self.talk.database.call("release_turn", held(turn)))

    def paused(self, session_id: int) -> bool:
        return bool(
            self.wait(self.talk.value("select is_paused from sessions where id = $1", session_id))
        )

    @invariant()
    def no_part_is_on_the_phone_twice(self) -> None:
        sent = [(turn_id, part) for turn_id, part, _ in self.phone.said]
        assert len(sent) == len(set(sent)), self.phone.said

    @invariant()
    def no_message_is_lost(self) -> None:
        count = self.wait(self.talk.value("select count(*) from messages where not from_me"))
        assert count == self.written
        orphans = self.wait(
            self.talk.sql(
                "select m.body, s.is_paused from messages m join sessions s on s.id = m.session_id"
                " where not m.from_me and m.turn_id is null and not s.is_paused"
                " and not exists (select from messages o"
                " where o.session_id = m.session_id and o.from_me"
                " and (o.sent_at, o.id) > (m.sent_at, m.id))"
                " and s.resumed_at is null"
            )
        )
        assert orphans == []

    @invariant()
    def a_paused_session_is_about_to_say_nothing(self) -> None:
        talking = self.wait(
            self.talk.sql(
                "select t.id from turns t join sessions s on s.id = t.session_id"
                " where s.is_paused and t.state in ('pending', 'running')"
            )
        )
        assert talking == []

    @invariant()
    def every_claim_is_an_attempt_that_ended_or_is_under_way(self) -> None:
        """At most one is under way, and only while its turn is held."""
        turns = self.wait(
            self.talk.sql(
                "select t.id, t.attempt, (t.held and t.worker is not null)::int as open,"
                " count(a.id) as ended, max(a.attempt) as last from turns t"
                " left join turn_attempts a on a.turn_id = t.id group by t.id"
            )
        )
        for turn in turns:
            claims = self.talk.claims[turn["id"]]
            assert turn["ended"] + turn["open"] == claims, turn
            assert turn["attempt"] <= claims, turn
            assert turn["attempt"] <= max(turn["last"] or 0, turn["attempt"] * turn["open"]), turn

    @invariant()
    def a_finished_turn_has_said_all_or_says_that_it_is_incomplete(self) -> None:
        wrong = self.wait(
            self.talk.sql(
                "select t.id from turns t where t.state = 'sent' and not t.incomplete"
                " and jsonb_array_length(t.reply) > (select count(*) from messages m"
                " where m.turn_id = t.id and m.send_state = 'sent')"
            )
        )
        assert wrong == []


@pytest.mark.timeout(900)  # thousands of calls, each in a transaction of its own
def test_the_turn_machine_holds_in_any_interleaving(database_url: str):
    TurnMachine.url = database_url
    TurnMachine.loop = asyncio.new_event_loop()
    try:
        run_state_machine_as_test(
            TurnMachine,
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        TurnMachine.loop.close()
