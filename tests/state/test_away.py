"""The message that a business is closed: once for each closed stretch, and a human silences it."""

import asyncio
from datetime import datetime, timedelta

import pytest

from router.state.database import Json
from tests.state.conversation import MARIA, Conversation, held

CLOSED = "Estamos fechados."


def tomorrow(talk: Conversation, hours: float = 12) -> str:
    return (talk.now() + timedelta(hours=hours)).replace(microsecond=0).isoformat()


async def say(talk: Conversation, turn: Json, opens_at: str) -> Json:
    return await talk.database.call(
        "begin_away_send",
        {**held(turn), "opens_at": opens_at, "body": CLOSED, "lease_seconds": 45},
    )


async def asked(talk: Conversation, text: str = "oi") -> Json:
    await talk.maria_writes(text)
    return await talk.claim_one(lease=600)


async def test_it_is_said_once_for_a_closed_stretch_and_answers_nothing(talk: Conversation):
    turn = await asked(talk)
    opens_at = tomorrow(talk)
    begun = await say(talk, turn, opens_at)
    assert begun["ok"]
    assert begun["jid"] == MARIA
    await talk.finish(turn, begun, "3EB0AA")
    assert await talk.turn_states() == ["running"]
    assert await say(talk, turn, opens_at) == {"refused": "told"}
    await talk.save(turn, "Olá!")
    reply = await talk.begin(turn, "Olá!")
    await talk.finish(turn, reply, "3EB0AB")
    assert await talk.turn_states() == ["sent"]
    turn = await asked(talk, "e agora?")
    assert datetime.fromisoformat(turn["session"]["away_until"]) == datetime.fromisoformat(opens_at)
    assert await say(talk, turn, opens_at) == {"refused": "told"}
    assert await talk.sayings() == [
        ("contact", "oi"),
        ("ai", CLOSED),
        ("ai", "Olá!"),
        ("contact", "e agora?"),
    ]


async def test_other_hours_within_the_stretch_say_it_no_second_time(talk: Conversation):
    turn = await asked(talk)
    await talk.finish(turn, await say(talk, turn, tomorrow(talk)), "3EB0AA")
    assert await say(talk, turn, tomorrow(talk, 36)) == {"refused": "told"}
    assert await say(talk, turn, tomorrow(talk, 6)) == {"refused": "told"}


async def test_what_is_not_answered_while_it_is_closed_counts_as_no_reply(talk: Conversation):
    for _ in range(8):
        turn = await asked(talk, "alguém pode me responder?")
        done = {**held(turn), "reason": "closed", "unanswered": True}
        assert (await talk.database.call("finish_turn", done))["ok"]
    assert {(t["state"], t["reason"]) for t in await talk.turns()} == {("cancelled", "closed")}
    assert not (await talk.session())["is_paused"]


async def test_the_next_stretch_has_its_own(talk: Conversation):
    turn = await asked(talk)
    await talk.finish(turn, await say(talk, turn, tomorrow(talk)), "3EB0AA")
    await talk.database.call("finish_turn", {**held(turn), "reason": "closed"})
    await talk.travel(hours=20)
    turn = await asked(talk, "boa noite")
    assert (await say(talk, turn, tomorrow(talk)))["ok"]


async def test_what_did_not_leave_is_said_again(talk: Conversation):
    turn = await asked(talk)
    begun = await say(talk, turn, tomorrow(talk))
    await talk.database.call("fail_send", {"tenant_id": 1, "message_id": begun["message_id"]})
    assert (await say(talk, turn, tomorrow(talk)))["ok"]


async def test_what_is_in_doubt_is_not_said_again_and_keeps_no_reply_back(talk: Conversation):
    turn = await asked(talk)
    begun = await say(talk, turn, tomorrow(talk))
    doubted = {"tenant_id": 1, "message_id": begun["message_id"], "error": "x", "check_after": 3}
    await talk.database.call("doubt_send", doubted)
    assert await say(talk, turn, tomorrow(talk)) == {"refused": "told"}
    await talk.save(turn, "Olá!")
    reply = await talk.begin(turn, "Olá!")
    await talk.finish(turn, reply, "3EB0AB")
    assert await talk.turn_states() == ["sent"]


async def test_a_human_silences_it(talk: Conversation):
    turn = await asked(talk)
    await talk.owner_writes("deixa comigo")
    assert (await say(talk, turn, tomorrow(talk)))["refused"] == "paused"
    assert (await talk.session())["away_until"] is None


@pytest.mark.parametrize("known", [True, False])
async def test_its_echo_never_pauses_us(talk: Conversation, known: bool):
    turn = await asked(talk)
    begun = await say(talk, turn, tomorrow(talk))
    if known:
        await talk.finish(turn, begun, "3EB0AA")
    for origin in ("send", "upsert"):
        echo = await talk.owner_writes(CLOSED, wa_id="3EB0AA", origin=origin)
        assert echo["decision"] == "own_message"
    assert not (await talk.session())["is_paused"]


async def test_the_same_words_of_the_owner_later_are_a_takeover(talk: Conversation):
    turn = await asked(talk)
    await talk.finish(turn, await say(talk, turn, tomorrow(talk)), "3EB0AA")
    assert (await talk.owner_writes(CLOSED, wa_id="ACFFFF"))["decision"] == "takeover"


async def test_a_stale_attempt_says_nothing(talk: Conversation):
    turn = await asked(talk)
    other = {**turn, "token": "5b6cf6b0-0000-4000-8000-000000000001"}
    assert (await say(talk, other, tomorrow(talk)))["refused"] == "stale"


async def test_two_that_ask_at_once_get_one_yes(talk: Conversation):
    turn = await asked(talk)
    opens_at = tomorrow(talk)
    answers = await asyncio.gather(*(say(talk, turn, opens_at) for _ in range(3)))
    assert sorted("ok" in answer for answer in answers) == [False, False, True]


async def test_two_sessions_that_become_one_keep_what_was_told(talk: Conversation):
    lid = "201955550001001@lid"
    await talk.maria_writes("oi", jids=[lid])
    turn = await talk.claim_one(lease=600)
    opens_at = tomorrow(talk)
    await talk.finish(turn, await say(talk, turn, opens_at), "3EB0AA", jid=lid)
    await talk.database.call("finish_turn", held(turn))
    await talk.maria_writes("oi de novo")
    await talk.maria_writes("sou eu", jids=[MARIA, lid])
    turn = await talk.claim_one(lease=600)
    assert await say(talk, turn, opens_at) == {"refused": "told"}


async def test_what_whatsapp_did_not_deliver_is_said_again(talk: Conversation):
    turn = await asked(talk)
    begun = await say(talk, turn, tomorrow(talk))
    await talk.finish(turn, begun, "3EB0AA")
    await talk.sql("update messages set status = 'error' where id = $1", begun["message_id"])
    done = {**held(turn), "reason": "closed", "unanswered": True}
    await talk.database.call("finish_turn", done)
    turn = await asked(talk, "alguém aí?")
    assert turn["session"]["away_until"] is None
    assert (await say(talk, turn, tomorrow(talk)))["ok"]


@pytest.mark.parametrize("how", ["failed", "error"])
@pytest.mark.parametrize("failed", [0, 1], ids=["the phone's failed", "the LID's failed"])
async def test_of_two_that_become_one_what_did_not_arrive_hides_nothing(
    talk: Conversation, failed: int, how: str
):
    lid, said = "201955550001001@lid", []
    # The one that did not arrive names the later opening.
    for number, jid in enumerate((MARIA, lid)):
        await talk.maria_writes("oi", jids=[jid])
        turn = await talk.claim_one(lease=600)
        begun = await say(talk, turn, tomorrow(talk, 24 if number == failed else 12))
        await talk.finish(turn, begun, f"3EB0A{number}", jid=jid)
        await talk.database.call("finish_turn", held(turn))
        said.append(begun["message_id"])
    column = {"failed": "send_state", "error": "status"}[how]
    await talk.sql(f"update messages set {column} = '{how}' where id = $1", said[failed])
    await talk.maria_writes("sou eu", jids=[MARIA, lid])
    session = await talk.session()
    assert session["away_message_id"] == said[1 - failed]
    turn = await talk.claim_one(lease=600)
    assert await say(talk, turn, tomorrow(talk)) == {"refused": "told"}
