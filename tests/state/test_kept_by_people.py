"""Labels, owners and notes: what people keep of a conversation, and what the engine makes of it."""

from typing import Any

import pytest

from router.errors import Conflict, Invalid, NotFound
from router.state.database import Json
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, held

BOSS = {"kind": "deployment", "name": "boss"}


async def label(
    talk: Conversation, *add: str, remove: tuple[str, ...] = (), session: int = 1
) -> Json:
    asked = {"tenant_id": 1, "session_id": session, "add": list(add), "remove": list(remove)}
    return await talk.database.call("set_labels", {**asked, "policy": POLICY})


async def note(talk: Conversation, body: str, **more: Any) -> Json:
    asked = {"tenant_id": 1, "session_id": 1, "body": body, "author": "Ana", **more}
    return (await talk.database.call("add_note", asked))["note"]


async def test_labels_come_and_go_and_are_kept_in_order(talk: Conversation):
    await talk.maria_writes("oi")
    assert (await label(talk, "vip", "bolos", "vip"))["session"]["labels"] == ["bolos", "vip"]
    changed = await label(talk, "atacado", remove=("bolos", "never-there"))
    assert changed["session"]["labels"] == ["atacado", "vip"]
    assert changed["cancelled_turns"] == 0
    assert await talk.turn_states() == ["pending"]


@pytest.mark.parametrize("wrong", ["", "No-AI", "não", "a b", "-a", "x" * 41, "a\nb"])
async def test_a_label_that_cannot_be_is_refused(talk: Conversation, wrong: str):
    await talk.maria_writes("oi")
    with pytest.raises(Invalid, match="small letters"):
        await label(talk, wrong)
    with pytest.raises(Invalid, match="20 labels"):
        await label(talk, *(f"l{n}" for n in range(21)))


async def test_a_session_without_ai_is_recorded_and_not_answered(talk: Conversation):
    await talk.maria_writes("oi")
    assert (await label(talk, "no-ai"))["cancelled_turns"] == 1
    assert [(t["state"], t["reason"]) for t in await talk.turns()] == [("cancelled", "no_ai")]
    assert (await talk.maria_writes("alguém aí?"))["decision"] == "no_ai"
    assert (await talk.maria_writes("oi", jids=[JOAO]))["decision"] == "turn_pending"
    await label(talk, remove=("no-ai",))
    assert (await talk.maria_writes("e agora?"))["decision"] == "turn_pending"


async def test_a_reply_on_its_way_is_stopped_by_the_label(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!", "Tudo bem?")
    begun = await talk.begin(turn, "Olá!")
    await talk.finish(turn, begun, "3EB0AA")
    await label(talk, "no-ai")
    assert "refused" in await talk.begin(turn, "Tudo bem?", part=1)
    (kept,) = await talk.turns()
    assert (kept["state"], kept["reason"], kept["incomplete"]) == ("sent", "no_ai", True)


async def test_the_end_of_a_pause_answers_nothing_there(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.owner_writes("deixa comigo")
    await talk.maria_writes("obrigada")
    await label(talk, "no-ai")
    asked = {"tenant_id": 1, "session_id": 1, "source": "operator", "policy": POLICY}
    assert (await talk.database.call("resume_session", asked))["turn_id"] is None


async def test_a_dead_turn_there_is_not_retried(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.fail(turn, kind="permanent")
    await label(talk, "no-ai")
    asked = {"tenant_id": 1, "turn_id": turn["turn_id"]}
    with pytest.raises(Conflict, match="no-ai"):
        await talk.database.call("retry_turn", asked)
    many = await talk.database.call("retry_turns", {"tenant_id": 1})
    assert (many["retried"], many["left"]) == (0, 1)
    await label(talk, remove=("no-ai",))
    assert (await talk.database.call("retry_turn", asked))["turn"]["state"] == "pending"


async def test_too_many_labels_of_two_that_became_one_can_be_taken_away(talk: Conversation):
    await talk.maria_writes("oi", jids=[MARIA_LID])
    await talk.maria_writes("oi de novo", jids=[MARIA])
    await label(talk, *(f"a{n}" for n in range(20)), session=1)
    await label(talk, *(f"b{n}" for n in range(20)), session=2)
    await talk.maria_writes("sou eu", jids=[MARIA, MARIA_LID])
    kept = (await talk.session())["id"]
    with pytest.raises(Invalid, match="20 labels"):
        await label(talk, "mais", session=kept)
    changed = await label(talk, remove=("a0",), session=kept)
    assert len(changed["session"]["labels"]) == 39


async def test_sessions_are_listed_by_label_and_by_owner(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.maria_writes("oi", jids=[JOAO])
    await label(talk, "vip", "bolos")
    await talk.database.call("set_owner", {"tenant_id": 1, "session_id": 2, "owner": "Ana"})

    async def listed(**filters: object) -> list[int]:
        page = await talk.database.call("list_sessions", {"tenant_id": 1, **filters})
        return sorted(each["id"] for each in page["items"])

    assert await listed(label="vip") == [1]
    assert await listed(label="vi") == []
    assert await listed(owner="Ana") == [2]
    assert await listed(owner="Ana", label="vip") == []
    assert await listed(owner="Bia") == []
    assert await listed(label=None, owner=None) == [1, 2]


async def test_an_owner_is_a_name_and_can_be_nobody(talk: Conversation):
    await talk.maria_writes("oi")
    asked = {"tenant_id": 1, "session_id": 1}
    kept = await talk.database.call("set_owner", {**asked, "owner": "Ana"})
    assert kept["session"]["owner"] == "Ana"
    kept = await talk.database.call("set_owner", {**asked, "owner": None})
    assert kept["session"]["owner"] is None
    for wrong in ("", " ", "x" * 101, "Ana\u202e"):
        with pytest.raises(Invalid):
            await talk.database.call("set_owner", {**asked, "owner": wrong})


async def test_notes_are_listed_newest_first_page_by_page_and_removed(talk: Conversation):
    await talk.maria_writes("oi")
    kept = [await note(talk, f"nota {n}") for n in range(3)]
    page = await talk.database.call("list_notes", {"tenant_id": 1, "session_id": 1, "limit": 2})
    assert [each["body"] for each in page["items"]] == ["nota 2", "nota 1"]
    more = {"tenant_id": 1, "session_id": 1, "limit": 2, "cursor": page["next_cursor"]}
    assert [n["body"] for n in (await talk.database.call("list_notes", more))["items"]] == [
        "nota 0"
    ]
    asked = {"tenant_id": 1, "session_id": 1, "note_id": kept[0]["id"]}
    assert await talk.database.call("remove_note", asked) == {"removed": True}
    assert await talk.database.call("remove_note", asked) == {"removed": False}


async def test_another_tenants_session_is_not_found(talk: Conversation):
    await talk.maria_writes("oi")
    kept = await note(talk, "dela")
    other = await talk.open_shop("nuvem")
    named = {"tenant_id": other, "session_id": 1}
    for function, more in (
        ("set_labels", {"add": ["vip"]}),
        ("set_owner", {"owner": "Ana"}),
        ("add_note", {"body": "x"}),
        ("list_notes", {}),
        ("remove_note", {"note_id": kept["id"]}),
    ):
        with pytest.raises(NotFound):
            await talk.database.call(function, {**named, **more})
    assert await talk.value("select count(*) from session_notes") == 1


async def test_a_note_has_the_caller_as_its_author_and_no_words_of_it_are_audited(
    talk: Conversation,
):
    await talk.maria_writes("oi")
    argument = {"tenant_id": 1, "session_id": 1, "body": "segredo", "author": "somebody else"}
    answer = await talk.database.call(
        "as_operator", {"caller": BOSS, "function": "add_note", "argument": argument}
    )
    assert answer["result"]["note"]["author"] == "boss"
    (line,) = await talk.sql("select action, session_id, detail::text as detail from audit_log")
    assert (line["action"], line["session_id"]) == ("add_note", 1)
    assert "segredo" not in line["detail"]


async def test_the_ai_is_told_notes_only_where_the_tenant_wants_it(talk: Conversation):
    await talk.maria_writes("oi")
    await note(talk, "alérgica a nozes")
    await label(talk, "vip")
    turn = await talk.claim_one()
    assert turn["session"]["notes"] == []
    assert turn["session"]["labels"] == ["vip"]
    await talk.set_rule("notes_to_llm", setting=True)
    await talk.database.call("release_turn", held(turn))
    turn = await talk.claim_one()
    assert turn["session"]["notes"] == ["alérgica a nozes"]
    looked = await talk.database.call("look_at_turn", held(turn))
    assert looked["notes"] == ["alérgica a nozes"]


async def test_two_sessions_that_become_one_keep_all_of_it(talk: Conversation):
    await talk.maria_writes("oi", jids=[MARIA_LID])
    await talk.maria_writes("oi de novo", jids=[MARIA])
    await label(talk, "vip", session=1)
    await label(talk, "no-ai", session=2)
    owner = {"tenant_id": 1, "session_id": 2, "owner": "Ana"}
    await talk.database.call("set_owner", owner)
    await note(talk, "da primeira")
    await note(talk, "da segunda", session_id=2)
    await talk.maria_writes("sou eu", jids=[MARIA, MARIA_LID])
    session = await talk.session()
    assert (session["labels"], session["owner"]) == (["no-ai", "vip"], "Ana")
    notes = await talk.sql("select body, session_id from session_notes order by id")
    assert [row["body"] for row in notes] == ["da primeira", "da segunda"]
    assert {row["session_id"] for row in notes} == {session["id"]}
    assert set(await talk.turn_states()) == {"cancelled"}


async def test_a_null_in_a_list_of_labels_is_refused_and_changes_nothing(talk: Conversation):
    await talk.maria_writes("oi")
    await label(talk, "bolos", "vip")
    asked = {"tenant_id": 1, "session_id": 1, "policy": POLICY}
    for wrong in ({"add": [None]}, {"add": ["a", None]}, {"remove": [None]}):
        with pytest.raises(Invalid, match="small letters"):
            await talk.database.call("set_labels", {**asked, **wrong})
    assert (await talk.session())["labels"] == ["bolos", "vip"]


@pytest.mark.parametrize("owners", [("Ana", "Bia"), ("Ana", "Ana"), ("Ana", None)])
async def test_the_owner_that_a_merge_leaves_no_room_for_is_noted(
    talk: Conversation, owners: tuple[str, str | None]
):
    await talk.maria_writes("oi", jids=[MARIA_LID])
    await talk.maria_writes("oi de novo", jids=[MARIA])
    for number, owner in enumerate(owners, start=1):
        named = {"tenant_id": 1, "session_id": number, "owner": owner}
        await talk.database.call("set_owner", named)
    await talk.maria_writes("sou eu", jids=[MARIA, MARIA_LID])
    session = await talk.session()
    notes = await talk.sql("select tenant_id, session_id, body, author from session_notes")
    if len({*owners} - {None}) == 1:
        assert (session["owner"], notes) == ("Ana", [])
        return
    (other,) = {*owners} - {session["owner"]}
    (noted,) = notes
    assert (noted["tenant_id"], noted["session_id"]) == (1, session["id"])
    assert noted["body"].startswith(f"{other} looked after")
    assert noted["author"] == "HybridFlow"
