"""A server that a tenant named answers a send with whatever id it likes; nothing else changes."""

from typing import Any

import pytest

from tests.state.conversation import MARIA, POLICY, Conversation, held

JOAO = "5511955550002@s.whatsapp.net"
BY_HAND = {"android": "AC" + 30 * "7", "iphone": "3A" + 18 * "7", "desktop": "3F" + 18 * "7"}
WEB = "3EB0" + 18 * "7"


async def everything(talk: Conversation, session_id: int) -> list[Any]:
    """All that is known of a conversation."""
    return [
        await talk.sql("select * from sessions where id = $1", session_id),
        await talk.sql("select * from messages where session_id = $1 order by id", session_id),
        await talk.sql("select * from turns where session_id = $1 order by id", session_id),
    ]


async def leaving(talk: Conversation, words: str = "Olá, Maria!") -> tuple[Any, Any]:
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, words)
    return turn, await talk.begin(turn, words)


async def settled(talk: Conversation, turn: Any, begun: Any, wa_id: str, how: str) -> Any:
    if how == "answer":
        return await talk.finish(turn, begun, wa_id)
    return await talk.database.call(
        "settle_send",
        {
            **held(turn),
            "message_id": begun["message_id"],
            "outcome": "sent",
            "wa_id": wa_id,
            "check_after": 3,
            "give_up_hours": 24,
            "late_seconds": 120,
        },
    )


HOW = pytest.mark.parametrize("how", ["answer", "evidence"])


@HOW
@pytest.mark.parametrize("wa_id", [*BY_HAND.values(), WEB])
async def test_a_humans_message_in_another_chat_stays_and_so_does_its_pause(
    talk: Conversation, how: str, wa_id: str
):
    await talk.maria_writes("oi, sou o João", jids=(JOAO,), author_name="João")
    await talk.travel(seconds=11)
    turn, begun = await leaving_beside(talk)
    await talk.owner_writes("deixa comigo", jids=(JOAO,), wa_id=wa_id)
    joao = await talk.session(JOAO)
    assert joao["is_paused"]
    before = await everything(talk, joao["id"])

    answer = await settled(talk, turn, begun, wa_id, how)
    assert answer["id_taken"] is True
    assert await everything(talk, joao["id"]) == before
    (sent,) = await talk.sql("select * from messages where id = $1", begun["message_id"])
    assert (sent["send_state"], sent["wa_id"]) == ("sent", None)
    assert answer["turn_state"] == "sent"


async def leaving_beside(talk: Conversation) -> tuple[Any, Any]:
    """A reply to Maria that is leaving while João's waits."""
    await talk.maria_writes("tem bolo?")
    await talk.travel(seconds=11)
    turns = await talk.claim()
    (turn,) = (turn for turn in turns if turn["session"]["jid"] == MARIA)
    await talk.save(turn, "Olá, Maria!")
    return turn, await talk.begin(turn, "Olá, Maria!")


@HOW
async def test_what_we_sent_to_somebody_else_keeps_its_id(talk: Conversation, how: str):
    await talk.maria_writes("oi, sou o João", jids=(JOAO,), author_name="João")
    await talk.answer("Olá, Maria!", wa_id="3EB0AAAA")
    joao = await talk.session(JOAO)
    before = await everything(talk, joao["id"])
    turn, begun = await leaving(talk)
    await settled(talk, turn, begun, "3EB0AAAA", how)
    assert await everything(talk, joao["id"]) == before


@HOW
@pytest.mark.parametrize("jid", [MARIA, JOAO])
async def test_a_contacts_message_keeps_its_id_for_itself(talk: Conversation, how: str, jid: str):
    await talk.maria_writes("oi", jids=(jid,), wa_id="AC01", expects_reply=False)
    turn, begun = await leaving(talk)
    assert (await settled(talk, turn, begun, "AC01", how))["id_taken"] is True
    assert await talk.sql("select from_me, body from messages where wa_id = 'AC01'") == [
        {"from_me": False, "body": "oi"}
    ]


@HOW
@pytest.mark.parametrize("wa_id", BY_HAND.values(), ids=BY_HAND)
async def test_what_a_human_typed_on_a_phone_is_no_echo_of_ours(
    talk: Conversation, how: str, wa_id: str
):
    turn, begun = await leaving(talk)
    await talk.owner_writes("deixa comigo", wa_id=wa_id)
    assert (await settled(talk, turn, begun, wa_id, how))["id_taken"] is True
    session = await talk.session()
    assert session["is_paused"]
    assert ("owner", "deixa comigo") in await talk.sayings()


@HOW
async def test_what_a_human_wrote_before_the_send_is_no_echo_of_it(talk: Conversation, how: str):
    await talk.owner_writes("bom dia", wa_id=WEB, ago=3600)
    await talk.database.call(
        "resume_contact",
        {"tenant_id": 1, "jids": [MARIA], "source": "operator", "policy": POLICY},
    )
    turn, begun = await leaving(talk)
    assert (await settled(talk, turn, begun, WEB, how))["id_taken"] is True
    assert ("owner", "bom dia") in await talk.sayings()


@HOW
async def test_an_earlier_send_that_said_something_else_keeps_its_id(talk: Conversation, how: str):
    await talk.maria_writes("olá")
    await talk.answer("Bom dia!", wa_id="3EB0AAAA")
    turn, begun = await leaving(talk)
    assert (await settled(talk, turn, begun, "3EB0AAAA", how))["id_taken"] is True
    rows = await talk.sql("select body, send_state from messages where wa_id = '3EB0AAAA'")
    assert rows == [{"body": "Bom dia!", "send_state": "sent"}]


@HOW
async def test_the_echo_that_brings_the_right_id_afterwards_is_ours(talk: Conversation, how: str):
    await talk.maria_writes("oi", jids=(JOAO,), wa_id="AC01", expects_reply=False)
    turn, begun = await leaving(talk)
    await settled(talk, turn, begun, "AC01", how)
    echo = await talk.owner_writes("Olá, Maria!", wa_id="3EB0BBBB")
    assert echo["decision"] == "own_message"
    assert not (await talk.session())["is_paused"]
    assert (
        await talk.value("select wa_id from messages where id = $1", begun["message_id"])
        == "3EB0BBBB"
    )


async def test_an_id_that_is_taken_teaches_no_identity(talk: Conversation):
    await talk.maria_writes("oi", jids=(JOAO,), wa_id="AC01", expects_reply=False)
    turn, begun = await leaving(talk)
    await talk.finish(turn, begun, "AC01", jid="201955550002002@lid")
    assert await talk.value("select count(*) from session_identities where jid like '%@lid'") == 0


async def test_after_an_erasure_an_answer_buries_nobody_elses_message(talk: Conversation):
    await talk.maria_writes("oi", jids=(JOAO,), wa_id="AC01", expects_reply=False)
    argument = {"tenant_id": 1, "message_id": 999_999, "wa_id": "AC01"}
    assert await talk.database.call("finish_send", argument) == {"turn_state": None}
    assert await talk.value("select count(*) from erased_messages") == 0


async def test_a_status_is_a_word_of_whatsapps_or_none(talk: Conversation):
    turn, begun = await leaving(talk)
    argument = {
        "tenant_id": turn["tenant"]["tenant_id"],
        "message_id": begun["message_id"],
        "wa_id": "3EB0AAAA",
        "status": "s" * 100_000,
    }
    await talk.database.call("finish_send", argument)
    assert await talk.value("select status from messages where wa_id = '3EB0AAAA'") is None
