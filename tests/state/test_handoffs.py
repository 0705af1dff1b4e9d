"""Handoffs: each is a row that waits until a human takes it, and is over when the AI goes on."""

import asyncio
from datetime import timedelta
from typing import Any, Literal

import asyncpg
import pytest

from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, held

OPERATOR = {"tenant_id": 1, "session_id": 1, "source": "operator"}


async def hand_off(talk: Conversation, reason: str = "upset", **more: Any) -> Json:
    """Maria writes, and a flow calls a human without a word."""
    await talk.maria_writes("quero falar com o gerente")
    turn = await talk.claim_one()
    told = await talk.database.call("hand_off", {**held(turn), "reason": reason, **more})
    assert told["ok"]
    return turn


async def handoffs(talk: Conversation) -> list[Json]:
    return [dict(row) for row in await talk.sql("select h.* from handoffs as h order by id")]


async def states(talk: Conversation) -> list[str]:
    return [each["state"] for each in await handoffs(talk)]


@pytest.mark.parametrize(
    ("said", "reason", "why"),
    [("upset", "upset", None), ("quer um reembolso", "other", "quer um reembolso")],
)
async def test_a_handoff_is_a_row_that_waits(talk: Conversation, said: str, reason: str, why: Any):
    turn = await hand_off(talk, said, summary="o bolo veio seco")
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["reason"], handoff["why"]) == ("waiting", reason, why)
    assert (handoff["summary"], handoff["words"]) == ("o bolo veio seco", "none")
    assert (handoff["turn_id"], handoff["session_id"]) == (turn["turn_id"], 1)
    session = await talk.session()
    assert (session["is_paused"], session["pause_source"]) == (True, "ai")
    assert session["pause_reason"] == f"{said}: o bolo veio seco"


async def test_a_refused_reply_hands_off_too(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.database.call("refuse_reply", {**held(turn), "rule": "leak"})
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["reason"]) == ("waiting", "not_allowed")


async def test_who_writes_on_the_phone_takes_it(talk: Conversation):
    await hand_off(talk)
    written = await talk.owner_writes("oi, aqui é a Ana")
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["taken_by"]) == ("taken", "owner")
    assert handoff["taken_message_id"] == written["message_id"]
    assert handoff["taken_at"] is not None


async def test_who_writes_by_hybridflow_takes_it(talk: Conversation):
    await hand_off(talk)
    asked = {"tenant_id": 1, "session_id": 1, "body": "oi", "author": "Ana"}
    await talk.database.call("begin_human_send", asked)
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["taken_by"], handoff["taken_name"]) == (
        "taken", "operator", "Ana",
    )  # fmt: skip


async def test_who_pauses_takes_it(talk: Conversation):
    await hand_off(talk)
    await talk.database.call("pause_session", OPERATOR)
    assert await states(talk) == ["taken"]


async def test_what_was_written_before_it_takes_nothing(talk: Conversation):
    await hand_off(talk)
    await talk.owner_writes("oi, de novo", ago=300)
    assert await states(talk) == ["waiting"]


async def test_a_message_that_was_no_humans_gives_it_back(talk: Conversation):
    await hand_off(talk)
    written = await talk.owner_writes("bom dia!")
    assert await states(talk) == ["taken"]
    await talk.sql("select hybridflow.withdraw_pause(1, $1)", written["message_id"])
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["taken_by"], handoff["taken_at"]) == ("waiting", None, None)
    assert (await talk.session())["is_paused"]


async def test_given_back_it_is_done(talk: Conversation):
    await hand_off(talk)
    await talk.owner_writes("resolvido")
    await talk.database.call("resume_session", {**OPERATOR, "policy": POLICY})
    (handoff,) = await handoffs(talk)
    assert handoff["state"] == "done"
    assert handoff["ended_at"] is not None


async def test_a_pause_that_runs_out_gives_a_taken_one_back(talk: Conversation):
    await hand_off(talk)
    await talk.owner_writes("resolvido")
    await talk.travel(hours=3)
    await talk.database.call("auto_resume", {"policy": POLICY})
    assert await states(talk) == ["done"]


async def test_one_at_a_time_waits_and_another_may_follow(talk: Conversation):
    await hand_off(talk)
    await talk.sql("select hybridflow.pause_for_loop(s) from sessions as s")
    assert await states(talk) == ["waiting"]
    await talk.database.call("resume_session", {**OPERATOR, "policy": POLICY})
    await hand_off(talk)
    assert await states(talk) == ["done", "waiting"]


async def test_of_two_sessions_that_become_one_the_older_handoff_waits(talk: Conversation):
    await hand_off(talk)
    await talk.maria_writes("oi", jids=[JOAO])
    turn = await talk.claim_one()
    await talk.database.call("hand_off", {**held(turn), "reason": "not_known"})
    assert await states(talk) == ["waiting", "waiting"]
    await talk.maria_writes("sou eu", jids=[MARIA_LID, MARIA])
    await talk.sql("select hybridflow.merge_sessions(1, 2)")
    rows = await talk.sql("select state, session_id from handoffs order by id")
    assert [(row["state"], row["session_id"]) for row in rows] == [("waiting", 1), ("done", 1)]


async def test_who_wrote_in_the_other_one_has_taken_it(talk: Conversation):
    """The owner wrote to a LID of which no phone was known: nobody tells that nobody has come."""
    await hand_off(talk)
    await talk.travel(minutes=5)
    written = await talk.owner_writes("oi, aqui é a Ana", jids=[MARIA_LID])
    assert await states(talk) == ["waiting"]
    await talk.maria_writes("oi Ana", jids=[MARIA_LID, MARIA])
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["taken_by"]) == ("taken", "owner")
    assert handoff["taken_message_id"] == written["message_id"]


async def test_each_change_of_one_is_told(talk: Conversation):
    await talk.sql("delete from changes")
    await hand_off(talk)
    for change in (
        talk.owner_writes("oi"),
        talk.database.call("resume_session", {**OPERATOR, "policy": POLICY}),
    ):
        assert await talk.value("select count(*) from changes where kind = 'handoff'") == 1
        await talk.sql("delete from changes")
        await change
    assert await talk.value("select count(*) from changes where kind = 'handoff'") == 1


# --- with words: the pause, the handoff and the send that tells of it are one step

WORDS: list[Any] = [
    "Sinto muito.",
    {"handoff": {"reason": "upset", "summary": "bolo seco"}, "text": "Já chamo a Ana."},
    "Ela responde aqui.",
]


async def handing_off(talk: Conversation, parts: list[Any] = WORDS) -> Json:
    await talk.maria_writes("o bolo veio seco!")
    turn = await talk.claim_one()
    asked = {**held(turn), "parts": parts, "handler": "fallback"}
    assert (await talk.database.call("save_reply", asked))["ok"]
    return turn


async def say(talk: Conversation, turn: Json, part: int, parts: list[Any] = WORDS) -> Json:
    body = parts[part] if isinstance(parts[part], str) else parts[part]["text"]
    begun = await talk.begin(turn, body, part)
    if "refused" not in begun:
        await talk.finish(turn, begun, f"3EB0AA{part}")
    return begun


async def test_it_begins_with_the_part_that_says_so(talk: Conversation):
    turn = await handing_off(talk)
    await say(talk, turn, 0)
    assert await states(talk) == []
    assert not (await talk.session())["is_paused"]
    begun = await talk.begin(turn, "Já chamo a Ana.", 1)
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["words"]) == ("waiting", "saying")
    assert handoff["said"] == "Já chamo a Ana.\n\nEla responde aqui."
    assert (await talk.session())["is_paused"]
    (notice,) = await talk.sql("select facts from notices")
    assert notice["facts"]["summary"] == "bolo seco"
    await talk.finish(turn, begun, "3EB0A1")
    assert (await say(talk, turn, 2))["ok"], "its own pause does not stop it"
    (row,) = await talk.sql("select state, reason, incomplete from turns")
    assert (row["state"], row["reason"], row["incomplete"]) == ("sent", "handoff", False)
    assert [h["words"] for h in await handoffs(talk)] == ["said"]


async def test_a_file_in_doubt_as_its_flow_calls_a_human_is_not_said_in_words(talk: Conversation):
    await talk.maria_writes("o bolo veio seco!")
    turn = await talk.claim_one()
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 20})
    image = {"kind": "image", "body": "[image]", "identity": "a", "told_as": []}
    begun = await talk.database.call(
        "begin_flow_send", {**held(turn), **image, "lease_seconds": 45}
    )
    called = {"reason": "upset", "say": ["Já chamo a Ana."]}
    assert (await talk.database.call("hand_off", {**held(turn), **called}))["ok"]
    again = await talk.claim_one()
    asked = {"message_id": begun["message_id"], "check_after": 3, "give_up_hours": 24}
    settled = await talk.database.call(
        "settle_send", {**held(again), **asked, "outcome": "not_sent"}
    )
    assert settled["turn_state"] == "sending"
    (part,) = again["parts"]
    assert part["given_up"], "or its '[image]' would be said as a text"
    assert [each["text"] for each in again["reply"][1:]] == ["Já chamo a Ana."]
    assert (await say(talk, again, 1, again["reply"]))["ok"]
    (row,) = await talk.sql("select state, reason, incomplete from turns")
    assert (row["state"], row["reason"], row["incomplete"]) == ("sent", "handoff", True)
    assert [(h["state"], h["words"]) for h in await handoffs(talk)] == [("waiting", "said")]


async def test_where_a_human_is_already_nothing_is_said_and_nothing_handed_off(talk: Conversation):
    turn = await handing_off(talk, WORDS[1:])
    await talk.owner_writes("oi, aqui é a Ana")
    assert (await talk.begin(turn, "Já chamo a Ana."))["refused"] == "paused"
    assert await states(talk) == []


@pytest.mark.parametrize("how", ["owner", "operator"])
async def test_once_a_human_is_there_the_rest_is_not_said(talk: Conversation, how: str):
    turn = await handing_off(talk, WORDS[1:])
    await say(talk, turn, 0, WORDS[1:])
    if how == "owner":
        await talk.owner_writes("oi, aqui é a Ana")
    else:
        await talk.database.call("pause_session", OPERATOR)
    assert (await talk.begin(turn, "Ela responde aqui.", 1))["refused"] == "paused"
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["words"]) == ("taken", "not_said")
    assert await talk.value("select count(*) from notices") == 1, "who is there need not be told"


async def test_what_did_not_leave_is_said_again_in_spite_of_the_pause(talk: Conversation):
    turn = await handing_off(talk, WORDS[1:])
    begun = await talk.begin(turn, "Já chamo a Ana.")
    await talk.database.call("fail_send", {"tenant_id": 1, "message_id": begun["message_id"]})
    assert (await talk.fail(turn, "away"))["state"] == "pending"
    assert (await talk.session())["is_paused"]
    await talk.maria_writes("alô?")  # recorded, and no reason to make the reply again
    await talk.travel(minutes=1)
    turn = await talk.claim_one()
    assert turn["reply"] == WORDS[1:]
    assert (await say(talk, turn, 0, WORDS[1:]))["ok"]
    assert (await say(talk, turn, 1, WORDS[1:]))["ok"]
    assert await states(talk) == ["waiting"]
    assert await talk.value("select count(*) from notices") == 1


async def test_a_handoff_stands_whose_words_are_given_up_and_the_notice_says_so(
    talk: Conversation,
):
    turn = await handing_off(talk, WORDS[1:2])
    begun = await talk.begin(turn, "Já chamo a Ana.")
    asked = {"tenant_id": 1, "message_id": begun["message_id"], "given_up": "Evolution refuses it"}
    await talk.database.call("fail_send", asked)
    assert await talk.turn_states() == ["dead"]
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["words"]) == ("waiting", "not_said")
    assert (await talk.session())["is_paused"]
    facts = [dict(n["facts"]) for n in await talk.sql("select facts from notices order by id")]
    assert facts[0]["words"] == "not_said"


async def test_where_people_were_told_already_they_are_told_of_that(talk: Conversation):
    turn = await handing_off(talk, WORDS[1:2])
    begun = await talk.begin(turn, "Já chamo a Ana.")
    await talk.sql("update notices set state = 'delivered', url_told_at = now()")
    asked = {"tenant_id": 1, "message_id": begun["message_id"], "given_up": "Evolution refuses it"}
    await talk.database.call("fail_send", asked)
    rows = await talk.sql("select facts ->> 'words' as words from notices where kind = 'handoff'")
    assert sorted(row["words"] or "" for row in rows) == ["", "not_said"]


async def test_given_back_what_was_not_said_yet_is_said_no_more(talk: Conversation):
    turn = await handing_off(talk, WORDS[1:])
    await say(talk, turn, 0, WORDS[1:])
    await talk.database.call("resume_session", {**OPERATOR, "policy": POLICY})
    assert (await talk.begin(turn, "Ela responde aqui.", 1))["refused"] == "paused"
    assert await states(talk) == ["done"]


@pytest.mark.parametrize("how", ["resumed", "nobody came"])
@pytest.mark.parametrize("at", ["waiting for the line", "claimed again"])
async def test_given_back_before_its_words_have_left_the_customer_is_answered_otherwise(
    talk: Conversation, at: str, how: str
):
    """Nothing of the handoff is on the phone, and its words may not be said any more."""
    turn = await handing_off(talk, WORDS[1:])
    begun = await talk.begin(turn, "Já chamo a Ana.")
    await talk.database.call("fail_send", {"tenant_id": 1, "message_id": begun["message_id"]})
    assert (await talk.fail(turn, "away"))["state"] == "pending"
    if how == "nobody came":
        assert await next_step(talk) == "reminded"
        assert await next_step(talk) == "told_customer"
    if at == "claimed again":
        await talk.travel(minutes=1)
        await talk.claim_one(lease=3600)
    if how == "nobody came":
        assert await next_step(talk) == "returned"
    else:
        await talk.database.call("resume_session", {**OPERATOR, "policy": POLICY})
    assert await talk.turn_states() == ["cancelled", "pending"]
    anew = await talk.claim_one()
    assert anew["reply"] is None
    assert [m["body"] for m in anew["history"] if m["in_turn"]] == ["o bolo veio seco!"]
    asked = {**held(anew), "parts": WORDS[1:], "handler": "fallback"}
    await talk.database.call("save_reply", asked)
    assert (await say(talk, anew, 0, WORDS[1:]))["ok"]  # it may hand off again


async def test_given_back_the_line_that_nobody_came_is_no_turn_of_the_customers(talk: Conversation):
    await hand_off(talk)
    for _ in range(2):
        await next_step(talk)
    await talk.database.call("resume_session", {**OPERATOR, "policy": POLICY})
    said, line, anew = await talk.turns()
    assert (said["state"], line["state"], anew["state"]) == ("sent", "cancelled", "pending")
    assert (await talk.claim_one())["turn_id"] == anew["id"]


async def test_what_else_was_about_to_be_said_is_cancelled(talk: Conversation):
    turn = await handing_off(talk, WORDS[1:2])
    await talk.maria_writes("alô?")
    assert await talk.turn_states() == ["running", "pending"]
    await say(talk, turn, 0, WORDS[1:2])
    assert await talk.turn_states() == ["sent", "cancelled"]


async def test_an_echo_before_the_answer_takes_nothing(talk: Conversation):
    """Its words are on the phone before Evolution has said so: they are ours."""
    turn = await handing_off(talk, WORDS[1:2])
    begun = await talk.begin(turn, "Já chamo a Ana.")
    echo = await talk.owner_writes("Já chamo a Ana.", wa_id="3EB0AA", origin="send")
    assert echo["decision"] == "own_message"
    await talk.finish(turn, begun, "3EB0AA")
    assert await states(talk) == ["waiting"]


async def test_a_refused_reply_becomes_a_handoff_with_words(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    asked = {**held(turn), "rule": "leak", "say": "Já chamo alguém."}
    assert (await talk.database.call("refuse_reply", asked))["outcome"] == "handoff"
    assert await states(talk) == [], "it begins with its words"
    turn = await talk.claim_one()
    assert turn["reply"][0]["text"] == "Já chamo alguém."
    await talk.begin(turn, "Já chamo alguém.")
    (handoff,) = await handoffs(talk)
    assert (handoff["state"], handoff["reason"]) == ("waiting", "not_allowed")


# --- nobody comes


async def looked_at(talk: Conversation) -> list[Json]:
    return list((await talk.database.call("look_at_handoffs", {"limit": 10}))["handoffs"])


async def press(talk: Conversation, handoff: Json, **more: Any) -> Any:
    asked = {"handoff_id": handoff["handoff_id"], "step": handoff["step"], "say": "Ninguém ainda."}
    return (await talk.database.call("press_handoff", {**asked, "policy": POLICY, **more}))["did"]


async def next_step(talk: Conversation) -> Any:
    await talk.travel(minutes=16)
    (handoff,) = await looked_at(talk)
    return await press(talk, handoff)


async def test_an_untaken_one_never_ends_by_itself(talk: Conversation):
    await hand_off(talk)
    await talk.travel(hours=30)
    await talk.database.call("auto_resume", {"policy": POLICY})
    await talk.maria_writes("alô?")
    assert await states(talk) == ["waiting"]
    assert (await talk.session())["is_paused"]


async def test_people_then_the_next_number_then_the_customer_then_the_ai(talk: Conversation):
    await talk.set_rule("notify_number", "5511955550009")
    await talk.set_rule("notify_number_next", "5511955550010")
    await hand_off(talk)
    assert await looked_at(talk) == [], "not before its time"
    assert await next_step(talk) == "reminded"
    assert await next_step(talk) == "told_next"
    await talk.maria_writes("alguém aí?")
    assert await next_step(talk) == "told_customer"
    claimed = await talk.database.call(
        "claim_notices", {"limit": 9, "lease_seconds": 60, "max_attempts": 5}
    )
    told = [(n["number"], n["facts"].get("waited_minutes")) for n in claimed["notices"]]
    assert told == [("5511955550009", None), ("5511955550009", 16), ("5511955550010", 32)]
    turn = await talk.claim_one()
    assert turn["reply"] == [{"line": 1, "text": "Ninguém ainda."}]
    begun = await talk.begin(turn, "Ninguém ainda.")
    await talk.finish(turn, begun, "3EB0CC")
    assert (await talk.session())["is_paused"]
    assert await next_step(talk) == "returned"
    assert await states(talk) == ["expired"]
    assert not (await talk.session())["is_paused"]
    waiting = await talk.claim_one()
    assert [m["body"] for m in waiting["history"] if m["in_turn"]] == ["alguém aí?"]


async def test_each_step_is_done_once(talk: Conversation):
    await hand_off(talk)
    await talk.travel(minutes=16)
    (handoff,) = await looked_at(talk)
    assert [await press(talk, handoff) for _ in range(3)] == ["reminded", None, None]
    assert await looked_at(talk) == []


async def test_without_a_next_number_the_customer_is_told(talk: Conversation):
    await hand_off(talk)
    assert [await next_step(talk) for _ in range(2)] == ["reminded", "told_customer"]


async def test_a_tenant_may_have_it_wait(talk: Conversation):
    await talk.set_rule("handoff_untaken", "wait")
    await hand_off(talk)
    assert [await next_step(talk) for _ in range(3)] == ["reminded", "told_customer", "waits"]
    await talk.travel(hours=30)
    assert await looked_at(talk) == []
    assert await states(talk) == ["waiting"]
    assert (await talk.session())["is_paused"]


async def test_who_comes_ends_it(talk: Conversation):
    await hand_off(talk)
    assert [await next_step(talk) for _ in range(2)] == ["reminded", "told_customer"]
    turn = await talk.claim_one()
    await talk.owner_writes("oi, aqui é a Ana")
    assert (await talk.begin(turn, "Ninguém ainda."))["refused"] == "paused"
    await talk.travel(minutes=16)
    assert await looked_at(talk) == []
    assert await states(talk) == ["taken"]


async def test_while_it_is_closed_nothing_is_done(talk: Conversation):
    await hand_off(talk)
    await talk.travel(minutes=16)
    (handoff,) = await looked_at(talk)
    later = (talk.now() + timedelta(hours=9)).isoformat()
    assert await press(talk, handoff, due_at=later) is None
    assert await looked_at(talk) == []
    await talk.travel(hours=10)
    (handoff,) = await looked_at(talk)
    assert handoff["step"] == 0


async def test_to_a_machine_nothing_is_said(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.sql("select hybridflow.pause_for_loop(s) from sessions as s")
    assert [await next_step(talk) for _ in range(2)] == ["reminded", "returned"]


# --- shown


async def test_handoffs_are_listed_and_one_is_in_its_session(talk: Conversation):
    await hand_off(talk, "upset", summary="bolo seco")
    asked = {"tenant_id": 1, "session_id": 1, "policy": POLICY}
    shown = (await talk.database.call("get_session", asked))["session"]["handoff"]
    assert (shown["state"], shown["summary"], shown["reminded"]) == ("waiting", "bolo seco", False)
    await talk.database.call("resume_session", {**OPERATOR, "policy": POLICY})
    assert (await talk.database.call("get_session", asked))["session"]["handoff"] is None
    await hand_off(talk)
    for state, ids in ((None, [2, 1]), ("waiting", [2]), ("done", [1]), ("expired", [])):
        page = await talk.database.call("list_handoffs", {"tenant_id": 1, "state": state})
        assert [item["id"] for item in page["items"]] == ids
    page = await talk.database.call("list_handoffs", {"tenant_id": 1, "limit": 1})
    more = {"tenant_id": 1, "limit": 1, "cursor": page["next_cursor"]}
    rest = await talk.database.call("list_handoffs", more)
    assert [item["id"] for item in rest["items"]] == [1]


@pytest.mark.parametrize("how", ["wrote", "asked"])
async def test_a_handoff_that_nobody_takes_shortens_no_humans_pause(
    talk: Conversation, how: Literal["wrote", "asked"]
):
    """It began while a human's pause lasted already: their two hours count, not its one."""
    session = await talk.maria_writes("oi")
    about = {"tenant_id": 1, "session_id": session["session_id"]}
    if how == "wrote":
        await talk.owner_writes("deixa comigo")
    else:
        await talk.database.call("pause_session", {**about, "source": "operator"})
    await talk.travel(seconds=60)
    await talk.sql(
        "select hybridflow.pause_for_human(s, 'asked', null) from sessions as s where s.id = $1",
        session["session_id"],
    )
    for step in range(4):
        await talk.travel(minutes=15)
        (handoff,) = await talk.sql("select id from handoffs")
        pressed = await talk.database.call(
            "press_handoff",
            {"handoff_id": handoff["id"], "step": step, "say": "…", "policy": POLICY},
        )
    assert pressed["did"] in ("expired", None), "the AI has not returned"
    assert await talk.value("select state from handoffs") == "expired"
    assert (await talk.session(MARIA))["is_paused"]
    await talk.travel(minutes=61)
    over = await talk.database.call("pauses_over", {"policy": POLICY})
    assert over["session_ids"] == [session["session_id"]]


async def test_who_waits_for_a_turn_holds_no_handoff(talk: Conversation, database_url: str):
    """A claim that ends a turn writes down what became of its handoff: turn first, for all."""
    turn = await handing_off(talk, WORDS[1:])
    await say(talk, turn, 0, WORDS[1:])
    said = {"tenant_id": 1, "session_id": 1, "body": "oi, é a Ana"}
    claim = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(30), claim.transaction():
            await claim.execute("select from turns for update")
            writes = asyncio.create_task(talk.database.call("begin_human_send", said))
            while not await claim.fetchval("select count(*) from pg_locks where not granted"):
                await asyncio.sleep(0.01)
            await claim.execute("select from handoffs for update nowait")
    finally:
        await claim.close()
    assert (await writes)["ok"]
    assert await states(talk) == ["taken"]
