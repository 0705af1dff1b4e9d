"""Takeover: the moment a human of the business writes, the AI falls silent."""

import pytest

from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, held


async def test_the_owner_writing_first_pauses_before_any_session_exists(talk: Conversation):
    assert (await talk.owner_writes("oi Maria, tudo bem?"))["decision"] == "takeover"
    assert (await talk.maria_writes("tudo!"))["decision"] == "paused"
    assert await talk.turns() == []


async def test_the_owner_writing_inside_the_debounce_cancels_the_pending_turn(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.owner_writes("deixa comigo")
    (turn,) = await talk.turns()
    assert (turn["state"], turn["reason"]) == ("cancelled", "takeover")
    await talk.travel(seconds=20)
    assert await talk.claim() == []


async def test_the_owner_writing_during_the_llm_call_makes_the_fence_refuse(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.owner_writes("deixa comigo")
    assert (await talk.save(turn, "Olá!"))["refused"] == "paused"
    assert (await talk.begin(turn, "Olá!"))["refused"] == "paused"
    assert (await talk.session())["is_paused"]


async def test_between_two_parts_the_fence_refuses_the_second(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    begun = await talk.begin(turn, "um")
    await talk.owner_writes("deixa comigo")
    await talk.finish(turn, begun, "3EB001")
    assert (await talk.begin(turn, "dois", part=1))["refused"] == "paused"
    (row,) = await talk.turns()
    assert (row["state"], row["incomplete"]) == ("sent", True)


@pytest.mark.parametrize("kind", ["reaction", "poll_vote"])
async def test_a_reaction_of_the_owner_is_not_a_takeover(talk: Conversation, kind: str):
    await talk.maria_writes("oi")
    assert (await talk.owner_writes("[reacted 👍]", kind=kind))["decision"] == "recorded"
    assert await talk.turn_states() == ["pending"]


async def test_evolutions_own_reply_to_a_call_is_not_a_takeover(talk: Conversation):
    decision = await talk.owner_writes("Não atendemos ligações", status="PENDING")
    assert decision["decision"] == "automatic_reply"
    assert not (await talk.session())["is_paused"]


async def test_a_greeting_within_the_configured_seconds_is_not_a_takeover(talk: Conversation):
    await talk.set_rule("auto_reply_seconds", 2)
    await talk.maria_writes("oi", ago=1)
    assert (await talk.owner_writes("Bem-vindo à loja!"))["decision"] == "automatic_reply"
    assert await talk.turn_states() == ["pending"]


async def test_without_that_setting_the_same_message_is_a_takeover(talk: Conversation):
    await talk.maria_writes("oi", ago=1)
    assert (await talk.owner_writes("Bem-vindo à loja!"))["decision"] == "takeover"


async def test_another_clients_send_is_a_takeover_unless_the_tenant_says_otherwise(
    talk: Conversation,
):
    decision = await talk.owner_writes("do Chatwoot", origin="send", status="PENDING")
    assert decision["decision"] == "takeover"
    await talk.set_rule("other_client_takeover", False)
    quiet = await talk.owner_writes("campanha", origin="send", status="PENDING", jids=[JOAO])
    assert quiet["decision"] == "recorded"
    echo = await talk.owner_writes("campanha", wa_id=await last_id(talk), jids=[JOAO])
    assert echo["decision"] == "own_message"
    assert not (await talk.session(JOAO))["is_paused"]


async def test_an_owners_message_that_arrives_hours_late_does_not_pause(talk: Conversation):
    decision = await talk.owner_writes("ontem", ago=3 * 3600)
    assert decision["decision"] == "takeover_over"
    assert not (await talk.session())["is_paused"]


async def test_an_operators_resume_stands_against_an_older_message_of_the_owner(talk: Conversation):
    await talk.owner_writes("oi")
    session = await talk.session()
    await talk.travel(minutes=5)
    await talk.database.call("resume_session", who(session))
    assert (await talk.owner_writes("de antes", ago=200))["decision"] == "takeover_over"
    assert (await talk.owner_writes("de agora"))["decision"] == "takeover"


async def test_a_pause_holds_under_every_identity_of_the_person(talk: Conversation):
    await talk.maria_writes("oi", jids=[MARIA_LID, MARIA])
    await talk.owner_writes("deixa comigo", jids=[MARIA])
    assert (await talk.maria_writes("ok", jids=[MARIA_LID]))["decision"] == "paused"


async def test_a_pause_of_either_half_holds_when_two_sessions_turn_out_to_be_one_person(
    talk: Conversation,
):
    await talk.maria_writes("oi", jids=[MARIA_LID])
    await talk.owner_writes("deixa comigo", jids=[MARIA])
    decision = await talk.maria_writes("sou eu", jids=[MARIA, MARIA_LID])
    assert decision["decision"] == "paused"
    assert await talk.turn_states() == ["cancelled"]
    assert (await talk.session(MARIA))["id"] == (await talk.session(MARIA_LID))["id"]


async def test_a_pause_ends_after_resume_after_hours_by_auto_resume(talk: Conversation):
    await talk.owner_writes("oi")
    await talk.travel(hours=1, minutes=59)
    assert (await talk.database.call("auto_resume", {"policy": POLICY}))["resumed"] == 0
    await talk.travel(minutes=2)
    assert (await talk.database.call("auto_resume", {"policy": POLICY}))["resumed"] == 1
    assert not (await talk.session())["is_paused"]


async def test_a_pause_that_has_run_out_does_not_wait_for_cron_when_the_customer_writes(
    talk: Conversation,
):
    await talk.owner_writes("oi")
    await talk.travel(hours=2, minutes=1)
    assert (await talk.maria_writes("voltei"))["decision"] == "turn_pending"
    assert (await talk.session())["resume_source"] == "cron"


async def test_each_message_of_the_owner_prolongs_the_pause(talk: Conversation):
    await talk.owner_writes("oi")
    await talk.travel(hours=1)
    await talk.owner_writes("ainda aqui")
    await talk.travel(hours=1, minutes=30)
    assert (await talk.database.call("auto_resume", {"policy": POLICY}))["resumed"] == 0


async def test_after_a_resume_what_nobody_answered_is_answered_by_one_turn(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.owner_writes("oi Maria, já vejo")
    await talk.maria_writes("obrigada")
    await talk.maria_writes("e o preço?")
    session = await talk.session()

    resumed = await talk.database.call("resume_session", who(session))

    (turn,) = await talk.claim()
    assert turn["turn_id"] == resumed["turn_id"]
    assert [m["body"] for m in turn["history"] if m["in_turn"]] == ["obrigada", "e o preço?"]
    assert ("owner", "oi Maria, já vejo") in [(m["sender"], m["body"]) for m in turn["history"]]


async def test_after_a_resume_what_the_human_answered_or_what_is_old_is_left_alone(
    talk: Conversation,
):
    await talk.maria_writes("pergunta")
    await talk.owner_writes("resposta")
    await talk.maria_writes("de outro contato, antigo", jids=[JOAO], ago=2 * 3600)
    resumed = await talk.database.call("resume_session", who(await talk.session()))
    assert resumed["turn_id"] is None


async def test_an_operators_pause_with_its_own_end_or_none_at_all(talk: Conversation):
    await talk.maria_writes("oi")
    session = await talk.session()
    until = (talk.now().replace(microsecond=0)).isoformat()
    await talk.travel(seconds=-600)
    await talk.database.call("pause_session", {**who(session), "until": until})
    await talk.travel(seconds=601)
    assert (await talk.database.call("auto_resume", {"policy": POLICY}))["resumed"] == 1

    await talk.database.call("pause_session", {**who(session), "indefinite": True})
    await talk.travel(days=30)
    assert (await talk.database.call("auto_resume", {"policy": POLICY}))["resumed"] == 0
    assert (await talk.owner_writes("oi"))["decision"] == "takeover"
    await talk.travel(days=30)
    assert (await talk.database.call("auto_resume", {"policy": POLICY}))["resumed"] == 0


async def test_a_pause_made_before_any_message_holds(talk: Conversation):
    tenant_id = await talk.value("select id from tenants")
    await talk.database.call(
        "pause_contact", {"tenant_id": tenant_id, "jids": [MARIA], "source": "operator"}
    )
    assert (await talk.maria_writes("oi"))["decision"] == "paused"


async def test_a_takeover_while_a_retry_waits_ends_the_turn(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.fail(turn)
    await talk.owner_writes("deixa comigo")
    assert await talk.turn_states() == ["cancelled"]
    assert (await talk.database.call("release_turn", held(turn)))["refused"] == "stale"


def who(session: dict) -> dict:
    return {
        "tenant_id": session["tenant_id"],
        "session_id": session["id"],
        "source": "operator",
        "policy": POLICY,
    }


async def last_id(talk: Conversation) -> str:
    return await talk.value("select wa_id from messages order by id desc limit 1")


async def test_the_owners_words_to_another_customer_are_no_send_of_ours_that_is_in_doubt(
    talk: Conversation,
):
    """Maria is known by her phone alone; João, by a LID that is his."""
    lid = "201955550002002@lid"
    await talk.maria_writes("sou o João", jids=[lid])
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.save(turn, "Bom dia!")
    await talk.begin(turn, "Bom dia!")
    decision = await talk.owner_writes("Bom dia!", jids=[lid], wa_id="3EB0CCCC")
    assert decision["decision"] == "takeover"
    assert (await talk.session(lid))["is_paused"]
    assert not (await talk.session())["is_paused"]
