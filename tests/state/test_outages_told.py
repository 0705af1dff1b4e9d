"""What gets no answer is told: an outage as one, with its count and its end. The state's part."""

import asyncio
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from router.notices.outage_words import WHY
from router.notices.outages import ONE_BY_ONE
from router.state.calls.turns import Cause
from router.state.direct import DirectDatabase
from tests.state.conversation import Conversation, Json, held
from tests.state.test_notices import STAFF, claim, claim_one, token

SCHEMA = Path(__file__).parents[2] / "database" / "schema"
GUIDE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text()
SORRY = "Um momento, já chamamos alguém."
EMPTY: dict[str, Any] = {
    "kind": "away",
    "away": "llm",
    "cause": "account_empty",
    "answer_within_minutes": 60,
}


async def write(talk: Conversation, who: int, text: str = "Abrem amanhã?") -> None:
    await talk.ingest(talk.message(text, jids=[f"55119555500{who:02}@s.whatsapp.net"]))


async def fail_all(talk: Conversation, **how: Any) -> list[Json]:
    await talk.travel(minutes=1)
    turns = await talk.claim(limit=20)
    return [await talk.fail(turn, **(EMPTY | how)) for turn in turns]


async def told(talk: Conversation, **more: Any) -> list[Json]:
    """Have every notice that is due told, and return them."""
    notices = await claim(talk)
    for notice in notices:
        await talk.database.call(
            "finish_notice", {**token(notice), "handler": "fallback", "url_told": True, **more}
        )
    return notices


async def works(talk: Conversation) -> None:
    """The LLM gives a reply to somebody."""
    await write(talk, 99, "oi")
    await talk.travel(minutes=1)
    turns = await talk.claim(limit=20)
    for turn in turns:
        if turn["tenant"]["instance_name"] == "shop":
            await says(talk, turn, "Olá!")
            await talk.database.call("finish_turn", held(turn))


async def says(talk: Conversation, turn: Json, *parts: str) -> None:
    made = {"parts": list(parts), "handler": "fallback", "provider": "anthropic"}
    assert (await talk.database.call("save_reply", {**held(turn), **made}))["ok"]


async def claim_late(talk: Conversation) -> None:
    """Claim as a router does that ends what is too old."""
    asked: Json = {"limit": 10, "lease_seconds": 60, "max_attempts": 5, "history_limit": 5}
    asked |= {"worker": "test", "answer_within_minutes": 60}
    assert (await talk.database.call("claim_turns", asked))["too_old"]


def outages(notice: Json) -> list[Json]:
    found: list[Json] = notice["facts"]["outages"]
    return found


async def test_an_outage_is_told_once_with_a_count_and_its_end(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    for who in range(3):
        await write(talk, who)
    answers = await fail_all(talk)
    assert [answer.get("outage") for answer in answers] == ["account_empty", None, None]
    (notice,) = await told(talk)
    assert (notice["kind"], notice["number"]) == ("unanswered", STAFF)
    (outage,) = outages(notice)
    assert (outage["cause"], outage["turns"], outage["unanswered"]) == ("account_empty", 3, 0)
    assert outage["has_own_key"] is False
    await fail_all(talk)
    await fail_all(talk)
    assert await told(talk) == []  # it goes on

    await works(talk)
    assert await told(talk) == []  # it may prove not to last
    await talk.travel(minutes=2)
    (notice,) = await told(talk)
    assert notice["kind"] == "answered_again"
    (outage,) = outages(notice)
    assert (outage["turns"], outage["unanswered"]) == (3, 0)
    assert outage["ended_at"] is not None


async def test_a_second_outage_is_told_again(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await write(talk, 1)
    await fail_all(talk)
    await told(talk)
    await works(talk)
    await talk.travel(minutes=5)
    await told(talk)
    await write(talk, 2)
    (answer,) = await fail_all(talk)
    assert answer["outage"] == "account_empty"
    (notice,) = await told(talk)
    assert notice["kind"] == "unanswered"
    assert [outage["turns"] for outage in outages(notice)] == [1]


async def test_one_that_is_back_within_two_minutes_goes_on(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await write(talk, 1)
    await fail_all(talk)
    await told(talk)
    await works(talk)
    await write(talk, 2)
    (answer,) = await fail_all(talk)
    assert "outage" not in answer
    await talk.travel(minutes=5)
    assert await told(talk) == []
    assert await talk.value("select count(*) from outages where ended_at is null") == 1


async def test_what_comes_and_goes_is_told_twice_and_then_is_one(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    kinds = []
    for who in range(1, 7):  # a flow that fails for some, and works for others
        await write(talk, who)
        await fail_all(talk, kind="permanent", cause="flow_failed")
        kinds.extend([notice["kind"] for notice in await told(talk)])
        await talk.travel(minutes=2)
        await works(talk)
        await talk.travel(minutes=3)
        kinds.extend([notice["kind"] for notice in await told(talk)])
    assert kinds == ["unanswered", "answered_again", "unanswered"]
    await talk.travel(minutes=30)
    (over,) = await told(talk)
    assert (over["kind"], outages(over)[0]["turns"]) == ("answered_again", 5)


async def test_what_is_over_before_it_is_told_is_not_told(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await write(talk, 1)
    await fail_all(talk, cause="llm_away")
    assert await told(talk) == []  # not within five minutes
    await works(talk)
    await talk.travel(minutes=30)
    assert await told(talk) == []
    assert await talk.value("select reason from notices") == "recovered"
    # Nobody has been told of it: the next one does not come and go.
    await write(talk, 2)
    await fail_all(talk, cause="llm_away")
    await talk.travel(minutes=5)
    await told(talk)
    await works(talk)
    await talk.travel(minutes=2)
    assert [notice["kind"] for notice in await told(talk)] == ["answered_again"]


async def test_an_llm_that_is_away_for_long_is_told(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await write(talk, 1)
    await fail_all(talk, cause="llm_away")
    await talk.travel(minutes=5)
    (notice,) = await told(talk)
    assert [outage["cause"] for outage in outages(notice)] == ["llm_away"]


async def test_two_causes_are_told_in_one(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    for who in (1, 2):
        await write(talk, who)
    await talk.travel(minutes=1)
    one, two = await talk.claim(limit=20)
    await talk.fail(one, **EMPTY)
    await talk.fail(two, kind="permanent", cause="misconfigured")
    (notice,) = await told(talk)
    assert {each["cause"]: each["unanswered"] for each in outages(notice)} == {
        "account_empty": 0,
        "misconfigured": 1,
    }


async def test_each_tenant_is_told_of_its_own(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await talk.open_shop("bakery", llm_api_key="sealed")
    await talk.set_rule("notify_number", STAFF, "bakery")
    await write(talk, 1)
    await talk.ingest(talk.message("oi", jids=["5511955550002@s.whatsapp.net"], instance="bakery"))
    await fail_all(talk)
    notices = await told(talk)
    own = {each["instance_name"]: outages(each)[0]["has_own_key"] for each in notices}
    assert own == {"shop": False, "bakery": True}
    counted = await talk.database.call("count_outages", {})
    assert counted == {"causes": [{"cause": "account_empty", "tenants": 2, "deployments": 1}]}
    await works(talk)  # the shop's, with the deployment's key
    open_of = "select t.instance_name from outages as o join tenants as t on t.id = o.tenant_id"
    assert await talk.value(f"{open_of} where o.ended_at is null") == "bakery"


async def test_the_deployments_key_is_back_for_all_who_use_it(talk: Conversation):
    await talk.open_shop("bakery")
    await write(talk, 1)
    await talk.ingest(talk.message("oi", jids=["5511955550002@s.whatsapp.net"], instance="bakery"))
    await fail_all(talk)
    assert await talk.value("select count(*) from outages where ended_at is null") == 2
    await works(talk)
    assert await talk.value("select count(*) from outages where ended_at is null") == 0


async def test_what_waited_too_long_counts_as_unanswered(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await write(talk, 1)
    await fail_all(talk)
    await told(talk)
    await talk.travel(minutes=90)
    await claim_late(talk)
    assert await talk.turn_states() == ["dead"]
    await works(talk)
    await talk.travel(minutes=2)
    (notice,) = await told(talk)
    assert [each["unanswered"] for each in outages(notice)] == [1]


async def test_what_nobody_came_to_is_told_too(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await write(talk, 1)
    await talk.travel(minutes=90)
    await claim_late(talk)
    (notice,) = await told(talk)
    assert [each["cause"] for each in outages(notice)] == ["too_late"]


async def test_a_question_that_fails_is_handed_to_a_human(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await talk.maria_writes("oi")
    answer = await talk.fail(await talk.claim_one(), kind="permanent", cause="failed")
    assert answer == {"state": "dead", "handoff": True}
    assert (await talk.session())["is_paused"]
    assert (await claim_one(talk))["kind"] == "handoff"


async def test_a_router_that_says_no_cause_is_served_as_before(talk: Conversation):
    await talk.maria_writes("oi")
    assert await talk.fail(await talk.claim_one(), kind="permanent") == {"state": "dead"}
    assert not (await talk.session())["is_paused"]
    assert await claim(talk) == []


async def test_a_used_up_budget_is_told_and_ends_with_the_next_reply(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await talk.set_rule("daily_turns", 0)
    for who in (1, 2):
        await write(talk, who)
    await talk.travel(minutes=1)
    for turn in await talk.claim(limit=20):
        asked = {**held(turn), "tokens": 10, "policy": {}}
        assert (await talk.database.call("reserve_budget", asked))["refused"] == "budget"
    (notice,) = await told(talk)
    assert [(o["cause"], o["unanswered"]) for o in outages(notice)] == [("budget", 2)]


async def test_a_tenant_that_has_another_key_since_is_told_that_it_is_over(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await write(talk, 1)
    await fail_all(talk)
    await told(talk)
    await talk.set_rule("llm_api_key", "sealed")  # the owner has helped themselves
    await works(talk)
    await talk.travel(minutes=5)
    (notice,) = await told(talk)
    assert notice["kind"] == "answered_again"
    await write(talk, 2)
    (answer,) = await fail_all(talk)
    assert answer["outage"] == "account_empty"  # another one, and told


async def test_what_needs_no_model_ends_no_outage(talk: Conversation):
    await write(talk, 1)
    await fail_all(talk, kind="permanent", cause="misconfigured")
    await write(talk, 2, "atendente")
    await talk.travel(minutes=1)
    (turn,) = await talk.claim()
    ready = {"parts": [{"handoff": {"reason": "asked_for_person"}, "text": "Vou chamar alguém."}]}
    await talk.database.call("save_reply", {**held(turn), **ready, "handler": "fallback"})
    assert await talk.value("select count(*) from outages where ended_at is null") == 1


async def two_outages_at_once(
    ours: DirectDatabase, theirs: DirectDatabase, first: str, second: str
) -> Conversation:
    """Two turns meet an outage each; the second one's call comes before the first one's commits."""
    talk = Conversation(ours)
    await talk.open_shop()
    await talk.set_rule("notify_number", STAFF)
    for who in (1, 2):
        await write(talk, who)
    await talk.travel(minutes=1)
    one, other = await talk.claim(limit=2)
    ends: Json = {"kind": "permanent", "error": "…", "max_attempts": 5, "base_seconds": 2}
    async with ours._pool.acquire() as connection, connection.transaction():
        await connection.fetchval("select fail_turn($1)", {**held(one), **ends, "cause": first})
        later = asyncio.create_task(
            theirs.call("fail_turn", {**held(other), **ends, "cause": second})
        )
        waiting = "select count(*) from pg_locks where not granted"
        async with asyncio.timeout(10):
            while not later.done() and not await connection.fetchval(waiting):
                await asyncio.sleep(0.01)
    await later
    return talk


async def test_two_causes_at_the_same_moment_are_both_told(database_url: str):
    ours = await DirectDatabase.connect(database_url, size=1)
    theirs = await DirectDatabase.connect(database_url, size=1)
    try:
        talk = await two_outages_at_once(ours, theirs, "account_empty", "send_failed")
        (notice,) = await told(talk)
        assert {each["cause"] for each in outages(notice)} == {"account_empty", "send_failed"}
    finally:
        await ours.close()
        await theirs.close()


async def begin_fallback(
    talk: Conversation, turn: Json, cause: str = "account_empty", kind: str = "away"
) -> Json:
    asked = {**held(turn), "cause": cause, "error": "402", "body": SORRY, "lease_seconds": 60}
    asked |= {"kind_of_failure": kind, "max_attempts": 5}
    return await talk.database.call("begin_fallback_send", asked)


async def test_the_contact_is_sent_the_fallback_message_once_an_outage(talk: Conversation):
    await talk.maria_writes("Abrem amanhã?")
    turn = await talk.claim_one()
    begun = await begin_fallback(talk, turn)
    assert begun["ok"]
    await talk.fail(turn, **EMPTY)
    await talk.travel(minutes=2)
    turn = await talk.claim_one()
    assert (await begin_fallback(talk, turn))["refused"] == "told"
    assert turn["history"][-1]["body"] == "Abrem amanhã?"  # it still has no answer
    await says(talk, turn, "Abrimos!")  # it works: the outage is over
    await talk.begin(turn, "Abrimos!")
    await talk.travel(minutes=10)
    await talk.maria_writes("E domingo?")
    # The earlier turn is still being sent, and the contact's next one is another outage's.
    assert await talk.value("select count(*) from outages where ended_at is null") == 0


async def test_an_outage_that_says_nothing_keeps_no_later_one_from_being_said(talk: Conversation):
    """One that concerns a conversation has no end: it is as if it lasted for ever."""
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.fail(turn, "permanent", cause="send_failed")
    await talk.travel(minutes=1)
    await talk.maria_writes("Abrem amanhã?")
    turn = await talk.claim_one()
    assert (await begin_fallback(talk, turn))["ok"]
    await talk.fail(turn, **EMPTY)
    await works(talk)
    await talk.travel(hours=48)
    await talk.maria_writes("E domingo?")
    assert (await begin_fallback(talk, await talk.claim_one()))["ok"]


async def test_its_echo_is_ours_before_and_after_the_answer_to_it(talk: Conversation):
    await talk.maria_writes("Abrem amanhã?")
    turn = await talk.claim_one()
    begun = await begin_fallback(talk, turn)
    (outcome,) = await talk.ingest(talk.message(SORRY, from_me=True, wa_id="3EB0EARLY"))
    assert outcome["decision"] != "takeover", outcome
    assert not (await talk.session())["is_paused"]
    sent = {"tenant_id": turn["tenant"]["tenant_id"], "message_id": begun["message_id"]}
    await talk.database.call("finish_send", {**sent, "wa_id": "3EB0EARLY", "jid": None})
    await talk.ingest(talk.message(SORRY, from_me=True, wa_id="3EB0EARLY"))
    assert not (await talk.session())["is_paused"]
    assert await talk.turn_states() == ["running"]


async def test_nothing_is_said_where_a_human_is(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.owner_writes("Deixa comigo")
    assert "refused" in await begin_fallback(talk, turn)


async def test_nothing_is_said_of_what_may_pass_in_a_moment(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    assert (await begin_fallback(talk, turn, "llm_away"))["refused"] == "not_now"
    assert (await begin_fallback(talk, turn, "too_late"))["refused"] == "not_now"
    assert (await begin_fallback(talk, turn, "failed", "transient"))["refused"] == "not_now"


async def test_every_cause_has_its_line_and_its_words(talk: Conversation):
    lines = {row["cause"]: row for row in await talk.sql("select * from hybridflow.endings()")}
    causes = set(_words(Cause))
    assert causes <= lines.keys()
    assert {name for name, line in lines.items() if line["is_told"]} == WHY["en"].keys()
    for name, line in lines.items():
        assert line["is_told"] or line["hands_off"] or name == "given_up", name
        assert (line["about"] is None) is (line["lasts"] is not None), name
    for name in WHY["en"]:
        assert f"`{name}`" in GUIDE, name
    grouped = {name for name, line in lines.items() if line["is_told"] and line["about"] is None}
    assert grouped == ONE_BY_ONE


def _words(alias: Any) -> set[str]:
    found: set[str] = set()
    for each in get_args(alias):
        found |= {each} if isinstance(each, str) else _words(each)
    return found


MEANT = {
    # Somebody wanted it so, or something else answers.
    "paused": "a human, a pause or a handoff stopped it",
    "no_ai": "the label no-ai",
    "tenant_inactive": "the business switched the AI off",
    "merged": "another turn answers its messages",
    "late": "an earlier reply to the same messages arrived after all",
    "handoff": "it was handed off, and the handoff tells so",
    "deleted": "the contact deleted all that it would answer",
    "takeover": "a human wrote",
    "delivered": "what WhatsApp had said that it did not deliver arrived after all",
}
TOLD = {
    "budget": "budget",
    "reply_refused": "reply_refused",
    "flow_failed": "half_said",
    "flow_died": "half_said",
    "too_old": "too_late",
    "in_doubt": "in_doubt",
}


def reasons_in_the_schema() -> set[str]:
    """Every word with which SQL ends a turn."""
    source = "\n".join(path.read_text() for path in sorted(SCHEMA.glob("*.sql")))
    call = r"(?<!function )hybridflow\.(?:close_turn|stop_turn|cancel_turns)"
    arguments = r"\(((?:[^();]|\([^();]*\))*),\s*'(\w+)'\s*\)"
    found = {word for _, word in re.findall(call + arguments, source)}
    found |= set(re.findall(r"set state = '(?:dead|sent)'[^;]*?reason = '(\w+)'", source))
    return found - {"sent", "cancelled", "dead"}


# Every place where a turn ends as dead, and how it comes there. What is told of it, and whether the
# contact is sent the fallback message, by whoever holds the turn or by nobody.


async def bury(talk: Conversation) -> None:
    """Have somebody look for what has lapsed, as who has no seat left."""
    asked: Json = {"limit": 0, "lease_seconds": 60, "max_attempts": 1, "history_limit": 5}
    claimed = await talk.database.call(
        "claim_turns", asked | {"worker": "test", "answer_within_minutes": 60}
    )
    assert claimed["exhausted"]


async def fails_for_good(talk: Conversation) -> None:
    await talk.fail(await talk.claim_one(), "permanent", cause="misconfigured")


async def fails_too_often(talk: Conversation) -> None:
    await talk.fail(await talk.claim_one(), "transient", cause="flow_failed", max_attempts=1)


async def crashes_in_n8n(talk: Conversation) -> None:
    """As a router reports it: the attempt is taken, and fails as by its flow."""
    await talk.database.call("begin_flow", {**held(await talk.claim_one()), "execution_id": "7"})
    taken = await talk.database.call("take_execution", {"execution_id": "7"})
    await talk.fail(taken, "permanent", cause="flow_failed")


async def crashes_in_n8n_for_an_older_router(talk: Conversation) -> None:
    await talk.database.call("begin_flow", {**held(await talk.claim_one()), "execution_id": "7"})
    ends = {"kind": "permanent", "error": "x", "max_attempts": 5, "base_seconds": 1}
    await talk.database.call(
        "fail_execution", {"execution_id": "7", **ends, "cause": "flow_failed"}
    )


async def lapses(talk: Conversation) -> None:
    await talk.claim_one(lease=60)
    await talk.travel(seconds=61)
    await bury(talk)


async def lapses_in_n8n(talk: Conversation) -> None:
    forwarded = {**held(await talk.claim_one()), "lease_seconds": 60}
    await talk.database.call("forward_turn", forwarded)
    await talk.travel(seconds=61)
    await bury(talk)


async def lapses_and_nobody_looks_for_hours(talk: Conversation) -> None:
    await talk.claim_one(lease=60)
    await talk.travel(hours=3)
    await bury(talk)


async def is_too_old_at_a_claim(talk: Conversation) -> None:
    await talk.travel(hours=3)
    await claim_late(talk)


async def is_away_for_too_long(talk: Conversation) -> None:
    turn = await talk.claim_one(lease=20_000)
    await talk.travel(hours=3)
    await talk.fail(turn, **EMPTY)


async def stays_in_doubt(talk: Conversation) -> None:
    turn = await talk.claim_one(lease=200_000)
    await talk.save(turn, "Sim!")
    begun = await talk.begin(turn, "Sim!")
    await talk.travel(hours=30)
    settled = {**held(turn), "message_id": begun["message_id"], "outcome": "unknown"}
    await talk.database.call(
        "settle_send", {**settled, "check_after": 3, "give_up_hours": 24, "error": "nobody knows"}
    )


async def is_given_up(talk: Conversation) -> None:
    turn = await talk.claim_one()
    await talk.save(turn, "Sim!")
    part = {"part": 0, "kind": "text", "body": "Sim!", "identity": "1", "error": "refused"}
    await talk.database.call("give_up_part", {**held(turn), **part})


DEAD: dict[str, list[tuple[Any, str, bool]]] = {
    # The function that ends it: how it comes to that, the cause or notice that is told, is it said.
    "after_failure": [
        (fails_for_good, "misconfigured", True),
        (fails_too_often, "flow_failed", True),
        (crashes_in_n8n, "flow_failed", True),
        (crashes_in_n8n_for_an_older_router, "flow_failed", True),
        (is_away_for_too_long, "account_empty", False),
    ],
    "bury_lapsed": [
        (lapses, "crashed", True),
        (lapses_in_n8n, "flow_failed", True),
        (lapses_and_nobody_looks_for_hours, "crashed", False),
    ],
    "end_those_too_old": [(is_too_old_at_a_claim, "too_late", False)],
    "settle_send": [(stays_in_doubt, "in_doubt", False)],
    "after_settlement": [(is_given_up, "undelivered", False)],
}


def functions_that_end_turns_as_dead() -> set[str]:
    source = "\n".join(path.read_text() for path in sorted(SCHEMA.glob("*.sql")))
    bodies = re.findall(r"create or replace function \w+\.(\w+)(.*?)\n\$\$;", source, re.DOTALL)
    ends = re.compile(r"close_turn\([^;]*?'dead'|update public\.turns[^;]*?set state = 'dead'")
    return {name for name, body in bodies if ends.search(body)}


def test_every_place_where_a_turn_ends_as_dead_is_tried():
    assert functions_that_end_turns_as_dead() == DEAD.keys()


@pytest.mark.parametrize(
    ("end", "cause", "is_said"), [each for ways in DEAD.values() for each in ways]
)
async def test_whoever_ends_a_turn_people_are_told_and_the_contact_in_time(
    talk: Conversation, end: Any, cause: str, is_said: bool
):
    await talk.set_rule("notify_number", STAFF)
    await talk.set_rule("fallback_message", SORRY)
    await talk.maria_writes("Abrem amanhã?")
    await end(talk)
    assert (await talk.turn_states())[0] == "dead"
    (notice,) = await told(talk)
    told_of = [each["cause"] for each in notice["facts"].get("outages", [])]
    assert (told_of or [notice["kind"]]) == [cause]
    said = await talk.claim(limit=20)
    assert [turn["reply"] for turn in said] == ([[SORRY]] if is_said else [])
    if not is_said:
        return
    (turn,) = said
    begun = await talk.begin(turn, SORRY)
    assert begun["ok"]
    await talk.finish(turn, begun, "3EB0SORRY")
    await talk.ingest(talk.message(SORRY, from_me=True, wa_id="3EB0SORRY"))
    assert not (await talk.session())["is_paused"]
    # In one outage it is said once.
    await talk.maria_writes("Alô?")
    await fails_for_good(talk)
    assert await talk.claim(limit=20) == []


async def test_the_fallback_message_is_not_said_where_a_human_is(talk: Conversation):
    await talk.set_rule("fallback_message", SORRY)
    await talk.maria_writes("Abrem amanhã?")
    await talk.claim_one(lease=60)
    await talk.travel(seconds=61)
    await bury(talk)
    await talk.owner_writes("Abrimos!")
    assert await talk.turn_states() == ["dead", "cancelled"]


async def test_a_flow_that_breaks_after_its_answer_changes_nothing(talk: Conversation):
    await talk.set_rule("fallback_message", SORRY)
    await talk.maria_writes("Abrem amanhã?")
    turn = await talk.claim_one()
    made = {"parts": ["Sim!"], "handler": "n8n", "execution_id": "7"}
    await talk.database.call("save_reply", {**held(turn), **made})
    taken = await talk.database.call("take_execution", {"execution_id": "7"})
    assert taken == {"refused": "superseded"}
    assert (await talk.begin(turn, "Sim!"))["ok"]


async def test_nor_hours_later_when_the_line_is_back(talk: Conversation):
    await talk.set_rule("fallback_message", SORRY)
    await talk.maria_writes("Abrem amanhã?")
    await lapses(talk)
    await talk.travel(hours=3)
    await claim_late(talk)
    assert await talk.turn_states() == ["dead", "dead"]


async def test_who_has_written_again_has_that_answered(talk: Conversation):
    await talk.set_rule("fallback_message", SORRY)
    await talk.maria_writes("Abrem amanhã?")
    await talk.claim_one(lease=60)
    await talk.travel(seconds=50)
    await talk.maria_writes("Alô?")
    await talk.travel(seconds=11)
    await bury(talk)
    assert await talk.turn_states() == ["dead", "pending"]  # and no third one


async def test_every_reason_for_which_a_turn_ends_is_meant_or_told(talk: Conversation):
    assert reasons_in_the_schema() == MEANT.keys() | TOLD.keys()
    lines = {row["cause"] for row in await talk.sql("select cause from hybridflow.endings()")}
    assert set(TOLD.values()) <= lines


@pytest.mark.parametrize("notices", [1, 3])
async def test_the_state_counts_no_more_than_a_thousand(talk: Conversation, notices: int):
    await talk.set_rule("notify_number", STAFF)
    await write(talk, 1)
    await fail_all(talk)
    await talk.sql(
        "insert into turns (tenant_id, session_id, state, run_after, debounce_until, outage_id)"
        " select tenant_id, session_id, 'dead', run_after, run_after, outage_id from turns,"
        f" generate_series(1, {notices * 700})"
    )
    (notice,) = await claim(talk)
    assert outages(notice)[0]["turns"] == min(notices * 700 + 1, 1000)
