"""Whose media a flow may be given: its turn's own conversation's, and that is in the audit log."""

from router.state.database import Json
from tests.state.conversation import Conversation, held

PICTURE = {"mimetype": "image/jpeg", "bytes": 7989}


async def find(talk: Conversation, turn: Json, wa_id: str) -> Json:
    return await talk.database.call("find_media", {**held(turn), "wa_id": wa_id})


async def turn_with_picture(talk: Conversation, **how: object) -> tuple[Json, str]:
    await talk.maria_writes("olha", **how)
    turn = await talk.claim_one()
    (row,) = await talk.sql(
        "update messages set media = $1, kind = 'image' where turn_id = $2 returning wa_id",
        PICTURE, turn["turn_id"],
    )  # fmt: skip
    return turn, row["wa_id"]


async def audited(talk: Conversation) -> list[Json]:
    return await talk.sql("select * from audit_log where action = 'find_media' order by id")


async def test_it_is_given_with_its_size_and_audited_once_for_as_often_as_it_is_asked(
    talk: Conversation,
):
    turn, wa_id = await turn_with_picture(talk)
    for _ in range(3):
        assert await find(talk, turn, wa_id) == {"ok": True, "bytes": 7989}
    (line,) = await audited(talk)
    assert (line["turn_id"], line["caller_kind"]) == (turn["turn_id"], "ai")


async def test_a_size_that_is_none_is_not_known(talk: Conversation):
    turn, wa_id = await turn_with_picture(talk)
    for size in (None, "much", -1, 10**18, 1.5):
        await talk.sql("update messages set media = $1", {"mimetype": "x", "bytes": size})
        assert await find(talk, turn, wa_id) == {"ok": True, "bytes": None}


async def test_a_text_and_what_was_deleted_have_no_media(talk: Conversation):
    turn, wa_id = await turn_with_picture(talk)
    await talk.sql("update messages set deleted_at = now()")
    assert await find(talk, turn, wa_id) == {"refused": "elsewhere"}
    await talk.sql("update messages set deleted_at = null, media = null")
    assert await find(talk, turn, wa_id) == {"refused": "no_media"}
    assert await audited(talk) == []


async def test_of_another_conversation_or_tenant_there_is_none(talk: Conversation):
    turn, wa_id = await turn_with_picture(talk)
    other = await talk.open_shop("other")
    await talk.maria_writes("olha", instance="other")
    await talk.sql(
        "update messages set media = $1, wa_id = 'THEIRS' where tenant_id = $2", PICTURE, other
    )
    assert await find(talk, turn, "THEIRS") == {"refused": "elsewhere"}
    await talk.sql("update messages set wa_id = $1 where tenant_id = $2", wa_id, other)
    assert await find(talk, turn, wa_id) == {"ok": True, "bytes": 7989}
    assert [line["tenant_id"] for line in await audited(talk)] == [1]


async def test_when_a_human_has_taken_over_there_is_none(talk: Conversation):
    turn, wa_id = await turn_with_picture(talk)
    await talk.owner_writes("eu respondo")
    assert await find(talk, turn, wa_id) == {"refused": "paused"}
    assert await audited(talk) == []
