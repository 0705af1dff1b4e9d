"""What a turn's flow has said so far: all of it, for the guard, and only while the turn is open."""

import asyncio
from typing import Any

import pytest

from router.state.database import Json
from tests.state.conversation import MARIA, Conversation, held
from tests.state.test_people import HASHES
from tests.state.test_row_security import reading

LIST = {"kind": "list", "body": "Menu\n[offers: Pão]", "text": "Menu\nPão\nsem glúten"}


async def flow_of(talk: Conversation) -> Json:
    await talk.maria_writes("tem bolo?")
    return await talk.claim_one()


async def says(talk: Conversation, turn: Json, identity: str, **more: Any) -> Json:
    asked = {"kind": "text", "body": identity, "text": identity, "lease_seconds": 45} | more
    return await talk.database.call("begin_flow_send", {**held(turn), "identity": identity} | asked)


async def so_far(talk: Conversation, turn: Json) -> tuple[str, int]:
    seen = await talk.database.call("look_at_turn", held(turn))
    return seen["said_so_far"], seen["next_part"]


async def failed(talk: Conversation, turn: Json, begun: Json) -> None:
    send = {**held(turn), "tenant_id": 1, "message_id": begun["message_id"]}
    await talk.database.call("fail_send", send)


async def test_all_that_is_read_of_each_send_is_kept_for_the_guard(talk: Conversation):
    turn = await flow_of(talk)
    assert await so_far(talk, turn) == ("", 0)
    await says(talk, turn, "Oi", next_part=0)
    await says(talk, turn, "list", **LIST, next_part=1)
    await says(talk, turn, "sticker", kind="sticker", body="[sticker]", text="", next_part=2)
    await says(talk, turn, "Tchau", next_part=3)
    assert await so_far(talk, turn) == ("Oi\n\nMenu\nPão\nsem glúten\n\nTchau", 4)


async def test_what_was_judged_before_more_was_said_is_judged_again(talk: Conversation):
    turn = await flow_of(talk)
    assert (await says(talk, turn, "a", next_part=0))["ok"]
    assert await says(talk, turn, "b", next_part=0) == {"refused": "judge_again"}
    assert await says(talk, turn, "b", next_part=2) == {"refused": "judge_again"}
    assert await so_far(talk, turn) == ("a", 1)
    assert (await says(talk, turn, "b", next_part=1))["part"] == 1
    assert await so_far(talk, turn) == ("a\n\nb", 2)


async def test_of_sends_at_once_one_passes_and_the_others_are_judged_again(talk: Conversation):
    turn = await flow_of(talk)
    answers = await asyncio.gather(*(says(talk, turn, each, next_part=0) for each in "abcdefgh"))
    assert sorted(answer.get("refused", "ok") for answer in answers) == ["judge_again"] * 7 + ["ok"]
    assert len((await so_far(talk, turn))[0]) == 1


async def test_the_same_request_again_is_neither_judged_nor_said_twice(talk: Conversation):
    turn = await flow_of(talk)
    begun = await says(talk, turn, "a", next_part=0)
    await says(talk, turn, "b", next_part=1)
    assert (await says(talk, turn, "a", next_part=0))["refused"] == "in_doubt"
    await failed(talk, turn, begun)
    assert (await says(talk, turn, "a", next_part=7))["ok"]
    assert await so_far(talk, turn) == ("a\n\nb", 2)


async def test_a_router_of_the_old_release_is_asked_for_no_judgement(talk: Conversation):
    turn = await flow_of(talk)
    asked = {**held(turn), "kind": "text", "lease_seconds": 45}
    for body in ("Oi", "Tudo bem?"):
        await talk.database.call("begin_flow_send", {**asked, "body": body})
    assert await so_far(talk, turn) == ("Oi\n\nTudo bem?", 2)


async def test_what_was_sent_before_the_column_came_counts_by_its_body(talk: Conversation):
    turn = await flow_of(talk)
    await says(talk, turn, "list", **LIST)
    await talk.sql("update turns set said_so_far = null")
    assert await so_far(talk, turn) == (LIST["body"], 1)
    await says(talk, turn, "Tchau", next_part=1)
    assert await so_far(talk, turn) == (f"{LIST['body']}\n\nTchau", 2)


async def test_a_pause_is_said_before_anything_is_judged_again(talk: Conversation):
    turn = await flow_of(talk)
    await says(talk, turn, "a", next_part=0)
    await talk.owner_writes("deixa comigo")
    assert (await says(talk, turn, "b", next_part=0))["refused"] in ("paused", "superseded")


# --- only while it is open


async def sent(talk: Conversation, turn: Json, begun: Json) -> None:
    await talk.finish(turn, begun, "3EB0AA")


async def done(talk: Conversation, turn: Json, begun: Json) -> None:
    await sent(talk, turn, begun)
    await talk.database.call("finish_turn", held(turn))


async def handed_off(talk: Conversation, turn: Json, begun: Json) -> None:
    await sent(talk, turn, begun)
    await talk.database.call("hand_off", {**held(turn), "reason": "x"})


async def taken_over(talk: Conversation, turn: Json, begun: Json) -> None:
    await sent(talk, turn, begun)
    await talk.owner_writes("deixa comigo")


async def refused(talk: Conversation, turn: Json, begun: Json) -> None:
    await sent(talk, turn, begun)
    await talk.database.call("refuse_reply", {**held(turn), "rule": "too_long"})


async def dead(talk: Conversation, turn: Json, begun: Json) -> None:
    await failed(talk, turn, begun)
    await talk.fail(turn, "permanent")


async def begun_anew(talk: Conversation, turn: Json, begun: Json) -> None:
    await failed(talk, turn, begun)
    await talk.database.call("begin_anew", held(turn))


async def lease_over(talk: Conversation, turn: Json, begun: Json) -> None:
    await sent(talk, turn, begun)
    await talk.travel(hours=1)
    await talk.claim()


async def exhausted(talk: Conversation, turn: Json, begun: Json) -> None:
    await failed(talk, turn, begun)
    await talk.sql("update turns set attempt = 100")
    await talk.travel(hours=1)
    await talk.claim()


@pytest.mark.parametrize(
    "ends",
    [
        *(done, handed_off, taken_over, refused, dead, begun_anew, lease_over, exhausted),
    ],
    ids=lambda ends: str(ends.__name__),
)
async def test_nothing_of_it_is_kept_once_the_turn_is_over_or_made_anew(
    talk: Conversation, ends: Any
):
    turn = await flow_of(talk)
    begun = await says(talk, turn, "list", **LIST, next_part=0)
    assert await talk.value("select said_so_far from turns") == LIST["text"]
    await ends(talk, turn, begun)
    rows = await talk.sql("select state, said_so_far from turns order by id")
    assert rows[0]["said_so_far"] is None
    assert rows[0]["state"] not in ("running", "sending")


# --- it is the contact's


async def test_it_is_given_out_with_the_contacts_data_and_erased_with_it(talk: Conversation):
    turn = await flow_of(talk)
    await says(talk, turn, "list", **LIST)
    who = {"tenant_id": 1, "jids": [MARIA]}
    exported = await talk.database.call("export_contact", who)
    assert [each["said_so_far"] for each in exported["contact"]["turns"]] == [LIST["text"]]
    hashes = {"hashes": HASHES.by_jid([MARIA])}
    assert (await talk.database.call("erase_contact", who | hashes))["erased"]["turns"] == 1
    assert await talk.sql("select said_so_far from turns") == []


async def test_it_is_no_part_of_a_turn_as_operators_and_members_see_it(
    talk: Conversation, database_url: str
):
    turn = await flow_of(talk)
    await says(talk, turn, "list", **LIST)
    shown = await talk.database.call("get_turn", {"tenant_id": 1, "turn_id": turn["turn_id"]})
    assert "said_so_far" not in shown["turn"]
    async with reading(database_url, "authenticated") as reader:
        with pytest.raises(Exception, match="permission denied"):
            await reader.sees("select said_so_far from turns")
