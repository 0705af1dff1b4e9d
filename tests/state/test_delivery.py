"""What WhatsApp says of our replies afterwards: one that failed is not said, and is made again."""

import itertools
from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, POLICY, Conversation, answered, held

SERIAL = itertools.count(1)
REPLY = "3EB0REPLY"
ARRIVED = ["delivery_ack", "read", "played"]


async def tell(
    talk: Conversation, status: str, wa_id: str = REPLY, code: str | None = None, **more: Any
) -> Json:
    event = {
        "instance": talk.instance,
        "event": "messages.update",
        "type": "status",
        "key": f"messages.update:{wa_id}:{status}",
        "wa_id": wa_id,
        "jids": [MARIA],
        "status": status,
    }
    (decision,) = await talk.ingest(event | ({"code": code} if code else {}), **more)
    return decision


async def status_of(talk: Conversation, wa_id: str = REPLY) -> str:
    status: str = await talk.value("select status from messages where wa_id = $1", wa_id)
    return status


async def replied(talk: Conversation, wa_id: str = REPLY) -> Json:
    """Maria asked, and was answered with `wa_id`."""
    await talk.maria_writes("tem bolo?")
    return await talk.answer("Temos!", wa_id)


async def is_answered_again(talk: Conversation) -> bool:
    """Whether a turn waits for what was asked first."""
    return bool(
        await talk.value(
            "select count(*) from messages m join turns t on t.id = m.turn_id"
            " where m.body = 'tem bolo?' and t.state = 'pending'"
        )
    )


async def begun_in_two_parts(talk: Conversation, *wa_ids: str) -> Json:
    """A reply of two parts, of which as many have left as there are ids."""
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "Temos!", "Qual?")
    for part, wa_id in enumerate(wa_ids):
        begun = await talk.begin(turn, ("Temos!", "Qual?")[part], part)
        await talk.finish(turn, begun, wa_id)
    return turn


async def fails(talk: Conversation, jid: str = MARIA, code: str | None = "131026") -> str:
    """A reply to `jid` fails: for good, unless `code` says otherwise. Its id."""
    wa_id = await reply_to(talk, jid)
    await tell(talk, "error", wa_id, code)
    return wa_id


async def reply_to(talk: Conversation, jid: str) -> str:
    """`jid` writes and is answered. The reply's id."""
    wa_id = f"3EB0F{next(SERIAL):06X}"
    await talk.ingest(talk.message("oi", jids=[jid]))
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    await talk.finish(turn, await talk.begin(turn, "Olá!"), wa_id, jid)
    return wa_id


async def notices(talk: Conversation) -> list[dict[str, Any]]:
    return await talk.sql("select * from notices where kind = 'undelivered' order by id")


# The order of states


@pytest.mark.parametrize("arrived", ARRIVED)
async def test_an_error_after_the_message_arrived_means_nothing(talk: Conversation, arrived: str):
    await replied(talk)
    await tell(talk, arrived)
    await tell(talk, "error")
    assert await status_of(talk) == arrived
    assert not await is_answered_again(talk)
    assert [turn["undelivered"] for turn in await talk.turns()] == [0]


@pytest.mark.parametrize("taken", ["pending", "server_ack"])
@pytest.mark.parametrize("order", ["before", "after"])
async def test_an_error_is_stronger_than_that_the_message_was_taken(
    talk: Conversation, taken: str, order: str
):
    await replied(talk)
    states = [taken, "error"] if order == "before" else ["error", taken]
    for state in states:
        await tell(talk, state)
    assert await status_of(talk) == "error"
    assert await is_answered_again(talk)


@pytest.mark.parametrize("arrived", ARRIVED)
async def test_a_message_that_arrives_after_its_error_calls_the_new_answer_off(
    talk: Conversation, arrived: str
):
    turn = await replied(talk)
    await tell(talk, "error")
    await tell(talk, arrived)
    assert await status_of(talk) == arrived
    first, second = await talk.turns()
    assert (first["undelivered"], first["error_kind"], first["error"]) == (0, None, None)
    assert (second["state"], second["reason"]) == ("cancelled", "delivered")
    message = await talk.sql("select turn_id, undelivered_turns from messages where not from_me")
    assert message == [{"turn_id": turn["turn_id"], "undelivered_turns": []}]
    await talk.travel(seconds=60)
    assert await talk.claim() == []


async def test_a_message_that_arrives_while_the_new_answer_is_made_calls_it_off(
    talk: Conversation,
):
    await replied(talk)
    await tell(talk, "error")
    again = await talk.claim_one()
    await tell(talk, "delivery_ack")
    assert (await talk.begin(again, "Temos sim!"))["refused"] == "superseded"


async def test_a_message_that_arrives_late_leaves_what_was_asked_meanwhile(talk: Conversation):
    await replied(talk)
    await tell(talk, "error")
    await talk.maria_writes("alguém aí?")
    await tell(talk, "delivery_ack")
    turn = await talk.claim_one()
    assert answered(turn) == ["alguém aí?"]
    assert [m["body"] for m in turn["history"]] == ["tem bolo?", "Temos!", "alguém aí?"]


async def test_an_answer_that_has_begun_to_leave_is_not_called_off(talk: Conversation):
    await replied(talk)
    await tell(talk, "error")
    again = await talk.claim_one()
    await talk.save(again, "Temos sim!")
    begun = await talk.begin(again, "Temos sim!")
    await tell(talk, "delivery_ack")
    await talk.finish(again, begun, "3EB0AGAIN")
    assert await talk.turn_states() == ["sent", "sent"]


async def test_an_error_that_comes_before_the_id_is_known_counts_when_it_is(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "Temos!")
    begun = await talk.begin(turn, "Temos!")
    assert (await tell(talk, "error"))["decision"] == "waiting_for_message"
    await talk.finish(turn, begun, REPLY)
    assert await status_of(talk) == "error"
    assert await is_answered_again(talk)


async def test_evolutions_answer_that_comes_after_the_error_does_not_hide_it(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "Temos!")
    begun = await talk.begin(turn, "Temos!")
    sent = talk.message("Temos!", from_me=True, origin="send", status="PENDING", wa_id=REPLY)
    await talk.ingest(sent)
    await tell(talk, "error")
    await talk.finish(turn, begun, REPLY)
    assert await status_of(talk) == "error"
    assert await is_answered_again(talk)


async def test_an_error_of_what_was_taken_for_somebody_elses_counts_when_it_proves_ours(
    talk: Conversation,
):
    await talk.set_rule("other_client_takeover", False)
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "Temos!")
    begun = await talk.begin(turn, "Temos!")
    other = talk.message("Outra", from_me=True, origin="send", status="PENDING", wa_id=REPLY)
    await talk.ingest(other)
    await tell(talk, "error")
    await talk.finish(turn, begun, REPLY)
    assert await is_answered_again(talk)


# The new answer


async def test_a_reply_that_failed_is_made_again_without_having_been_said(talk: Conversation):
    first = await replied(talk)
    await tell(talk, "error")
    assert await talk.claim() == []
    await talk.travel(seconds=6)
    (turn,) = await talk.claim()
    assert turn["turn_id"] != first["turn_id"]
    assert answered(turn) == ["tem bolo?"]
    assert [m["body"] for m in turn["history"]] == ["tem bolo?"]
    assert (turn["reply"], turn["parts"]) == (None, [])


async def test_what_the_customer_writes_meanwhile_is_answered_with_it(talk: Conversation):
    await replied(talk)
    await tell(talk, "error")
    await talk.maria_writes("alguém aí?")
    turn = await talk.claim_one()
    assert answered(turn) == ["tem bolo?", "alguém aí?"]
    assert all(not m["from_me"] for m in turn["history"])


async def test_a_reply_is_made_again_twice_and_no_more(talk: Conversation):
    await replied(talk)
    await tell(talk, "error")
    for wa_id in ("3EB0SECOND", "3EB0THIRD"):
        await talk.answer("Temos sim!", wa_id)
        # Somebody else's reply arrives between, so the line is not in doubt.
        await talk.ingest(talk.message("oi", jids=[JOAO]))
        turn = await talk.claim_one()
        await talk.save(turn, "Olá!")
        await talk.finish(turn, await talk.begin(turn, "Olá!"), f"{wa_id}-JOAO", JOAO)
        await tell(talk, "delivery_ack", f"{wa_id}-JOAO")
        await tell(talk, "error", wa_id)
    await talk.travel(seconds=60)
    assert await talk.claim() == []
    assert await notices(talk) == []
    assert [turn["undelivered"] for turn in await talk.turns()] == [1, 1, 0, 1, 0]


async def test_the_bound_holds_where_the_new_turn_is_folded_into_another(talk: Conversation):
    await talk.set_rule("on_new_message", "restart")
    await replied(talk)
    await tell(talk, "error")
    await talk.claim_one()
    await talk.maria_writes("alguém aí?")
    await talk.answer("Temos sim!", "3EB0SECOND")
    await tell(talk, "error", "3EB0SECOND")
    counts = await talk.sql(
        "select body, cardinality(undelivered_turns) as n from messages where not from_me"
        " order by id"
    )
    assert [(row["body"], row["n"]) for row in counts] == [("tem bolo?", 2), ("alguém aí?", 1)]


@pytest.mark.parametrize("state", [None, "server_ack", "delivery_ack", "read"])
async def test_nothing_is_answered_again_while_a_part_may_have_arrived(
    talk: Conversation, state: str | None
):
    await begun_in_two_parts(talk, REPLY, "3EB0PART2")
    await tell(talk, "error")
    if state:
        await tell(talk, state, "3EB0PART2")
    assert not await is_answered_again(talk)
    (turn,) = await talk.turns()
    assert (turn["state"], turn["undelivered"], turn["error_kind"]) == ("sent", 1, "undelivered")
    assert turn["error"] == "WhatsApp did not deliver 1 of 2 messages of the reply"


@pytest.mark.parametrize("order", [(REPLY, "3EB0PART2"), ("3EB0PART2", REPLY)])
async def test_when_every_part_failed_it_is_answered_again(
    talk: Conversation, order: tuple[str, str]
):
    await begun_in_two_parts(talk, REPLY, "3EB0PART2")
    for wa_id in order:
        await tell(talk, "error", wa_id)
    assert await is_answered_again(talk)
    assert (await talk.turns())[0]["undelivered"] == 2


async def test_a_reply_that_still_leaves_is_not_answered_again_until_it_has_left(
    talk: Conversation,
):
    turn = await begun_in_two_parts(talk, REPLY)
    await tell(talk, "error")
    assert not await is_answered_again(talk)
    begun = await talk.begin(turn, "Qual?", 1)
    await talk.finish(turn, begun, "3EB0PART2")
    assert not await is_answered_again(talk)
    await tell(talk, "error", "3EB0PART2")
    assert await is_answered_again(talk)


async def test_a_part_whose_send_is_in_doubt_may_have_arrived(talk: Conversation):
    turn = await begun_in_two_parts(talk, REPLY)
    await talk.begin(turn, "Qual?", 1)
    await talk.sql("update turns set state = 'sent', lease_until = null")
    await tell(talk, "error")
    assert not await is_answered_again(talk)


async def test_a_flow_that_is_done_after_its_message_failed_is_run_again(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 60})
    begun = await talk.database.call(
        "begin_flow_send", {**held(turn), "kind": "text", "body": "Temos!", "lease_seconds": 45}
    )
    await talk.finish(turn, begun, REPLY)
    await tell(talk, "error")
    assert not await is_answered_again(talk)
    await talk.database.call("finish_turn", held(turn))
    assert await is_answered_again(talk)


async def test_a_handoff_whose_words_failed_is_left_to_the_human(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    begun = await talk.begin(turn, "Chamo alguém.")
    await talk.finish(turn, begun, REPLY)
    await tell(talk, "error")
    await talk.database.call("hand_off", {**held(turn), "reason": "wants a person"})
    assert await talk.turn_states() == ["sent"]


# Where it is not ours to answer again


async def test_a_paused_session_is_not_answered_again(talk: Conversation):
    await replied(talk)
    session = await talk.session()
    tenant_id = session["tenant_id"]
    argument = {"tenant_id": tenant_id, "session_id": session["id"], "source": "operator"}
    await talk.database.call("pause_session", argument)
    await tell(talk, "error")
    assert not await is_answered_again(talk)


async def test_a_pause_while_the_new_answer_waits_cancels_it(talk: Conversation):
    await replied(talk)
    await tell(talk, "error")
    await talk.owner_writes("eu atendo")
    assert await talk.turn_states() == ["sent", "cancelled"]


async def test_what_a_human_has_answered_is_not_answered_again(talk: Conversation):
    await replied(talk)
    await talk.owner_writes("temos sim", ago=-1)
    await talk.sql("update sessions set is_paused = false")
    await tell(talk, "error")
    assert not await is_answered_again(talk)


async def test_the_bot_of_another_client_is_no_human_where_the_tenant_says_so(talk: Conversation):
    await talk.set_rule("other_client_takeover", False)
    await replied(talk)
    await talk.owner_writes("protocolo 1", origin="send", ago=-1)
    await tell(talk, "error")
    assert await is_answered_again(talk)


async def test_an_old_message_is_not_answered_again(talk: Conversation):
    await replied(talk)
    await talk.travel(minutes=61)
    await tell(talk, "error")
    assert not await is_answered_again(talk)


async def test_how_old_is_said_by_the_tenant_or_the_deployment(talk: Conversation):
    await replied(talk)
    await talk.travel(minutes=20)
    await tell(talk, "error", policy=POLICY | {"answer_within_minutes": 15})
    assert not await is_answered_again(talk)


async def test_a_deleted_message_is_not_answered_again(talk: Conversation):
    await replied(talk)
    await talk.sql("update messages set deleted_at = now() where not from_me")
    await tell(talk, "error")
    assert not await is_answered_again(talk)


async def test_a_tenant_that_is_not_active_answers_nothing_again(talk: Conversation):
    await replied(talk)
    await talk.set_rule("is_active", False)
    await tell(talk, "error")
    assert not await is_answered_again(talk)


@pytest.mark.parametrize(
    ("code", "helps"),
    [
        *((None, True), ("463", True), ("131000", True), ("130429", True)),
        *(("131047", False), ("131026", False), ("131031", False)),
    ],
)
async def test_what_the_code_says_is_final_is_not_answered_again(
    talk: Conversation, code: str | None, helps: bool
):
    await replied(talk)
    await tell(talk, "error", code=code)
    assert await is_answered_again(talk) is helps
    error = (await talk.turns())[0]["error"]
    assert error.endswith(f"reply ({code})" if code else "reply")


async def test_a_contacts_own_message_with_an_error_is_nothing(talk: Conversation):
    message = talk.message("tem bolo?")
    await talk.ingest(message)
    await tell(talk, "error", message["wa_id"])
    assert await talk.turn_states() == ["pending"]
    assert [m["body"] for m in (await talk.claim_one())["history"]] == ["tem bolo?"]


async def test_what_the_owner_said_in_vain_is_no_history_but_a_takeover_all_the_same(
    talk: Conversation,
):
    await talk.owner_writes("oi, aqui é a dona", wa_id="3EB0OWNER")
    await tell(talk, "error", "3EB0OWNER")
    assert (await talk.session())["is_paused"]
    await talk.sql("update sessions set is_paused = false")
    await talk.maria_writes("tem bolo?")
    assert [m["body"] for m in (await talk.claim_one())["history"]] == ["tem bolo?"]


async def test_replies_that_nobody_got_do_not_make_a_loop(talk: Conversation):
    await talk.set_rule("loop_replies", 2)
    await talk.set_rule("loop_minutes", 10)
    for _ in range(3):
        await talk.maria_writes("quero falar com alguém agora")
        turn = await talk.claim_one()
        await talk.save(turn, "Olá!")
        wa_id = f"3EB0L{next(SERIAL):06X}"
        await talk.finish(turn, await talk.begin(turn, "Olá!"), wa_id)
        await tell(talk, "error", wa_id)
    assert not (await talk.session())["is_paused"]


# Several in a row


async def test_three_in_a_row_are_told_once(talk: Conversation):
    await fails(talk)
    await fails(talk)
    assert await notices(talk) == []
    await fails(talk, JOAO)
    for _ in range(3):
        await fails(talk, JOAO)
    (notice,) = await notices(talk)
    assert (notice["facts"]["replies"], notice["facts"]["contacts"]) == (3, 2)
    assert notice["session_id"] is None


async def test_one_that_arrives_between_begins_the_count_anew(talk: Conversation):
    for _ in range(2):
        await fails(talk)
    await tell(talk, "delivery_ack", await reply_to(talk, JOAO))
    await fails(talk)
    assert await notices(talk) == []
    state = await talk.database.call("get_instance", {"instance_name": "shop"})
    assert state["undelivered"]["replies"] == 1


@pytest.mark.parametrize("told", ["told", "not yet told"])
async def test_after_one_has_arrived_the_next_three_are_told_again(talk: Conversation, told: str):
    for jid in (MARIA, JOAO, MARIA):
        await fails(talk, jid)
    if told == "told":
        await talk.sql("update notices set state = 'delivered'")
    await tell(talk, "delivery_ack", await reply_to(talk, JOAO))
    assert (await talk.database.call("count_undelivered", {}))["tenants"] == 0
    for _ in range(3):
        await fails(talk)
    assert len(await notices(talk)) == 2


async def test_nothing_is_answered_again_once_the_line_is_in_doubt(talk: Conversation):
    for jid in (MARIA, JOAO):
        await fails(talk, jid)
    await fails(talk, MARIA, code=None)
    assert "pending" not in await talk.turn_states()


async def test_what_arrives_between_counts_whoever_it_was_for_and_is_of_one_tenant(
    talk: Conversation,
):
    for jid in (MARIA, JOAO):
        await fails(talk, jid)
    other = Conversation(talk.database, "other")
    other.offset = talk.offset
    await other.open_shop()
    await tell(other, "delivery_ack", await reply_to(other, MARIA))
    await fails(other)
    talk.offset = other.offset
    await fails(talk)
    (notice,) = await notices(talk)
    assert notice["facts"]["replies"] == 3


async def test_a_notice_that_turned_out_to_be_nothing_is_not_told(talk: Conversation):
    last = ""
    for jid in (MARIA, JOAO, MARIA):
        last = await fails(talk, jid)
    await tell(talk, "read", last)
    (notice,) = await notices(talk)
    assert (notice["state"], notice["reason"]) == ("delivered", "recovered")


async def test_a_third_failure_after_one_proved_to_be_none_is_told(talk: Conversation):
    for jid in (MARIA, JOAO):
        await fails(talk, jid)
    last = await fails(talk)
    early = (await talk.sql("select wa_id from messages where failed_at is not null order by id"))[
        0
    ]
    await tell(talk, "read", early["wa_id"])
    assert [notice["reason"] for notice in await notices(talk)] == ["recovered"]
    assert last != early["wa_id"]
    await fails(talk, JOAO)
    assert [notice["reason"] for notice in await notices(talk)] == ["recovered", None]


async def test_a_notice_goes_to_the_number_and_to_the_webhook(talk: Conversation):
    await talk.set_rule("notify_number", "5511955559999")
    await talk.set_rule("notify_url", "https://tickets.example/hook")
    for jid in (MARIA, JOAO, MARIA):
        await fails(talk, jid)
    ask = {"limit": 10, "lease_seconds": 60, "max_attempts": 5}
    assert (await talk.database.call("claim_notices", ask))["notices"] == []
    await talk.travel(seconds=21)
    (notice,) = (await talk.database.call("claim_notices", ask))["notices"]
    assert (notice["number"], notice["url"]) == ("5511955559999", "https://tickets.example/hook")


async def test_health_counts_the_tenants_and_forgets_them_after_a_day(talk: Conversation):
    assert await talk.database.call("count_undelivered", {}) == {"tenants": 0}
    for jid in (MARIA, JOAO, MARIA):
        await fails(talk, jid)
    assert await talk.database.call("count_undelivered", {}) == {"tenants": 1}
    await talk.travel(hours=25)
    assert await talk.database.call("count_undelivered", {}) == {"tenants": 0}


async def test_the_same_error_again_counts_once(talk: Conversation):
    await replied(talk)
    for _ in range(3):
        await tell(talk, "error")
    assert (await talk.turns())[0]["undelivered"] == 1
    state = await talk.database.call("get_instance", {"instance_name": "shop"})
    assert state["undelivered"]["replies"] == 1


async def test_an_operator_sees_what_became_of_the_reply(talk: Conversation):
    turn = await replied(talk)
    await tell(talk, "error", code="463")
    session = await talk.session()
    shown = await talk.database.call(
        "get_turn", {"tenant_id": session["tenant_id"], "turn_id": turn["turn_id"]}
    )
    assert (shown["turn"]["undelivered"], shown["turn"]["error_kind"]) == (1, "undelivered")
    (part,) = shown["turn"]["messages"]
    assert (part["status"], part["error_code"]) == ("error", "463")


async def test_a_merge_of_two_sessions_keeps_what_is_to_be_answered_again(talk: Conversation):
    lid = "201955550001001@lid"
    await replied(talk)
    await tell(talk, "error")
    await talk.maria_writes("alguém aí?", jids=[lid])
    await talk.maria_writes("oi?", jids=[lid, MARIA])
    turn = await talk.claim_one()
    assert sorted(answered(turn)) == ["alguém aí?", "oi?", "tem bolo?"]
