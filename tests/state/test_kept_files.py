"""What contacts sent, kept as files: the row is there first and goes last, whatever breaks off."""

from typing import Any

import pytest

from router.errors import Conflict, NotFound
from tests.state.conversation import MARIA, MARIA_LID, Conversation, Json
from tests.state.test_media_jobs import HEARING, claim, fail, finish, held
from tests.state.test_people import change, erase

KEEPING = {**HEARING, "senses": [], "keeps_files": True}
FILE = {"store": "folder", "media_type": "audio/ogg", "bytes": 1000, "sha256": "0" * 64}
ROOM = 5_000_000


async def sends(
    talk: Conversation, wa_id: str = "AC01", jids: tuple[str, ...] = (MARIA,), **policy: Any
) -> Json:
    """Maria sends a voice message to a tenant that keeps files; the job, claimed."""
    await talk.set_rule("keep_media_days", 30)
    event = talk.message("[voice message]", kind="ptt", wa_id=wa_id, jids=jids)
    event["media"] = {"seconds": 7, "bytes": 1000, "ptt": True}
    await talk.ingest(event, policy=KEEPING | policy)
    (job,) = await claim(talk)
    return job


async def begin(talk: Conversation, job: Json, **more: Any) -> Json:
    asked = {**held(job), **FILE, "most_bytes": ROOM, **more}
    answer: Json = await talk.database.call("begin_keeping", asked)
    return answer


async def kept(talk: Conversation, wa_id: str = "AC01") -> Json:
    """Have the message's file kept, and its job done."""
    job = await sends(talk, wa_id)
    begun = await begin(talk, job)
    await talk.database.call("finish_keeping", {"file_id": begun["file_id"]})
    await finish(talk, job)
    return {**begun, "message_id": job["message_id"]}


async def find(talk: Conversation, message_id: int) -> Json:
    answer: Json = await talk.database.call(
        "find_kept_file", {"tenant_id": 1, "message_id": message_id}
    )
    return answer


async def due(talk: Conversation, store: str = "folder") -> list[Json]:
    asked = {"stores": [store], "limit": 9, "retry_seconds": 600}
    return list((await talk.database.call("claim_kept_files", asked))["files"])


async def settle(talk: Conversation, file: Json, done: str, **more: Any) -> None:
    asked = {"file_id": file["file_id"], "done": done, **more}
    await talk.database.call("settle_kept_file", asked)


async def test_a_file_is_named_by_ids_found_and_gone_when_its_days_are_over(talk: Conversation):
    file = await kept(talk)
    assert file["name"].startswith(f"1/1/{file['message_id']}-")
    found = (await find(talk, file["message_id"]))["file"]
    assert (found["name"], found["sha256"], found["bytes"]) == (file["name"], "0" * 64, 1000)
    assert await due(talk) == []
    await talk.travel(days=31)
    assert await find(talk, file["message_id"]) == {"refused": "expired"}
    assert await due(talk, "bucket") == []
    (to_remove,) = await due(talk)
    assert (to_remove["name"], to_remove["wanted"]) == (file["name"], "remove")
    await settle(talk, to_remove, "removed", error="the disk is not there")
    assert await due(talk) == []
    await talk.travel(minutes=11)
    await settle(talk, (await due(talk))[0], "removed")
    await talk.travel(days=1)
    assert await due(talk) == []
    assert await find(talk, file["message_id"]) == {"refused": "expired"}


async def test_a_turn_waits_for_no_file_and_a_router_without_a_store_keeps_none(talk: Conversation):
    await sends(talk)
    await talk.travel(seconds=3)
    turn = await talk.claim_one()
    assert [each["unheard"] for each in turn["history"]] == [False]
    event = talk.message("[voice message]", kind="ptt") | {"media": {"bytes": 9}}
    await talk.ingest(event, policy=HEARING | {"senses": []})
    assert await claim(talk) == []


async def test_words_that_came_with_it_stay(talk: Conversation):
    await talk.set_rule("keep_media_days", 30)
    event = talk.message("[voice message]", kind="ptt") | {"transcript": "dois bolos"}
    await talk.ingest(event | {"media": {"bytes": 9}}, policy=KEEPING | {"senses": ["ptt"]})
    (job,) = await claim(talk)
    assert job["keep_only"]
    await talk.database.call("finish_media_job", held(job))
    assert await talk.value("select transcript from messages") == "dois bolos"


async def test_a_tenant_that_keeps_nothing_has_nothing_written(talk: Conversation):
    job = await sends(talk)
    await talk.set_rule("keep_media_days", 0)
    assert await begin(talk, job) == {"refused": "not_wanted"}
    assert await find(talk, job["message_id"]) == {"refused": "not_kept"}
    with pytest.raises(NotFound):
        await find(talk, 4711)


async def test_who_was_killed_while_writing_leaves_no_file_behind(talk: Conversation):
    job = await sends(talk)
    first = await begin(talk, job)
    await fail(talk, job, given_back=True)
    (again,) = await claim(talk)
    assert await begin(talk, job) == {"refused": "stale"}
    second = await begin(talk, again)
    assert second["name"] != first["name"]
    await talk.database.call("finish_keeping", {"file_id": second["file_id"]})
    assert await begin(talk, again) == {"refused": "kept"}
    assert await due(talk) == []  # whoever began the first one may still write
    await talk.travel(minutes=11)
    (orphan,) = await due(talk)
    assert (orphan["name"], orphan["wanted"]) == (first["name"], "remove")
    await settle(talk, orphan, "removed")
    assert await talk.value("select count(*) from kept_files") == 1


async def test_what_a_store_does_not_take_waits_in_its_row_for_a_day(talk: Conversation):
    job = await sends(talk)
    begun = await begin(talk, job)
    away = {"file_id": begun["file_id"], "error": "no space left", "most_waiting": 2000}
    told = await talk.database.call("finish_keeping", {**away, "content": "b2k="})
    assert told == {"state": "waiting"}
    assert await find(talk, job["message_id"]) == {"refused": "not_yet"}
    assert await begin(talk, job) == {"refused": "kept"}
    await talk.travel(seconds=31)
    (file,) = await due(talk)
    assert file["wanted"] == "write"
    read = await talk.database.call("read_waiting_file", {"file_id": file["file_id"]})
    assert read == {"content": "b2k="}
    await settle(talk, file, "written")
    assert "file" in await find(talk, job["message_id"])
    assert await talk.value("select count(content) from kept_files") == 0


async def test_what_waits_too_long_or_is_too_much_is_given_up(talk: Conversation):
    job = await sends(talk)
    begun = await begin(talk, job)
    away = {"file_id": begun["file_id"], "error": "away", "content": "b2k="}
    await talk.database.call("finish_keeping", {**away, "most_waiting": 2000})
    await finish(talk, job)
    other = await sends(talk, "AC02")
    more = {**away, "file_id": (await begin(talk, other))["file_id"], "most_waiting": 1500}
    assert await talk.database.call("finish_keeping", more) == {"state": "failed"}
    await talk.travel(hours=25)
    assert {file["wanted"] for file in await due(talk)} == {"remove"}
    assert await find(talk, job["message_id"]) == {"refused": "failed"}
    assert await talk.value("select count(content) from kept_files") == 0


async def test_a_tenants_files_have_their_room(talk: Conversation):
    first = await kept(talk)
    job = await sends(talk, "AC02")
    assert await begin(talk, job, most_bytes=1500) == {"refused": "full"}
    assert await find(talk, job["message_id"]) == {"refused": "failed"}
    assert "file" in await find(talk, first["message_id"])


async def test_a_file_stays_where_two_conversations_become_one(talk: Conversation):
    await talk.maria_writes("oi")
    job = await sends(talk, jids=(MARIA_LID,))
    begun = await begin(talk, job)
    await talk.ingest(talk.message("sou eu", jids=(MARIA, MARIA_LID)))
    assert await talk.value("select count(*) from sessions") == 1
    await talk.database.call("finish_keeping", {"file_id": begun["file_id"]})
    assert (await find(talk, job["message_id"]))["file"]["name"] == begun["name"]


@pytest.mark.parametrize(
    "how", ["erased", "deleted by who sent it", "pruned", "its tenant is gone"]
)
async def test_a_file_goes_with_its_message(talk: Conversation, how: str):
    file = await kept(talk)
    await talk.sql("update turns set state = 'cancelled', finished_at = now()")
    if how == "erased":
        await erase(talk)
    elif how == "pruned":
        await talk.travel(days=20)
        await talk.database.call("prune", {"retention_days": 10})
    elif how == "its tenant is gone":
        await talk.sql("delete from tenants")
    else:
        await talk.ingest(change("delete", "AC01"))
        assert await find(talk, file["message_id"]) == {"refused": "deleted"}
    (to_remove,) = await due(talk)
    assert (to_remove["name"], to_remove["wanted"]) == (file["name"], "remove")
    await settle(talk, to_remove, "removed")
    names = await talk.sql("select name from kept_files where name is not null")
    assert [row["name"] for row in names] == []


async def test_an_own_file_that_nobody_took_goes_and_cannot_be_taken_any_more(talk: Conversation):
    asked = {"tenant_id": 1, **FILE}
    first = await talk.database.call("begin_own_file", asked)
    second = await talk.database.call("begin_own_file", asked)
    menu = {
        "tenant_id": 1,
        "name": "menu",
        "description": "x",
        "kind": "audio",
        "file_name": "m.ogg",
    }
    await talk.database.call("set_file", {**menu, "kept_file_id": first["file_id"]})
    read = await talk.database.call("read_file", {"tenant_id": 1, "name": "menu"})
    stored = {"store": "folder", "name": first["name"], "bytes": 1000}
    assert read == {"content": None, "stored": stored}
    await talk.travel(days=4000)
    (orphan,) = await due(talk)
    assert orphan["name"] == second["name"]
    for file_id in (first["file_id"], second["file_id"]):  # taken, and too late
        with pytest.raises(Conflict):
            await talk.database.call("set_file", {**menu, "kept_file_id": file_id})
    await talk.open_shop("pharmacy")
    third = await talk.database.call("begin_own_file", asked)
    anothers = {**menu, "tenant_id": 2, "kept_file_id": third["file_id"]}
    with pytest.raises(Conflict):
        await talk.database.call("set_file", anothers)


async def test_who_is_erased_while_the_file_is_written_has_it_removed_after_that(
    talk: Conversation,
):
    job = await sends(talk)
    begun = await begin(talk, job)
    await erase(talk)
    assert await due(talk) == []
    await talk.database.call("finish_keeping", {"file_id": begun["file_id"]})
    (to_remove,) = await due(talk)
    assert to_remove["name"] == begun["name"]
    await settle(talk, to_remove, "removed")
    assert await talk.value("select count(*) from kept_files") == 0
