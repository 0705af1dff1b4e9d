"""The way in: each event once, one person one session, nothing lost."""

import asyncio

import pytest

from router.errors import NotFound
from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, MARIA, MARIA_LID, Conversation, answered


async def test_the_same_event_again_gets_the_same_decision_and_changes_nothing(talk: Conversation):
    event = talk.message("oi")
    (first,) = await talk.ingest(event)
    (second,) = await talk.ingest(event)
    assert second == first | {"duplicate": True}
    assert len(await talk.sayings()) == 1


async def test_the_same_event_twice_in_one_call_is_taken_once(talk: Conversation):
    event = talk.message("oi")
    first, second = await talk.ingest(event, event)
    assert "duplicate" not in first
    assert second["duplicate"]


async def test_decisions_come_in_the_order_of_the_events(talk: Conversation):
    events = [talk.message(str(n), jids=[f"55119{9 - n:08}@s.whatsapp.net"]) for n in range(9)]
    decisions = await talk.ingest(*events)
    bodies = [
        await talk.value("select body from messages where id = $1", decision["message_id"])
        for decision in decisions
    ]
    assert bodies == [str(n) for n in range(9)]


async def test_a_bad_event_fails_alone(talk: Conversation):
    bad = talk.message("oi") | {"sent_at": "not a time"}
    answer = await talk.database.call(
        "ingest_events", {"events": [talk.message("um"), bad, talk.message("dois")], "policy": {}}
    )
    outcomes = [decision["outcome"] for decision in answer["decisions"]]
    assert outcomes == ["recorded", "failed", "recorded"]


async def test_an_unknown_instance_leaves_no_trace(talk: Conversation):
    decision = await talk.maria_writes("oi", instance="nobody")
    assert decision["outcome"] == "unknown_instance"
    assert await talk.value("select count(*) from processed_events") == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0)])
async def test_one_person_is_one_session_whichever_identity_comes_first(talk: Conversation, order):
    ways = [[MARIA], [MARIA_LID], [MARIA_LID, MARIA]]
    for number in order:
        await talk.maria_writes(f"mensagem {number}", jids=ways[number])
    assert (await talk.session(MARIA))["id"] == (await talk.session(MARIA_LID))["id"]
    turn = await talk.claim_one()
    assert len(answered(turn)) == 3


async def test_one_message_under_a_lid_and_again_under_the_phone_joins_the_two(talk: Conversation):
    await talk.maria_writes("oi", jids=[MARIA_LID], wa_id="AC01")
    again = await talk.maria_writes("oi", jids=[MARIA], wa_id="AC01")
    assert again["duplicate"]
    assert (await talk.session(MARIA))["id"] == (await talk.session(MARIA_LID))["id"]


async def test_merging_keeps_a_running_turn_and_folds_the_pending_ones(talk: Conversation):
    await talk.maria_writes("um", jids=[MARIA])
    running = await talk.claim_one()
    await talk.maria_writes("dois", jids=[MARIA_LID])
    await talk.maria_writes("três", jids=[MARIA, MARIA_LID])
    await talk.save(running, "Olá!")
    begun = await talk.begin(running, "Olá!")
    await talk.finish(running, begun, "3EB001")
    turn = await talk.claim_one()
    assert answered(turn) == ["dois", "três"]


async def test_the_same_customer_at_two_tenants_is_two_sessions(talk: Conversation):
    await talk.open_shop("other")
    await talk.maria_writes("oi loja")
    await talk.maria_writes("oi outra", instance="other")
    assert (await talk.session())["id"] != (await talk.session(instance="other"))["id"]
    await talk.owner_writes("deixa comigo")
    assert not (await talk.session(instance="other"))["is_paused"]
    (turn,) = await due(talk)
    assert [m["body"] for m in turn["history"]] == ["oi outra"]


async def test_groups_are_ignored_unless_the_tenant_says_otherwise(talk: Conversation):
    group = {"jids": ["120363000000000009@g.us"], "chat": "group"}
    assert (await talk.maria_writes("oi", **group))["outcome"] == "ignored"
    await talk.set_rule("answer_groups", True)
    assert (await talk.maria_writes("oi", **group))["decision"] == "turn_pending"


async def test_a_message_that_is_hours_old_is_recorded_and_not_answered(talk: Conversation):
    assert (await talk.maria_writes("oi", ago=2 * 3600))["decision"] == "too_old"
    assert await talk.sayings() == [("contact", "oi")]


async def test_history_follows_whatsapps_time_not_the_order_of_arrival(talk: Conversation):
    await talk.maria_writes("segunda", ago=5)
    await talk.maria_writes("primeira", ago=10)
    turn = await talk.claim_one()
    assert answered(turn) == ["primeira", "segunda"]


async def test_a_kind_that_the_tenant_leaves_unanswered_starts_no_turn(talk: Conversation):
    assert (await talk.maria_writes("[sticker]", kind="sticker"))["decision"] == "turn_pending"
    await talk.set_rule("unanswered_kinds", ["sticker"])
    quiet = await talk.maria_writes("[sticker]", kind="sticker", jids=[JOAO])
    assert quiet["decision"] == "no_reply_needed"


async def test_an_inactive_tenant_records_and_stays_silent(talk: Conversation):
    await talk.set_rule("is_active", False)
    assert (await talk.maria_writes("oi"))["decision"] == "tenant_inactive"


async def test_an_edit_reaches_the_turn_even_when_it_arrives_before_the_message(talk: Conversation):
    await talk.ingest(change(talk, "edit", "AC01", text="qual o preço do B?"))
    await talk.maria_writes("qual o preço?", wa_id="AC01")
    await talk.maria_writes("oi", wa_id="AC02")
    await talk.ingest(change(talk, "edit", "AC02", text="oi!!"))
    turn = await talk.claim_one()
    assert answered(turn) == ["qual o preço do B?", "oi!!"]


async def test_an_edit_that_evolution_labels_as_ours_still_reaches_the_contacts_message(
    talk: Conversation,
):
    await talk.maria_writes("oi", wa_id="AC01")
    await talk.ingest(change(talk, "edit", "AC01", text="olá") | {"from_me": True})
    assert answered(await talk.claim_one()) == ["olá"]


async def test_nobody_can_rewrite_what_our_side_said(talk: Conversation):
    await talk.owner_writes("custa 100", wa_id="3EB001")
    await talk.ingest(change(talk, "edit", "3EB001", text="custa 1") | {"from_me": True})
    assert await talk.sayings() == [("owner", "custa 100")]


async def test_a_removed_instance_stays_removed_whatever_evolution_says_after_it(
    talk: Conversation,
):
    await talk.ingest(base(talk, "removed", "remove.instance"))
    await talk.ingest(base(talk, "logout", "logout.instance"))
    await talk.ingest(base(talk, "connection", "connection.update") | {"state": "close"})
    assert await talk.value("select connection_state from tenants") == "removed"


async def test_a_turn_all_of_whose_messages_are_deleted_is_cancelled(talk: Conversation):
    await talk.maria_writes("oi", wa_id="AC01")
    await talk.maria_writes("ops", wa_id="AC02")
    await talk.ingest(change(talk, "delete", "AC01"))
    assert await talk.turn_states() == ["pending"]
    await talk.ingest(change(talk, "delete", "AC02"))
    assert await talk.turn_states() == ["cancelled"]


async def test_a_deleted_message_is_not_shown_to_the_llm(talk: Conversation):
    await talk.maria_writes("segredo", wa_id="AC01")
    await talk.maria_writes("oi")
    await talk.ingest(change(talk, "delete", "AC01"))
    assert answered(await talk.claim_one()) == ["[deleted message]", "oi"]


async def test_the_connection_and_the_qr_code_are_kept_for_the_operator(talk: Conversation):
    qr = base(talk, "qrcode", "qrcode.updated") | {"code": "2@abc", "pairing_code": "WZYX"}
    await talk.ingest(qr)
    assert await talk.value("select qr_code from tenants") == "2@abc"
    up = base(talk, "connection", "connection.update") | {
        "state": "open",
        "reason": 200,
        "owner_jid": JOAO,
    }
    (decision,) = await talk.ingest(up)
    assert decision["reconnected"]
    (again,) = await talk.ingest(up | {"key": "another"})
    assert not again["reconnected"]
    assert await talk.value("select qr_code from tenants") is None
    await talk.ingest(base(talk, "logout", "logout.instance"))
    assert await talk.value("select connection_state from tenants") == "logged_out"


async def test_concurrent_first_messages_of_one_person_make_one_session(
    talk: Conversation, database_url: str
):
    writers = [await DirectDatabase.connect(database_url, size=1) for _ in range(6)]
    ways = [[MARIA], [MARIA_LID], [MARIA, MARIA_LID], [MARIA_LID, MARIA], [MARIA_LID], [MARIA]]
    events = [talk.message(f"mensagem {n}", jids=way) for n, way in enumerate(ways)]
    try:
        results = await asyncio.gather(
            *(
                writer.call("ingest_events", {"events": [event], "policy": {}})
                for writer, event in zip(writers, events, strict=True)
            )
        )
    finally:
        for writer in writers:
            await writer.close()
    assert [r["decisions"][0]["outcome"] for r in results] == ["recorded"] * 6
    assert len(await talk.sayings()) == 6
    assert await talk.value("select count(*) from sessions") == 1


async def test_another_tenants_session_cannot_be_paused(talk: Conversation):
    other = await talk.open_shop("other")
    await talk.maria_writes("oi")
    session = await talk.session()
    with pytest.raises(NotFound):
        await talk.database.call(
            "pause_session", {"tenant_id": other, "session_id": session["id"], "source": "operator"}
        )


def base(talk, kind, event):
    return {"instance": talk.instance, "event": event, "type": kind, "key": f"{event}:{talk.now()}"}


def change(talk, kind, wa_id, text=None):
    return {
        "instance": talk.instance,
        "event": "messages.edited",
        "type": kind,
        "key": f"{kind}:{wa_id}:{text}",
        "wa_id": wa_id,
        "from_me": False,
        "jids": [MARIA],
        "text": text,
        "edited_at": None,
    }


async def due(talk):
    await talk.travel(seconds=11)
    return await talk.claim()


async def test_a_probe_arrives_for_its_own_tenant_and_moves_nothing(talk: Conversation):
    await talk.open_shop("pharmacy")
    probe = {"type": "probe", "event": "hybridflow.test", "key": "probe:abc", "instance": "shop"}
    (decision,) = await talk.ingest(probe)
    assert (decision["outcome"], decision["decision"]) == ("ignored", "probe")
    for instance, mark, arrived in (
        ("shop", "abc", True),
        ("shop", "x", False),
        ("pharmacy", "abc", False),
    ):
        asked = {"instance_name": instance, "probe": mark}
        assert (await talk.database.call("get_instance", asked))["probe_arrived"] is arrived
    assert not (await talk.database.call("get_instance", {"instance_name": "shop"}))[
        "probe_arrived"
    ]
    assert await talk.sql("select 1 from sessions") == []


async def test_the_last_event_is_the_last_that_a_webhook_brought(talk: Conversation):
    async def last(instance: str = "shop") -> object:
        return (await talk.database.call("get_instance", {"instance_name": instance}))[
            "last_event_at"
        ]

    await talk.open_shop("pharmacy")
    assert await last() is None
    await talk.maria_writes("oi")
    first = await last()
    assert first is not None
    await talk.ingest(
        {"type": "probe", "event": "hybridflow.test", "key": "probe:abc", "instance": "shop"},
        talk.message("de ontem") | {"fetched": True},
    )
    assert await last() == first
    await talk.maria_writes("e agora?")
    assert await last() != first
    assert await last("pharmacy") is None


@pytest.mark.own_database
async def test_the_last_event_is_found_by_its_index(talk: Conversation):
    """However many events other tenants have."""
    await talk.sql("set enable_seqscan = off")
    plan = await talk.sql(
        "explain select e.processed_at from public.processed_events as e where e.tenant_id = 1"
        " and e.event not in ('hybridflow.test', 'gap_repair') order by e.processed_at desc limit 1"
    )
    said = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "processed_events_last" in said
    assert "Sort" not in said
