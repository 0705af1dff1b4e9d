"""Sends of every kind: which are ours and until when, who may speak, what waits for the line."""

import pytest

from router.errors import NotFound
from router.state.database import Json
from tests.state.conversation import MARIA, MARIA_LID, POLICY, Conversation, held
from tests.state.test_answered import doubt, drop, reclaim, settle


async def leaving(talk: Conversation, body: str = "Olá!", **more: object) -> tuple[Json, Json]:
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, body)
    argument = {**held(turn), "part": 0, "body": body, "lease_seconds": 45, **more}
    return turn, await talk.database.call("begin_send", argument)


# What is known as ours (A4, A8, A9)


async def test_the_owners_words_are_a_takeover_where_evolution_refused_the_same(talk: Conversation):
    turn, begun = await leaving(talk)
    await drop(talk, turn, begun)
    await talk.fail(turn, "away")
    assert (await talk.owner_writes("Olá!"))["decision"] == "takeover"


async def test_a_doubted_send_is_ours_while_it_can_be_late(talk: Conversation):
    turn, begun = await leaving(talk)
    await doubt(talk, turn, begun)
    await settle(talk, await reclaim(talk), begun, "not_sent")
    assert (await talk.owner_writes("Olá!"))["decision"] == "own_message"


async def test_afterwards_the_same_words_are_the_owners(talk: Conversation):
    turn, begun = await leaving(talk)
    await doubt(talk, turn, begun)
    await settle(talk, await reclaim(talk), begun, "not_sent", late_seconds=60)
    await talk.travel(seconds=70)
    assert (await talk.owner_writes("Olá!"))["decision"] == "takeover"


@pytest.mark.parametrize(("after", "decision"), [(70, "own_message"), (110, "takeover")])
async def test_a_send_with_a_long_upload_is_ours_as_much_longer(
    talk: Conversation, after: int, decision: str
):
    turn, begun = await leaving(talk, upload_seconds=42)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    assert [part["upload_seconds"] for part in again["parts"]] == [42]
    await settle(talk, again, begun, "not_sent", late_seconds=60)
    await talk.travel(seconds=after)
    assert (await talk.owner_writes("Olá!"))["decision"] == decision


async def test_a_send_that_is_begun_again_has_the_time_of_what_is_sent_now(talk: Conversation):
    turn, begun = await leaving(talk, upload_seconds=42)
    await drop(talk, turn, begun)
    await talk.begin(turn, "Olá!")
    assert await talk.value("select upload_seconds from messages where from_me") is None


async def test_a_flow_keeps_its_turn_for_as_long_as_its_send_may_take(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    flow = {**held(turn), "kind": "image", "body": "[image]", "identity": "a", "told_as": []}
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 20})
    begun = await talk.database.call(
        "begin_flow_send", {**flow, "upload_seconds": 42, "lease_seconds": 77}
    )
    await talk.travel(seconds=76)
    assert await talk.claim() == []
    await talk.finish(turn, begun, "3EB0AA")
    more = await talk.database.call(
        "begin_flow_send", {**flow, "identity": "b", "lease_seconds": 35}
    )
    assert more["ok"]


@pytest.mark.parametrize("hours", [0, 3])
async def test_but_a_send_of_the_api_is_ours_however_late(talk: Conversation, hours: int):
    turn, begun = await leaving(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    await talk.finish(again, await talk.begin(again, "Olá!"), "3EB0BB")
    await talk.travel(hours=hours)
    late = await talk.owner_writes("Olá!", wa_id="3EB0AA", origin="send", status="PENDING")
    assert late["decision"] == "own_message"
    assert not (await talk.session())["is_paused"]


@pytest.mark.parametrize("wa_ids", [("3EB0AA", "3EB0BB"), ("3EB0BB", "3EB0AA")])
async def test_of_what_left_twice_both_ids_are_known_whichever_is_told_first(
    talk: Conversation, wa_ids: tuple[str, str]
):
    turn, begun = await leaving(talk)
    await doubt(talk, turn, begun)
    again = await reclaim(talk)
    await settle(talk, again, begun, "not_sent")
    second = await talk.begin(again, "Olá!")
    await talk.owner_writes("Olá!", wa_id=wa_ids[0], origin="send", status="PENDING")
    await talk.finish(again, second, wa_ids[1])
    for wa_id in wa_ids:
        told = await talk.owner_writes("Olá!", wa_id=wa_id, origin="send", status="PENDING")
        assert told["decision"] == "own_message"
    rows = await talk.sql("select wa_id, send_state from messages where from_me order by wa_id")
    assert [tuple(row.values()) for row in rows] == [("3EB0AA", "sent"), ("3EB0BB", "sent")]


async def test_the_same_words_of_a_human_that_never_left_are_not_taken_for_the_ais_second(
    talk: Conversation,
):
    turn, begun = await leaving(talk, "Bom dia!")
    session_id = (await talk.session())["id"]
    theirs = await human(talk, session_id, body="Bom dia!", identity=None)
    send = {"tenant_id": 1, "message_id": theirs["message_id"]}
    await talk.database.call("doubt_send", {**send, "error": "time-out", "check_after": 3})
    judged = {**send, "outcome": "not_sent", "check_after": 3, "give_up_hours": 24}
    judged["late_seconds"] = 120
    await talk.database.call("settle_doubt", judged)
    await talk.finish(turn, begun, "3EB0AA")
    await talk.finish(turn, begun, "3EB0BB")
    rows = await talk.sql(
        "select sender, wa_id, send_state from messages where from_me order by wa_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("ai", "3EB0AA", "sent"),
        ("ai", "3EB0BB", "sent"),
        ("operator", None, "failed"),
    ]


async def test_a_send_is_known_by_the_id_that_we_chose(talk: Conversation):
    _, begun = await leaving(talk)
    echo = await talk.owner_writes("outras palavras", wa_id=begun["chosen_id"])
    assert echo["decision"] == "own_message"


async def test_a_picture_is_known_by_what_its_echo_tells_and_not_by_the_owners_words(
    talk: Conversation,
):
    await leaving(talk, "[image]", kind="image", told_as=["baileys", "cloud"])
    typed = talk.message("[image]", from_me=True) | {"telling": "typed"}
    echo = talk.message("[image: x]", from_me=True, kind="image") | {"telling": "cloud"}
    assert [d["decision"] for d in await talk.ingest(echo)] == ["own_message"]
    assert [d["decision"] for d in await talk.ingest(typed)] == ["takeover"]


async def test_equal_pictures_are_each_sent_once_and_each_known(talk: Conversation):
    await talk.maria_writes("fotos?")
    turn = await talk.claim_one()
    flow = {**held(turn), "kind": "image", "body": "[image]", "told_as": ["k"], "lease_seconds": 45}
    begun = [
        await talk.database.call("begin_flow_send", {**flow, "identity": one}) for one in "abc"
    ]
    assert [each["part"] for each in begun] == [0, 1, 2]
    again = await talk.database.call("begin_flow_send", {**flow, "identity": "b"})
    assert (again["refused"], again["part"]) == ("in_doubt", 1)
    echoes = [talk.message("[image]", from_me=True, kind="image") | {"telling": "k"} for _ in "abc"]
    decisions = await talk.ingest(*echoes)
    assert [d["decision"] for d in decisions] == ["own_message"] * 3
    assert {d["message_id"] for d in decisions} == {each["message_id"] for each in begun}
    said = await talk.database.call("begin_flow_send", {**flow, "identity": "b"})
    assert (said["refused"], said["wa_id"]) == ("already_sent", echoes[1]["wa_id"])


# While Evolution or the line is away (A11)


async def test_an_outage_uses_up_no_attempt(talk: Conversation):
    turn, begun = await leaving(talk)
    for _ in range(12):
        await drop(talk, turn, begun)
        assert (await talk.fail(turn, "away", max_attempts=5))["state"] == "pending"
        await talk.travel(seconds=41)
        (turn,) = await talk.claim()
        begun = await talk.begin(turn, "Olá!")
    assert turn["attempt"] == 1


async def test_it_ends_where_the_question_is_too_old(talk: Conversation):
    turn, begun = await leaving(talk)
    await talk.travel(minutes=61)
    (turn,) = await talk.claim() or [turn]
    await drop(talk, turn, begun)
    failed = await talk.fail(turn, "away", answer_within_minutes=60)
    assert failed["state"] == "dead"
    (row,) = await talk.turns()
    assert row["reason"] == "too_old"


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_reconnect_makes_what_waits_due_at_once(talk: Conversation, parts: int):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one()
    await talk.save(turn, *["um", "dois"][:parts])
    begun = await talk.begin(turn, "um")
    if parts == 2:
        await talk.finish(turn, begun, "3EB001")
        begun = await talk.begin(turn, "dois", part=1)
    await drop(talk, turn, begun)
    await talk.fail(turn, "away", retry_after=3600)
    assert await talk.claim() == []
    await talk.ingest(connection(talk, "open"))
    assert len(await talk.claim()) == 1


async def test_also_the_notices(talk: Conversation):
    await talk.set_rule("notify_number", "5511900009999")
    await talk.maria_writes("gente!")
    turn = await talk.claim_one()
    await talk.database.call("hand_off", {**held(turn), "reason": "x"})
    claim = {"limit": 5, "lease_seconds": 60, "max_attempts": 2}
    for _ in range(4):
        (notice,) = (await talk.database.call("claim_notices", claim))["notices"]
        failed = {"error": "line closed", "away": True, "max_attempts": 2, "base_seconds": 60}
        token = {"notice_id": notice["notice_id"], "token": notice["token"]}
        await talk.database.call("fail_notice", {**token, **failed})
        assert (await talk.database.call("claim_notices", claim))["notices"] == []
        await talk.ingest(connection(talk, "open"))


def connection(talk: Conversation, state: str) -> Json:
    event = {"instance": talk.instance, "event": "connection.update", "type": "connection"}
    return {**event, "key": f"connection:{next(talk._ids)}", "state": state, "reason": "200"}


# A worker that lives keeps its lease


async def test_a_lease_is_renewed_by_who_holds_it(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one(lease=10)
    for _ in range(3):
        await talk.travel(seconds=8)
        assert await renew(talk, turn) == []
    assert await talk.claim() == []
    assert (await talk.save(turn, "Olá!")) == {"ok": True}


async def test_who_has_lost_it_is_told(talk: Conversation):
    await talk.maria_writes("tem bolo?")
    turn = await talk.claim_one(lease=10)
    await talk.travel(seconds=11)
    (newer,) = await talk.claim(lease=10)
    assert await renew(talk, turn) == [turn["turn_id"]]
    assert await renew(talk, newer) == []
    await talk.owner_writes("deixa comigo")
    assert await renew(talk, newer) == [turn["turn_id"]]


async def test_a_turn_that_was_put_aside_is_not_renewed(talk: Conversation):
    turn, begun = await leaving(talk)
    await doubt(talk, turn, begun)
    assert await renew(talk, turn) == []
    await talk.travel(seconds=4)
    assert len(await talk.claim()) == 1


async def renew(talk: Conversation, turn: Json) -> list[int]:
    argument = {"turns": [held(turn)], "worker": "test", "lease_seconds": 10}
    lost: list[int] = (await talk.database.call("renew_turns", argument))["lost"]
    return lost


# A human who writes through HybridFlow


async def human(talk: Conversation, session_id: int, **more: object) -> Json:
    argument = {"tenant_id": 1, "session_id": session_id, "body": "Sou a Ana", "identity": "h"}
    return await talk.database.call("begin_human_send", {**argument, "author": "Ana", **more})


async def test_a_pause_is_no_obstacle_for_a_human_whose_message_takes_over(talk: Conversation):
    turn, begun = await leaving(talk)
    session_id = (await talk.session())["id"]
    sent = await human(talk, session_id)
    assert (sent["ok"], sent["jid"]) == (True, MARIA)
    assert (await talk.session())["pause_source"] == "operator"
    await talk.finish(turn, begun, "3EB001")
    again = await human(talk, session_id, body="Alguma dúvida?")
    assert again["ok"]
    argument = {"tenant_id": 1, "message_id": sent["message_id"], "wa_id": "3EB0AA"}
    assert await talk.database.call("finish_send", argument) == {"turn_state": None}
    echo = await talk.owner_writes("Sou a Ana", wa_id="3EB0AA", origin="send", status="PENDING")
    assert echo["decision"] == "own_message"
    assert await talk.value("select sender from messages where wa_id = '3EB0AA'") == "operator"


async def test_another_human_who_wrote_meanwhile_is_told_of_and_may_be_passed_knowingly(
    talk: Conversation,
):
    seen = (await talk.maria_writes("gente!"))["message_id"]
    session_id = (await talk.session())["id"]
    await talk.owner_writes("oi, aqui é o dono")
    refused = await human(talk, session_id, seen_message_id=seen)
    assert (refused["refused"], refused["by"]) == ("human_wrote", "owner")
    newer = refused["message_id"]
    assert (await human(talk, session_id, seen_message_id=newer))["ok"]
    assert (await human(talk, session_id, seen_message_id=seen, knowingly=True))["ok"]


async def test_nobody_writes_into_a_session_that_is_gone_or_anothers(talk: Conversation):
    await talk.maria_writes("a", jids=[MARIA])
    await talk.maria_writes("b", jids=[MARIA_LID])
    gone = (await talk.session(MARIA_LID))["id"]
    await talk.maria_writes("c", jids=[MARIA, MARIA_LID])
    other = await talk.open_shop("pharmacy")
    with pytest.raises(NotFound):
        await human(talk, gone)
    with pytest.raises(NotFound):
        await human(talk, (await talk.session())["id"], tenant_id=other)


async def test_a_human_answers_what_was_asked_before(talk: Conversation):
    await talk.maria_writes("tem bolo?", ago=5)
    session_id = (await talk.session())["id"]
    await human(talk, session_id)
    resumed = await talk.database.call(
        "resume_session",
        {"tenant_id": 1, "session_id": session_id, "source": "operator", "policy": POLICY},
    )
    assert resumed["turn_id"] is None


# Doubts of sends that belong to no turn


async def claim_doubts(talk: Conversation) -> list[Json]:
    argument = {"limit": 10, "lease_seconds": 30, "after_seconds": 45}
    sends: list[Json] = (await talk.database.call("claim_doubts", argument))["sends"]
    return sends


async def test_a_humans_send_in_doubt_is_looked_up_and_settled(talk: Conversation):
    await talk.maria_writes("gente!")
    sent = await human(talk, (await talk.session())["id"], told_as=["k"], upload_seconds=2)
    assert await claim_doubts(talk) == []
    await talk.travel(seconds=46)
    (send,) = await claim_doubts(talk)
    assert (send["message_id"], send["jids"], send["told_as"]) == (
        sent["message_id"],
        [MARIA],
        ["k"],
    )
    assert send["upload_seconds"] == 2
    assert len(send["theirs"]) == 1
    assert await claim_doubts(talk) == []
    found = {"tenant_id": 1, "message_id": sent["message_id"], "outcome": "sent", "wa_id": "3EB0AA"}
    found |= {"check_after": 3, "give_up_hours": 24, "late_seconds": 120}
    await talk.database.call("settle_doubt", found)
    assert await talk.value("select send_state from messages where wa_id = '3EB0AA'") == "sent"


async def test_a_notice_that_never_left_is_told_again(talk: Conversation):
    await talk.set_rule("notify_number", "5511900009999")
    await talk.maria_writes("gente!")
    turn = await talk.claim_one()
    await talk.database.call("hand_off", {**held(turn), "reason": "x"})
    claim = {"limit": 5, "lease_seconds": 60, "max_attempts": 5}
    (notice,) = (await talk.database.call("claim_notices", claim))["notices"]
    token = {"notice_id": notice["notice_id"], "token": notice["token"]}
    begun = await talk.database.call(
        "begin_notice_send", {**token, "body": "venha", "lease_seconds": 45}
    )
    send = {"tenant_id": 1, "message_id": begun["message_id"]}
    await talk.database.call("doubt_send", {**send, "error": "time-out", "check_after": 3})
    await talk.database.call("finish_notice", {**token, "handler": "fallback"})
    await talk.travel(seconds=4)
    (doubtful,) = await claim_doubts(talk)
    assert doubtful["message_id"] == begun["message_id"]
    found = {**send, "outcome": "not_sent", "check_after": 3, "give_up_hours": 24}
    found["late_seconds"] = 120
    await talk.database.call("settle_doubt", found)
    (again,) = (await talk.database.call("claim_notices", claim))["notices"]
    assert again["number"] == "5511900009999"


async def test_after_a_day_nobody_looks_any_more(talk: Conversation):
    await talk.maria_writes("gente!")
    sent = await human(talk, (await talk.session())["id"])
    await talk.travel(hours=25)
    assert len(await claim_doubts(talk)) == 1
    unknown = {"tenant_id": 1, "message_id": sent["message_id"], "outcome": "unknown"}
    unknown |= {"check_after": 3, "give_up_hours": 24, "late_seconds": 120}
    await talk.database.call("settle_doubt", unknown)
    await talk.travel(hours=25)
    assert await claim_doubts(talk) == []
