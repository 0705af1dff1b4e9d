"""A message that was taken for a human's and is none: what it did is undone, and nothing more."""

import pytest

from tests.state.conversation import MARIA, Conversation, answered


async def sent_unseen(talk: Conversation, turn, begun, words: str, wa_id: str = "3EB001"):
    """Our own send comes back in words that nobody can match, before Evolution's answer."""
    return await talk.owner_writes(words, wa_id=wa_id)


async def leaving(talk: Conversation):
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    return turn, await talk.begin(turn, "Olá!")


async def test_a_later_humans_pause_stays(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await leaving(talk)
    await sent_unseen(talk, turn, begun, "Olá, alterado")
    assert (await talk.owner_writes("deixa comigo"))["decision"] == "takeover"
    await talk.finish(turn, begun, "3EB001")
    session = await talk.session()
    assert session["is_paused"]
    said = await talk.value("select id from messages where body = 'deixa comigo'")
    assert session["pause_message_id"] == said


@pytest.mark.parametrize("known_first", [0, 1], ids=["the first", "the second"])
async def test_two_false_ones_are_taken_back_in_either_order(talk: Conversation, known_first: int):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    begun = [await talk.begin(turn, part, part=n) for n, part in enumerate(("um", "dois"))]
    for wa_id in ("3EB000", "3EB001"):
        await talk.owner_writes("alterado", wa_id=wa_id)
    await talk.finish(turn, begun[known_first], f"3EB00{known_first}")
    assert (await talk.session())["is_paused"]
    await talk.finish(turn, begun[1 - known_first], f"3EB00{1 - known_first}")
    assert not (await talk.session())["is_paused"]
    assert await talk.turn_states() == ["sent"]


async def test_an_operators_pause_stays_and_is_an_operators(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn, begun = await leaving(talk)
    until = (talk.now()).replace(microsecond=0).isoformat()
    await talk.database.call(
        "pause_contact",
        {
            "tenant_id": 1,
            "jids": [MARIA],
            "source": "operator",
            "until": until.replace(until[:4], str(int(until[:4]) + 1)),
        },
    )
    await sent_unseen(talk, turn, begun, "Olá, alterado")
    await talk.finish(turn, begun, "3EB001")
    session = await talk.session()
    assert (session["is_paused"], session["pause_source"]) == (True, "operator")


async def test_what_it_stopped_goes_on(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    begun = await talk.begin(turn, "um")
    await talk.maria_writes("e café?")
    await sent_unseen(talk, turn, begun, "um, alterado")
    assert await talk.turn_states() == ["sending", "cancelled"]
    await talk.finish(turn, begun, "3EB001")
    assert not (await talk.session())["is_paused"]
    assert await talk.turn_states() == ["sending", "cancelled", "pending"]
    second = await talk.begin(turn, "dois", part=1)
    assert second["ok"]
    await talk.finish(turn, second, "3EB002")
    assert answered(await talk.claim_one()) == ["e café?"]


async def test_what_it_ended_between_two_parts_goes_on(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, "um", "dois")
    begun = await talk.begin(turn, "um")
    await talk.finish(turn, begun, "3EB001")
    await talk.owner_writes("outro cliente", wa_id="3EB00F")  # gap repair sees no more than this
    assert await talk.turn_states() == ["sent"]
    await talk.set_rule("other_client_takeover", False)
    await talk.owner_writes("outro cliente", wa_id="3EB00F", origin="send", status="PENDING")
    (again,) = await talk.claim()
    assert (again["turn_id"], again["reply"]) == (turn["turn_id"], ["um", "dois"])


# Another client of Evolution's API (A13)


async def test_gap_repair_takes_another_client_for_the_owner_until_its_own_webhook_comes(
    talk: Conversation,
):
    await talk.set_rule("other_client_takeover", False)
    await talk.maria_writes("tem bolo?")
    assert (await talk.owner_writes("promoção!", wa_id="3EB0CC"))["decision"] == "takeover"
    await talk.owner_writes("promoção!", wa_id="3EB0CC", origin="send", status="PENDING")
    assert not (await talk.session())["is_paused"]
    assert await talk.value("select sender from messages where wa_id = '3EB0CC'") == "client"
    assert answered(await talk.claim_one()) == ["tem bolo?"]


async def test_where_a_client_is_a_takeover_only_the_name_changes(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    await talk.owner_writes("aqui é a Ana", wa_id="3EB0CC")
    await talk.owner_writes("aqui é a Ana", wa_id="3EB0CC", origin="send", status="PENDING")
    assert (await talk.session())["is_paused"]
    assert await talk.value("select sender from messages where wa_id = '3EB0CC'") == "client"


async def test_a_humans_pause_beside_the_clients_message_stays(talk: Conversation):
    await talk.set_rule("other_client_takeover", False)
    await talk.maria_writes("tem bolo?")
    await talk.owner_writes("promoção!", wa_id="3EB0CC")
    await talk.owner_writes("deixa comigo")
    await talk.owner_writes("promoção!", wa_id="3EB0CC", origin="send", status="PENDING")
    assert (await talk.session())["is_paused"]
