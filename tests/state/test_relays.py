"""What people say to a contact through HybridFlow: over the API, and by quoting a notice."""

import asyncio
from typing import Any

import pytest

from router.errors import Conflict, Invalid, NotAllowed, NotFound
from router.state.database import Json
from tests.state.conversation import POLICY, Conversation
from tests.state.test_callers import ANA, BOSS, call, key_for, lines

STAFF = "5531988880009@s.whatsapp.net"
SAID = "Sou a Ana, posso ajudar?"


async def write(talk: Conversation, key: str = "k-1", by: Json = BOSS, **more: Any) -> Json:
    session_id = more.pop("session_id", None) or (await talk.session())["id"]
    body = more.pop("body", SAID)
    asked = {
        "tenant_id": 1, "session_id": session_id, "idempotency_key": key, "body": body,
        "request_hash": f"hash of {body}", "request": {"path": "message/sendText", "body": {}},
        "identity": f"identity of {body}",
    }  # fmt: skip
    written: Json = await call(talk, by, "send_message", **asked, **more)
    return written


async def claim(talk: Conversation, **more: object) -> list[Json]:
    asked = {"limit": 10, "lease_seconds": 60, **more}
    relays: list[Json] = (await talk.database.call("claim_relays", asked))["relays"]
    return relays


async def claim_one(talk: Conversation) -> Json:
    (relay,) = await claim(talk)
    return relay


def held(relay: Json) -> Json:
    return {"relay_id": relay["relay_id"], "token": relay["token"]}


async def begin(talk: Conversation, relay: Json, body: str = SAID) -> Json:
    asked = {**held(relay), "body": body, "identity": f"identity of {body}", "lease_seconds": 45}
    return await talk.database.call("begin_relay_send", asked)


async def say_word(talk: Conversation, relay: Json, body: str = "Sent.") -> Json:
    return await talk.database.call(
        "begin_word_send", {**held(relay), "body": body, "lease_seconds": 45}
    )


async def obey(talk: Conversation, relay: Json, command: str, **more: object) -> Json:
    asked = {**held(relay), "command": command, "policy": POLICY, **more}
    return await talk.database.call("obey_staff", asked)


async def settle(talk: Conversation, relay: Json, **what: object) -> Json:
    return await talk.database.call("settle_relay", {**held(relay), **what})


async def left(talk: Conversation, begun: Json, wa_id: str = "3EB0AA") -> None:
    asked = {"tenant_id": 1, "message_id": begun["message_id"], "wa_id": wa_id}
    await talk.database.call("finish_send", asked)


# Operators, over the API


async def test_what_an_operator_writes_takes_over_and_is_written_down_at_once(talk: Conversation):
    await talk.maria_writes("quero falar com gente")
    written = await write(talk)
    assert (written["state"], written["message"]["sender"]) == ("waiting", "operator")
    assert (written["message"]["body"], written["message"]["author_name"]) == (SAID, "boss")
    session = await talk.session()
    assert (session["is_paused"], session["pause_source"]) == (True, "operator")
    assert await talk.turn_states() == ["cancelled"]


async def test_the_turn_that_is_being_answered_is_stopped_by_it(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await write(talk)
    await talk.save(turn, "Olá!")
    assert (await talk.begin(turn, "Olá!"))["refused"] == "paused"


async def test_it_is_sent_once_and_its_echo_is_ours(talk: Conversation):
    await talk.maria_writes("oi")
    await write(talk)
    relay = await claim_one(talk)
    begun = await begin(talk, relay)
    assert (begun["ok"], begun["jid"]) == (True, "5511955550001@s.whatsapp.net")
    echo = await talk.owner_writes(SAID, wa_id=begun["chosen_id"])
    assert echo["decision"] == "own_message"
    await left(talk, begun, begun["chosen_id"])
    await settle(talk, relay, outcome="sent", over=True)
    assert await claim(talk) == []
    rows = await talk.sql("select sender, send_state from messages where from_me")
    assert [(row["sender"], row["send_state"]) for row in rows] == [("operator", "sent")]
    assert (await talk.session())["pause_source"] == "operator"


async def test_the_same_key_again_does_nothing_more_and_tells_what_became_of_it(talk: Conversation):
    await talk.maria_writes("oi")
    first = await write(talk)
    begun = await begin(talk, await claim_one(talk))
    await left(talk, begun)
    again = await write(talk)
    assert (again["already"], again["state"]) == (True, "sent")
    assert again["message"]["id"] == first["message"]["id"]
    assert await talk.value("select count(*) from relays") == 1


async def test_the_same_key_for_something_else_is_refused(talk: Conversation):
    await talk.maria_writes("oi")
    await write(talk)
    with pytest.raises(Invalid, match="Idempotency-Key"):
        await write(talk, body="outra coisa")
    assert await talk.value("select count(*) from relays") == 1


async def test_another_callers_key_is_another_key(talk: Conversation):
    await talk.maria_writes("oi")
    first = await write(talk)
    key = await key_for(talk, "operator", 1)
    second = await write(talk, by=key, body="oi", seen_message_id=first["message"]["id"])
    assert second["message"]["id"] != first["message"]["id"]


async def test_two_operators_at_once_are_one_and_one_who_has_to_look(talk: Conversation):
    seen = (await talk.maria_writes("oi"))["message_id"]
    night = await key_for(talk, "operator", 1)
    answers = await asyncio.gather(
        write(talk, "a", seen_message_id=seen),
        write(talk, "b", by=night, body="Olá, sou a Bia", seen_message_id=seen),
        return_exceptions=True,
    )
    (refused,) = [each for each in answers if isinstance(each, BaseException)]
    assert isinstance(refused, Conflict)
    (passed,) = [each for each in answers if not isinstance(each, BaseException)]
    newer = passed["message"]["id"]
    assert str(newer) in str(refused)
    assert await talk.value("select count(*) from messages where from_me") == 1
    both = {"a": BOSS, "b": night}
    for key, by in both.items():
        if (await talk.value("select idempotency_key from relays")) != key:
            assert await write(talk, key, by=by, body="Olá!", seen_message_id=newer)
            break


@pytest.mark.parametrize("saw", [True, False])
async def test_who_does_not_say_what_they_saw_saw_nothing_of_this_pause(
    talk: Conversation, saw: bool
):
    await talk.maria_writes("oi", ago=30)
    owner = await talk.owner_writes("aqui é o dono")
    if saw:
        assert await write(talk, seen_message_id=owner["message_id"])
        return
    await talk.travel(minutes=1)
    again = {"tenant_id": 1, "session_id": owner["session_id"], "source": "operator"}
    await talk.database.call("pause_session", {**again, "policy": POLICY})  # the same pause goes on
    with pytest.raises(Conflict, match="another person wrote"):
        await write(talk)


async def test_ones_own_messages_need_not_be_seen(talk: Conversation):
    await talk.maria_writes("oi")
    await write(talk)
    assert (await write(talk, "k-2", body="E mais uma coisa"))["state"] == "waiting"


async def test_what_they_say_they_saw_rules_ones_own_messages_too(talk: Conversation):
    seen = (await talk.maria_writes("oi"))["message_id"]
    own = (await write(talk, seen_message_id=seen))["message"]["id"]
    with pytest.raises(Conflict, match=str(own)):  # two people may share a key
        await write(talk, "k-2", body="Olá, sou a Bia", seen_message_id=seen)
    assert await write(talk, "k-2", body="Olá, sou a Bia", seen_message_id=own)


async def test_a_message_of_which_nothing_was_begun_has_failed_with_its_relay(talk: Conversation):
    await talk.maria_writes("oi")
    await write(talk)
    await settle(talk, await claim_one(talk), outcome="failed", error="too old", over=True)
    assert await talk.value("select send_state from messages where from_me") == "failed"
    assert (await write(talk))["state"] == "failed"


async def test_what_was_not_begun_is_begun_by_whoever_comes_next(talk: Conversation):
    """The router died between the two: nothing looks for a message that never began."""
    await talk.maria_writes("oi")
    await write(talk)
    doubts = {"limit": 9, "lease_seconds": 60, "after_seconds": 30}
    await talk.travel(minutes=5)
    assert (await talk.database.call("claim_doubts", doubts))["sends"] == []
    relay = await claim_one(talk)
    assert relay["send_state"] is None
    assert (await begin(talk, relay))["ok"]


async def test_what_has_begun_is_not_begun_again_before_it_is_known_how_it_ended(
    talk: Conversation,
):
    await talk.maria_writes("oi")
    await write(talk)
    begun = await begin(talk, await claim_one(talk))
    await talk.travel(minutes=5)
    relay = await claim_one(talk)
    assert relay["send_state"] == "sending"
    assert (await begin(talk, relay))["refused"] == "in_doubt"
    settled = {
        "tenant_id": 1, "message_id": begun["message_id"], "outcome": "not_sent",
        "check_after": 3, "give_up_hours": 24, "late_seconds": 120,
    }  # fmt: skip
    await talk.database.call("settle_doubt", settled)
    again = await begin(talk, relay)
    assert again["ok"]
    assert again["message_id"] != begun["message_id"]
    await left(talk, again)
    assert (await write(talk))["state"] == "sent"
    author = "select author_name from messages where id = $1"
    assert await talk.value(author, again["message_id"]) == "boss"


async def test_what_certainly_did_not_leave_begins_again_in_its_row(talk: Conversation):
    await talk.maria_writes("oi")
    await write(talk)
    relay = await claim_one(talk)
    begun = await begin(talk, relay)
    named = {"tenant_id": 1, "message_id": begun["message_id"], "chosen_id": begun["chosen_id"]}
    await talk.database.call("fail_send", named)
    await settle(talk, relay, again_in=5, error="the line is closed")
    assert (await write(talk))["error"] == "the line is closed"
    await talk.travel(seconds=6)
    again = await begin(talk, await claim_one(talk))
    assert (again["ok"], again["message_id"]) == (True, begun["message_id"])
    assert again["chosen_id"] != begun["chosen_id"]


async def test_of_one_conversation_the_next_goes_when_the_one_before_is_done(talk: Conversation):
    await talk.maria_writes("oi")
    await write(talk, "1", body="um")
    await write(talk, "2", body="dois")
    first = await claim_one(talk)
    assert await claim(talk) == []
    await settle(talk, first, outcome="failed", over=True)
    assert (await claim_one(talk))["relay_id"] > first["relay_id"]


async def test_of_one_tenant_four_are_on_their_way_at_a_time(talk: Conversation):
    """Its server may hang: the places of a router are for others, too."""
    for number in range(6):
        jids = (f"551195555100{number}@s.whatsapp.net",)
        wrote = await talk.maria_writes("oi", jids=jids)
        await write(talk, f"k-{number}", session_id=wrote["session_id"])
    first = await claim(talk)
    assert len(first) == 4
    assert await claim(talk) == []
    await settle(talk, first[0], again_in=60)
    await settle(talk, first[1], outcome="failed", over=True)
    assert len(await claim(talk)) == 2


async def test_a_viewer_may_not_and_another_tenants_session_is_none(talk: Conversation):
    await talk.maria_writes("oi")
    with pytest.raises(NotAllowed):
        await write(talk, by=await key_for(talk, "viewer", 1))
    with pytest.raises(NotFound):
        await write(talk, by=ANA)
    with pytest.raises(NotFound):
        await write(talk, session_id=4711)


async def test_it_is_audited_without_its_words(talk: Conversation):
    await talk.maria_writes("oi")
    written = await write(talk)
    line = (await lines(talk, tenant_id=1))[0]
    assert (line["action"], line["caller"]) == ("send_message", "boss")
    assert line["detail"]["message_id"] == written["message"]["id"]
    assert SAID not in str(line)


async def test_an_erased_contacts_relays_go_with_it(talk: Conversation):
    await talk.maria_writes("oi")
    await write(talk)
    relay = await claim_one(talk)
    contact = {"tenant_id": 1, "jids": ["5511955550001@s.whatsapp.net"]}
    hashes = {"5511955550001@s.whatsapp.net": ["00" * 32]}
    await talk.database.call("erase_contact", {**contact, "hashes": hashes})
    assert (await begin(talk, relay))["refused"] == "unknown_relay"


# The staff, by quoting a notice


async def test_of_an_erased_contact_the_staffs_conversation_keeps_no_word(talk: Conversation):
    """Neither what was written to them there, with the notice that it quoted, nor the word back."""
    await told(talk)
    await staff_write(talk, SAID)
    relay = await claim_one(talk)
    await left(talk, await begin(talk, relay))
    await settle(talk, relay, outcome="sent")
    await left(talk, await say_word(talk, relay, "Sent to Maria (5511955550001)."), "3EB0WORD")
    await talk.ingest(talk.message("bom dia", jids=(STAFF,)))  # about nobody
    contact = {"tenant_id": 1, "jids": ["5511955550001@s.whatsapp.net"]}
    hashes = {"5511955550001@s.whatsapp.net": ["00" * 32]}
    await talk.database.call("erase_contact", {**contact, "hashes": hashes})
    kept = await talk.sql("select body, quoted from messages order by id")
    assert [(row["body"], row["quoted"]) for row in kept if row["body"] or row["quoted"]] == [
        ("bom dia", None)
    ]


async def told(talk: Conversation, number: str = STAFF, wa_id: str = "3EB0NOTICE") -> None:
    """Maria wants a human, and the staff have the notice on their phone."""
    await talk.set_rule("notify_number", number.removesuffix("@s.whatsapp.net"))
    await talk.maria_writes("quero falar com gente")
    turn = await talk.claim_one()
    handed = {"turn_id": turn["turn_id"], "token": turn["token"]}
    await talk.database.call("hand_off", {**handed, "reason": "asked_for_person"})
    claimed = await talk.database.call(
        "claim_notices", {"limit": 9, "lease_seconds": 60, "max_attempts": 5}
    )
    (notice,) = claimed["notices"]
    about = {"notice_id": notice["notice_id"], "token": notice["token"]}
    begun = await talk.database.call(
        "begin_notice_send", {**about, "body": "Maria needs a person", "lease_seconds": 45}
    )
    await left(talk, begun, wa_id)
    await talk.database.call("finish_notice", {**about, "handler": "fallback"})


async def staff_write(
    talk: Conversation, text: str, quoted: str | None = "3EB0NOTICE", **how: Any
) -> Json:
    more: Json = {name: how.pop(name) for name in ("media", "is_command") if name in how}
    told: Json = {"jids": (STAFF,), "author_name": "Ana", **how}
    event = talk.message(text, **told)
    if quoted is not None:
        event["quoted"] = {"wa_id": quoted, "text": None}
    return (await talk.ingest({**event, **more}))[0]


async def test_what_quotes_a_notice_is_for_its_customer_and_takes_over(talk: Conversation):
    await told(talk)
    decided = await staff_write(talk, "Já te ligo, Maria")
    assert (decided["decision"], decided["relayed"]) == ("staff", True)
    relay = await claim_one(talk)
    assert (relay["source"], relay["words"]["text"]) == ("staff", "Já te ligo, Maria")
    assert relay["facts"]["name"] == "Maria"
    begun = await begin(talk, relay, "Já te ligo, Maria")
    assert begun["jid"] == "5511955550001@s.whatsapp.net"
    sent = (await talk.sql("select * from messages where id = $1", begun["message_id"]))[0]
    assert (sent["sender"], sent["author_name"]) == ("operator", "Ana")
    assert await talk.value("select state from handoffs") == "taken"


async def test_of_two_who_quote_a_notice_the_second_is_told_who_answered(talk: Conversation):
    """As over the API, until they have been told; who has written it themselves knows of it."""
    await told(talk)
    for author, text in (("Ana", SAID), ("Ana", "Já te ligo"), ("Bia", "Oi, é a Bia")):
        await staff_write(talk, text, author_name=author)
    for place in range(2):
        relay = await claim_one(talk)
        await left(talk, await begin(talk, relay, relay["words"]["text"]), f"3EB0A{place}")
        await settle(talk, relay, outcome="sent")
        await left(talk, await say_word(talk, relay), f"3EB0B{place}")
        await settle(talk, relay, over=True)
    relay = await claim_one(talk)
    assert await begin(talk, relay, "Oi, é a Bia") == {"refused": "answered"}
    await settle(talk, relay, again_in=0)
    relay = await claim_one(talk)
    assert (relay["outcome"], relay["words"]) == ("answered", None)
    assert (relay["facts"]["answered_by"], relay["facts"]["answer"]) == ("Ana", "Já te ligo")
    await left(talk, await say_word(talk, relay, "Ana answered already"), "3EB0WORD")
    await settle(talk, relay, over=True)

    await talk.travel(seconds=5)
    await staff_write(talk, "Sou a Bia, e levo até aí", author_name="Bia")
    assert "ok" in await begin(talk, await claim_one(talk), "Sou a Bia, e levo até aí")


async def test_who_answered_by_hand_since_the_notice_is_told_too(talk: Conversation):
    await told(talk)
    await talk.owner_writes("oi, aqui é o dono")
    await staff_write(talk, SAID)
    relay = await claim_one(talk)
    assert await begin(talk, relay) == {"refused": "answered"}
    facts = await talk.value("select facts from relays")
    assert (facts.get("answered_by"), facts["answer"]) == (None, "oi, aqui é o dono")
    assert await talk.value("select count(*) from messages where body = $1", SAID) == 1


async def test_the_word_back_goes_to_the_staff_once(talk: Conversation):
    await told(talk)
    await staff_write(talk, "Já te ligo")
    relay = await claim_one(talk)
    await left(talk, await begin(talk, relay))
    await settle(talk, relay, outcome="sent")
    word = await say_word(talk, relay)
    assert (word["ok"], word["jid"]) == (True, STAFF)
    await talk.travel(minutes=5)
    again = await claim_one(talk)
    assert again["outcome"] == "sent"
    assert (await say_word(talk, again))["refused"] == "in_doubt"
    echo = await talk.owner_writes("Sent.", jids=(STAFF,), wa_id=word["chosen_id"])
    assert echo["decision"] == "own_message"
    assert not (await talk.session(STAFF))["is_paused"]


@pytest.mark.parametrize(
    ("command", "outcome", "paused", "state"),
    [("take", "taken", True, "taken"), ("resume", "resumed", False, "done")],
)
async def test_a_command_takes_the_handoff_or_gives_it_back(
    talk: Conversation, command: str, outcome: str, paused: bool, state: str
):
    await told(talk)
    await staff_write(talk, "ok", is_command=True)
    done = await obey(talk, await claim_one(talk), command)
    assert (done["outcome"], done["was_paused"]) == (outcome, True)
    assert (await talk.session())["is_paused"] is paused
    assert await talk.value("select state from handoffs") == state
    line = (await lines(talk, tenant_id=1))[0]
    assert (line["caller_kind"], line["caller"]) == ("owner", "staff")


async def test_a_time_gives_it_back_then_whatever_else_paused_it(talk: Conversation):
    await told(talk)
    await talk.owner_writes("oi, aqui é o dono")
    await staff_write(talk, "30m", is_command=True)
    until = (talk.now()).replace(microsecond=0)
    done = await obey(
        talk, await claim_one(talk), "until", until=until.isoformat()
    )  # not in the future
    assert done["outcome"] == "past"
    await talk.sql("update relays set outcome = null")
    relay = await claim_after_lease(talk)
    soon = await talk.value("select hybridflow.clock() + interval '30 minutes'")
    done = await obey(talk, relay, "until", until=soon.isoformat())
    assert done["outcome"] == "until"
    await talk.travel(minutes=31)
    await talk.database.call("auto_resume", {"policy": POLICY})
    assert not (await talk.session())["is_paused"]


async def claim_after_lease(talk: Conversation) -> Json:
    await talk.travel(minutes=2)
    return await claim_one(talk)


async def test_what_is_too_far_away_changes_nothing(talk: Conversation):
    await told(talk)
    await staff_write(talk, "999 dias", is_command=True)
    far = await talk.value("select hybridflow.clock() + interval '31 days'")
    done = await obey(talk, await claim_one(talk), "until", until=far.isoformat())
    assert done["outcome"] == "too_far"
    assert (await talk.session())["paused_until"] is None


@pytest.mark.parametrize("text", ["bom dia", "o bolo acabou?"])
async def test_what_quotes_nothing_is_for_nobody(talk: Conversation, text: str):
    await told(talk)
    decided = await staff_write(talk, text, quoted=None)
    assert decided["decision"] == "staff"
    assert "relayed" not in decided
    assert await talk.value("select count(*) from relays") == 0


async def test_a_command_that_quotes_nothing_is_told_how_once_an_hour(talk: Conversation):
    await told(talk)
    await staff_write(talk, "resume", quoted=None, is_command=True)
    assert (await claim_one(talk))["outcome"] == "unquoted"
    await staff_write(talk, "resume", quoted=None, is_command=True)
    assert await talk.value("select count(*) from relays") == 1
    assert (await talk.session())["is_paused"]


async def test_a_reaction_to_a_notice_is_for_nobody(talk: Conversation):
    await told(talk)
    decided = await staff_write(talk, "👍", kind="reaction")
    assert "relayed" not in decided


@pytest.mark.parametrize(
    "jids",
    [
        ("553188880009@s.whatsapp.net",),
        ("201955550009009@lid", "553188880009@s.whatsapp.net"),
    ],
)
async def test_the_staff_are_known_under_every_spelling(talk: Conversation, jids: tuple[str, ...]):
    await told(talk)
    decided = await staff_write(talk, "Já te ligo", jids=jids)
    assert (decided["decision"], decided.get("relayed")) == ("staff", True)


async def test_a_customer_who_quotes_a_notice_is_a_customer(talk: Conversation):
    await told(talk)
    stranger = "5511955550077@s.whatsapp.net"
    decided = await staff_write(talk, "resume", jids=(stranger,), is_command=True)
    assert decided["decision"] == "turn_pending"
    assert await talk.value("select count(*) from relays") == 0


async def test_the_conversation_of_an_erased_contact_is_told_of_as_such(talk: Conversation):
    await told(talk)
    contact = {"tenant_id": 1, "jids": ["5511955550001@s.whatsapp.net"]}
    hashes = {"5511955550001@s.whatsapp.net": ["00" * 32]}
    await talk.database.call("erase_contact", {**contact, "hashes": hashes})
    await staff_write(talk, "Já te ligo")
    relay = await claim_one(talk)
    assert (relay["outcome"], relay["session_id"]) == ("erased", None)


async def test_what_is_no_notice_is_told_of_as_such(talk: Conversation):
    await told(talk)
    await staff_write(talk, "Já te ligo", quoted="3EB0SOMETHING")
    assert (await claim_one(talk))["outcome"] == "no_notice"


async def test_a_bot_that_quotes_each_word_back_is_told_once_more_and_then_no_more(
    talk: Conversation,
):
    await told(talk)
    quoted, outcomes = "3EB0NOTICE", []
    for answer in range(5):
        await staff_write(talk, "Obrigado pelo contato!", quoted=quoted, wa_id=f"ACBOT{answer}")
        relays = await claim(talk)
        if not relays:
            break
        (relay,) = relays
        if relay["outcome"] is None:
            await left(talk, await begin(talk, relay), "3EB0PASSED")
            await settle(talk, relay, outcome="sent")
            outcomes.append("sent")
        else:
            outcomes.append(relay["outcome"])
        quoted = f"3EB0WORD{answer}"
        await left(talk, await say_word(talk, relay), quoted)
        await settle(talk, relay, over=True)
    assert outcomes == ["sent", "no_notice"]


async def test_who_quotes_themselves_says_nothing_to_anybody(talk: Conversation):
    await told(talk)
    await staff_write(talk, "bom dia", quoted=None, wa_id="ACOWN")
    assert "relayed" not in await staff_write(talk, "viu?", quoted="ACOWN")


async def test_a_notice_whose_id_is_not_known_yet_is_known_by_its_words(talk: Conversation):
    await told(talk)
    await talk.sql(
        "update messages set wa_id = null, send_state = 'unknown' where wa_id = '3EB0NOTICE'"
    )
    event = talk.message("Já te ligo", jids=(STAFF,), author_name="Ana")
    event["quoted"] = {"wa_id": "3EB0OTHER", "text": "Maria needs  a person"}
    await talk.ingest(event)
    assert (await claim_one(talk))["facts"]["name"] == "Maria"


async def test_staff_whose_words_are_too_many_are_told_so_once(talk: Conversation):
    await told(talk)
    await talk.sql(
        "insert into relays (tenant_id, source, next_at)"
        " select 1, 'staff', now() + interval '1 hour' from generate_series(1, 200)"
    )
    await staff_write(talk, "Já te ligo")
    await staff_write(talk, "Alô?")
    relay = await claim_one(talk)
    assert (relay["outcome"], relay["words"]) == ("too_many", None)
    assert await talk.value("select count(*) from relays") == 201


async def test_what_comes_hours_late_is_not_sent(talk: Conversation):
    await told(talk)
    await staff_write(talk, "Já te ligo", ago=2 * 3600)
    assert (await claim_one(talk))["outcome"] == "too_old"


async def test_the_owner_answers_in_the_chat_with_the_own_number(talk: Conversation):
    await told(talk, OWN)
    event = talk.message(
        "Já te ligo", jids=(OWN,), from_me=True, chat="self", wa_id="AC" + "F" * 30
    )
    event["quoted"] = {"wa_id": "3EB0NOTICE", "text": None}
    (decided,) = await talk.ingest(event)
    assert (decided["decision"], decided["relayed"]) == ("staff", True)
    assert (await begin(talk, await claim_one(talk)))["ok"]
    assert not (await talk.session(OWN))["is_paused"]


OWN = "5511955550000@s.whatsapp.net"
OWN_LID = "201955550000000@lid"


async def test_the_own_number_may_be_told_under_its_lid(talk: Conversation):
    await told(talk, OWN)
    event = talk.message("Já te ligo", jids=(OWN_LID,), from_me=True, wa_id="AC0000F2")
    event |= {"quoted": {"wa_id": "3EB0NOTICE", "text": None}, "own_lid": True}
    (decided,) = await talk.ingest(event)
    assert (decided["decision"], decided["relayed"]) == ("staff", True)


async def test_whose_lid_is_only_said_to_be_the_own_one_is_a_customer(talk: Conversation):
    await told(talk, OWN)
    wrote = await talk.maria_writes("oi", jids=("201955550003003@lid",), wa_id="AC0000F3")
    event = talk.message("Olá!", jids=("201955550003003@lid",), from_me=True, wa_id="AC0000F4")
    event |= {"quoted": {"wa_id": "AC0000F3", "text": None}, "own_lid": True}
    (decided,) = await talk.ingest(event)
    assert (decided["decision"], decided["session_id"]) == ("takeover", wrote["session_id"])


async def test_when_the_line_is_back_what_waits_for_it_is_due(talk: Conversation):
    await talk.maria_writes("oi")
    await write(talk)
    relay = await claim_one(talk)
    await settle(talk, relay, again_in=60, error="the line is closed")
    assert await claim(talk) == []
    await talk.ingest(
        {"instance": "shop", "event": "connection.update", "type": "connection", "key": "c-1",
         "state": "open"}
    )  # fmt: skip
    assert len(await claim(talk)) == 1


async def test_the_next_number_is_of_the_staff_whether_or_not_there_is_a_first(talk: Conversation):
    """They are told of a handoff that nobody took; what they write is no customer's."""
    await talk.set_rule("notify_number_next", OWN.partition("@")[0])
    asked = await talk.ingest(talk.message("oi", jids=(OWN,)))
    assert asked[0]["decision"] == "staff"
    await told(talk)
    step = {"handoff_id": 1, "step": 1, "say": "…", "policy": POLICY}
    await talk.sql("update handoffs set step = 1")
    assert (await talk.database.call("press_handoff", step))["did"] == "told_next"
    claim_them = {"limit": 9, "lease_seconds": 60, "max_attempts": 5}
    (notice,) = (await talk.database.call("claim_notices", claim_them))["notices"]
    about = {"notice_id": notice["notice_id"], "token": notice["token"], "body": "Maria waits"}
    begun = await talk.database.call("begin_notice_send", {**about, "lease_seconds": 45})
    await left(talk, begun, "3EB0NEXT")
    event = talk.message("Já te ligo", jids=(OWN,), from_me=True, chat="self", wa_id="AC0000F5")
    event["quoted"] = {"wa_id": "3EB0NEXT", "text": None}
    (decided,) = await talk.ingest(event)
    assert (decided["decision"], decided["relayed"]) == ("staff", True)
    relay = await claim_one(talk)
    assert relay["outcome"] is None, "in the chat with the own number, and not in Ana's"
    assert (await say_word(talk, relay))["jid"] == OWN


async def test_while_the_ai_is_switched_off_the_staff_answer_and_no_word_says_that_it_is_back(
    talk: Conversation,
):
    await told(talk)
    await talk.set_rule("is_active", setting=False)
    assert (await staff_write(talk, "Já te ligo"))["relayed"]
    assert (await begin(talk, await claim_one(talk)))["ok"]
    await talk.sql("delete from relays")
    await staff_write(talk, "resume", is_command=True)
    assert (await obey(talk, await claim_one(talk), "resume"))["outcome"] == "switched_off"
    assert not (await talk.session())["is_paused"]


async def test_a_command_in_the_chat_with_oneself_that_quotes_nothing_is_told_how(
    talk: Conversation,
):
    await told(talk, OWN)
    event = talk.message("resume", jids=(OWN,), from_me=True, chat="self", wa_id="AC0000F6")
    (decided,) = await talk.ingest({**event, "is_command": True})
    assert (decided["decision"], decided["relayed"]) == ("staff", True)
    assert (await claim_one(talk))["outcome"] == "unquoted"
    event = talk.message("leite, ovos", jids=(OWN,), from_me=True, chat="self")
    assert (await talk.ingest(event))[0]["decision"] == "note_to_self"


async def test_a_note_to_oneself_is_nobodys(talk: Conversation):
    await told(talk)
    event = talk.message("leite, ovos", jids=(OWN,), from_me=True, chat="self")
    event["quoted"] = {"wa_id": "3EB0NOTICE", "text": None}
    (decided,) = await talk.ingest(event)
    assert (decided["outcome"], decided["decision"]) == ("ignored", "note_to_self")


async def test_a_group_of_the_staff_answers_as_one_of_them_does(talk: Conversation):
    group = "120363000000000001@g.us"
    await told(talk, group)
    event = talk.message("Já te ligo", jids=(group,), chat="group", author_name=None)
    event["quoted"] = {"wa_id": "3EB0NOTICE", "text": None}
    event["participant_name"] = "Bia"
    (decided,) = await talk.ingest(event)
    assert (decided["decision"], decided["relayed"]) == ("staff", True)
    assert (await claim_one(talk))["words"]["author"] == "Bia"
    on_the_business_phone = {**event, "from_me": True, "key": "own", "wa_id": "AC0000F9"}
    (decided,) = await talk.ingest(on_the_business_phone)
    assert (decided["decision"], decided["relayed"]) == ("staff", True)
    chat = talk.message("bom dia", jids=(group,), chat="group", author_name=None)
    assert (await talk.ingest(chat))[0]["decision"] == "group"
    said = []
    owners = {**event, "wa_id": "AC0000F8", "key": "F8", "quoted": {"wa_id": "AC0000F9"}}
    assert "relayed" not in (await talk.ingest(owners))[0], "the owner's words are no notice"
    for wa_id in ("AC0000G1", "AC0000G2"):  # colleagues quote each other: once they are told how
        each = {**event, "wa_id": wa_id, "key": wa_id, "quoted": {"wa_id": "AC0BIA", "text": "x"}}
        said.append((await talk.ingest(each))[0].get("relayed"))
    assert said == [True, None]
