"""Notices in the state: what makes one, who may tell it, and how often."""

import itertools

import pytest

from router.errors import Invalid
from router.state.calls.notices import ClaimNotices
from router.state.database import Json
from tests.state.conversation import MARIA, POLICY, Conversation, held

STAFF = "5511955559999"
STAFF_JID = f"{STAFF}@s.whatsapp.net"
GROUP = "120363000000000099@g.us"
SERIAL = itertools.count(1)


def connection(state: str, reason: int | None = 428) -> Json:
    event = {"instance": "shop", "event": "connection.update", "key": f"c{next(SERIAL)}"}
    kind = {"logged_out": "logout", "removed": "removed"}.get(state, "connection")
    if kind != "connection":
        return event | {"type": kind}
    return event | {"type": kind, "state": state, "reason": reason, "owner_jid": None}


def qr(code: str | None = "2@REF,AAA") -> Json:
    event = {"instance": "shop", "event": "qrcode.updated", "type": "qrcode"}
    return event | {"key": f"q{next(SERIAL)}", "code": code, "pairing_code": None}


async def claim(talk: Conversation, lease: float = 60, max_attempts: int = 5) -> list[Json]:
    asked = ClaimNotices(limit=10, lease_seconds=lease, max_attempts=max_attempts)
    answer = await talk.database.call("claim_notices", asked.written())
    notices: list[Json] = answer["notices"]
    return notices


async def claim_one(talk: Conversation) -> Json:
    notices = await claim(talk)
    assert len(notices) == 1, notices
    return notices[0]


def token(notice: Json) -> Json:
    return {"notice_id": notice["notice_id"], "token": notice["token"]}


async def hand_off(talk: Conversation) -> Json:
    await talk.maria_writes("quero falar com gente")
    turn = await talk.claim_one()
    return await talk.database.call(
        "hand_off", {**held(turn), "reason": "wants a refund", "summary": "The cake was dry."}
    )


async def handed_off(talk: Conversation, number: str = STAFF) -> Json:
    await talk.set_rule("notify_number", number)
    await hand_off(talk)
    return await claim_one(talk)


async def begin(talk: Conversation, notice: Json, **more: object) -> Json:
    argument = {**token(notice), "body": "Maria needs a person", "lease_seconds": 45, **more}
    return await talk.database.call("begin_notice_send", argument)


async def finish_send(
    talk: Conversation, notice: Json, begun: Json, jid: str = STAFF_JID, wa_id: str = "3EB0AA"
) -> None:
    sent = {"tenant_id": notice["tenant_id"], "message_id": begun["message_id"]}
    await talk.database.call("finish_send", {**sent, "wa_id": wa_id, "jid": jid})


async def finish(talk: Conversation, notice: Json, **more: object) -> Json:
    return await talk.database.call(
        "finish_notice", {**token(notice), "handler": "fallback", **more}
    )


async def fail(talk: Conversation, notice: Json, **more: object) -> Json:
    argument = {"error": "away", "max_attempts": 3, "base_seconds": 2}
    return await talk.database.call("fail_notice", {**token(notice), **argument, **more})


# What makes one


async def test_a_handoff_makes_one_notice_with_what_the_staff_need(talk: Conversation):
    await talk.set_rule("notify_url", "https://tickets.example/hook")
    notice = await handed_off(talk)
    assert notice["kind"] == "handoff"
    assert notice["facts"] == {
        "reason": "wants a refund",
        "summary": "The cake was dry.",
        "jid": MARIA,
        "contact_name": "Maria",
    }
    assert (notice["number"], notice["url"]) == (STAFF, "https://tickets.example/hook")
    assert notice["session_id"] == (await talk.session())["id"]
    assert await claim(talk) == []


async def test_a_handoff_that_is_reported_twice_makes_one_notice(talk: Conversation):
    await talk.maria_writes("quero falar com gente")
    turn = await talk.claim_one()
    for _ in range(2):
        await talk.database.call("hand_off", {**held(turn), "reason": "wants a refund"})
    assert len(await claim(talk)) == 1


async def test_a_lost_connection_is_told_after_a_while_and_once_until_it_is_back(
    talk: Conversation,
):
    await talk.ingest(connection("open"), connection("close"))
    assert await claim(talk) == []
    await talk.travel(seconds=21)
    notice = await claim_one(talk)
    assert (notice["kind"], notice["facts"]) == (
        "connection_lost",
        {"state": "close", "code": "428"},
    )
    await finish(talk, notice)
    for _ in range(3):
        await talk.ingest(connection("connecting"), connection("close"))
        await talk.travel(seconds=21)
        assert await claim(talk) == []
    await talk.ingest(connection("open"))
    await talk.ingest(connection("close"))
    await talk.travel(seconds=21)
    assert len(await claim(talk)) == 1


async def test_a_connection_that_is_soon_back_is_not_told(talk: Conversation):
    await talk.ingest(connection("open"), connection("close"))
    await talk.ingest(connection("connecting"), connection("open"))
    await talk.travel(seconds=60)
    assert await claim(talk) == []
    assert await talk.sql("select state, reason from notices") == [
        {"state": "delivered", "reason": "recovered"}
    ]


async def test_a_second_loss_counts_its_seconds_anew(talk: Conversation):
    await talk.ingest(connection("close"))
    await talk.travel(seconds=15)
    await talk.ingest(connection("open"))
    await talk.ingest(connection("close"))
    await talk.travel(seconds=10)
    assert await claim(talk) == []
    await talk.travel(seconds=11)
    assert len(await claim(talk)) == 1


async def test_a_loss_that_gets_worse_is_told_again_as_what_it_is_now(talk: Conversation):
    await talk.ingest(connection("close"), connection("logged_out"), connection("close", 401))
    await talk.travel(seconds=21)
    logged_out = await claim_one(talk)
    assert logged_out["facts"] == {"state": "logged_out"}
    await finish(talk, logged_out)
    await talk.ingest(connection("removed"), connection("removed"))
    await talk.travel(seconds=21)
    assert (await claim_one(talk))["facts"] == {"state": "removed"}


async def test_a_waiting_qr_code_is_told_once_a_wait(talk: Conversation):
    for _ in range(4):
        await talk.ingest(qr())
        await talk.travel(seconds=30)
    notice = await claim_one(talk)
    assert notice["kind"] == "qr_waiting"
    await finish(talk, notice)
    await talk.ingest(qr())
    await talk.travel(seconds=30)
    assert await claim(talk) == []
    await talk.travel(minutes=6)
    await talk.ingest(qr())
    await talk.travel(seconds=30)
    assert len(await claim(talk)) == 1


async def test_a_qr_code_that_is_scanned_at_once_is_not_told(talk: Conversation):
    await talk.ingest(qr())
    await talk.ingest(connection("open"))
    await talk.travel(seconds=60)
    assert await claim(talk) == []


async def test_a_qr_code_that_is_none_is_not_told(talk: Conversation):
    await talk.ingest(qr(None))
    await talk.travel(seconds=60)
    assert await claim(talk) == []


async def test_of_a_tenant_that_is_closed_nothing_is_told(talk: Conversation):
    await talk.set_rule("is_active", False)
    await talk.ingest(connection("close"), qr())
    await talk.travel(seconds=60)
    assert await claim(talk) == []


async def test_a_notice_of_the_connection_asks_for_no_whatsapp_message(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await talk.ingest(connection("close"))
    await talk.travel(seconds=21)
    assert (await claim_one(talk))["number"] is None


# How often it is told


async def test_a_notice_whose_lease_runs_out_is_given_out_again_and_dies_in_the_end(
    talk: Conversation,
):
    notice = await handed_off(talk)
    for attempt in (2, 3):
        await talk.travel(seconds=61)
        again = (await claim(talk, max_attempts=3))[0]
        assert (again["notice_id"], again["attempt"]) == (notice["notice_id"], attempt)
    await talk.travel(seconds=61)
    assert await claim(talk, max_attempts=3) == []
    assert await talk.value("select state from notices") == "dead"


async def test_done_may_come_twice_and_late_but_not_after_the_next_attempt(talk: Conversation):
    notice = await handed_off(talk)
    await talk.travel(seconds=61)
    again = await claim_one(talk)
    assert (await finish(talk, notice))["refused"] == "stale"
    await talk.travel(seconds=61)
    assert await finish(talk, again) == {"ok": True}
    assert await finish(talk, again) == {"ok": True, "already": True}
    assert await claim(talk) == []


@pytest.mark.parametrize(
    "forged", [{"token": "00000000-0000-4000-8000-000000000000"}, {"notice_id": 99}]
)
async def test_a_token_opens_its_own_notice_alone(talk: Conversation, forged: Json):
    notice = await handed_off(talk) | forged
    assert (await finish(talk, notice))["refused"] in ("stale", "unknown_notice")
    assert (await begin(talk, notice))["refused"] in ("stale", "unknown_notice")
    assert (await fail(talk, notice))["refused"] in ("stale", "unknown_notice")


async def test_a_failure_is_tried_again_later_and_who_was_told_is_not_told_again(
    talk: Conversation,
):
    await talk.set_rule("notify_url", "https://tickets.example/hook")
    notice = await handed_off(talk)
    assert await fail(talk, notice, url_told=True) == {"state": "pending"}
    assert await claim(talk) == []
    await talk.travel(seconds=3)
    again = await claim_one(talk)
    assert (again["number"], again["url"]) == (STAFF, None)
    await fail(talk, again)
    await talk.travel(seconds=10)
    last = await claim_one(talk)
    assert await fail(talk, last) == {"state": "dead"}


async def test_a_notice_is_sent_by_whatsapp_once_whoever_asks_again(talk: Conversation):
    notice = await handed_off(talk)
    begun = await begin(talk, notice)
    assert (begun["number"], begun["instance_name"]) == (STAFF, "shop")
    assert (await begin(talk, notice))["wa_id"] is None
    await finish_send(talk, notice, begun)
    again = await begin(talk, notice, body="other words")
    assert again == {
        "refused": "already_sent",
        "wa_id": "3EB0AA",
        "jid": STAFF_JID,
        "body": "Maria needs a person",
    }
    await finish(talk, notice)
    assert (await begin(talk, notice))["refused"] == "superseded"


async def test_a_crash_in_the_send_does_not_send_it_twice(talk: Conversation):
    notice = await handed_off(talk)
    await begin(talk, notice)
    await talk.travel(seconds=61)
    again = await claim_one(talk)
    assert (again["number"], again["told"]) == (None, True)
    assert (await begin(talk, again))["refused"] == "already_sent"


async def test_a_send_that_certainly_failed_may_be_begun_again(talk: Conversation):
    notice = await handed_off(talk)
    begun = await begin(talk, notice)
    failed = {"tenant_id": notice["tenant_id"], "message_id": begun["message_id"]}
    await talk.database.call("fail_send", failed)
    second = await begin(talk, notice)
    assert second["ok"]
    doubt = {"tenant_id": notice["tenant_id"], "message_id": second["message_id"]}
    await talk.database.call("doubt_send", {**doubt, "error": "time-out", "check_after": 3})
    assert (await begin(talk, notice))["refused"] == "already_sent"
    states = await talk.sql("select send_state from messages where from_me order by id")
    assert [row["send_state"] for row in states] == ["failed", "unknown"]
    assert await talk.database.call("fail_send", failed) == {"ok": True}  # again: the same


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"instance_name": "other"}, "instance"),
        ({"number": MARIA}, "number"),
        ({"number": STAFF_JID, "instance_name": "shop"}, None),
    ],
)
async def test_a_notice_goes_to_the_staff_and_to_nobody_else(
    talk: Conversation, more: Json, refusal: str | None
):
    notice = await handed_off(talk)
    assert (await begin(talk, notice, **more)).get("refused") == refusal


async def test_without_a_number_there_is_nothing_to_send(talk: Conversation):
    await hand_off(talk)
    assert (await begin(talk, await claim_one(talk)))["refused"] == "no_number"


async def test_a_lease_that_ran_out_sends_nothing_but_a_send_makes_it_longer(talk: Conversation):
    notice = await handed_off(talk)
    await talk.travel(seconds=50)
    await begin(talk, notice)
    await talk.travel(seconds=20)
    assert await claim(talk) == []
    await talk.travel(seconds=30)
    again = await claim_one(talk)
    await talk.sql("update notices set number_told_at = null")
    await talk.travel(seconds=61)
    assert (await begin(talk, again))["refused"] == "stale"


# The staff's own conversation


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_echo_of_a_notice_is_our_own_and_pauses_nothing(talk: Conversation, when: str):
    notice = await handed_off(talk)
    begun = await begin(talk, notice)
    if when == "after":
        await finish_send(talk, notice, begun)
    for origin in ("send", "upsert"):
        echo = await talk.owner_writes(
            "Maria needs a person", jids=[STAFF_JID], wa_id="3EB0AA", origin=origin
        )
        assert echo["decision"] == "own_message"
    if when == "before":
        await finish_send(talk, notice, begun)
    assert not (await talk.session(STAFF_JID))["is_paused"]


async def test_what_the_staff_write_is_recorded_and_starts_no_turn(talk: Conversation):
    notice = await handed_off(talk)
    await finish_send(talk, notice, await begin(talk, notice))
    answer = await talk.maria_writes("ok, já falo com ela", jids=[STAFF_JID], author_name="Ana")
    assert (answer["decision"], "turn_id" in answer) == ("staff", False)
    assert ("contact", "ok, já falo com ela") in await talk.sayings()


async def test_staff_known_under_a_rewritten_number_are_still_staff(talk: Conversation):
    rewritten = "553185559999@s.whatsapp.net"
    notice = await handed_off(talk, number="5531985559999")
    await finish_send(talk, notice, await begin(talk, notice), jid=rewritten)
    assert (await talk.maria_writes("ok", jids=[rewritten]))["decision"] == "staff"


async def test_a_customer_whose_number_ends_like_the_staffs_is_answered(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    other = await talk.maria_writes("oi", jids=["5521955559999@s.whatsapp.net"])
    assert other["decision"] == "turn_pending"


async def test_after_a_pause_the_staff_are_not_answered_either(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await talk.owner_writes("oi Ana", jids=[STAFF_JID])
    await talk.maria_writes("oi chefe", jids=[STAFF_JID])
    session = await talk.session(STAFF_JID)
    resumed = await talk.database.call(
        "resume_session",
        {"tenant_id": 1, "session_id": session["id"], "source": "operator", "policy": POLICY},
    )
    assert resumed["resumed"]
    assert await talk.turns() == []


async def test_a_group_can_be_the_staff_and_is_not_answered(talk: Conversation):
    await talk.set_rule("answer_groups", True)
    await talk.set_rule("notify_number", GROUP)
    await hand_off(talk)
    notice = await claim_one(talk)
    begun = await begin(talk, notice)
    assert begun["number"] == GROUP
    await finish_send(talk, notice, begun, jid=GROUP)
    echo = await talk.owner_writes(
        "Maria needs a person", jids=[GROUP], wa_id="3EB0AA", chat="group", origin="send"
    )
    assert echo["decision"] == "own_message"
    said = await talk.maria_writes("eu vou", jids=[GROUP], chat="group")
    assert said["decision"] == "staff"


async def test_a_conversation_that_is_merged_keeps_its_notice(talk: Conversation):
    await talk.set_rule("notify_number", STAFF)
    await talk.maria_writes("oi")
    lid = "201955550001001@lid"
    await talk.maria_writes("quero gente", jids=[lid])
    await talk.travel(seconds=11)
    turn = next(t for t in await talk.claim() if t["session"]["jid"] == lid)
    await talk.database.call("hand_off", {**held(turn), "reason": "wants a refund"})
    await talk.maria_writes("oi?", jids=[lid, MARIA])
    notice = await claim_one(talk)
    assert notice["facts"]["reason"] == "wants a refund"
    assert notice["session_id"] == (await talk.session())["id"]


# Who the staff are


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("\u202a+55\u00a0(11) 95555\u20119999\u202c", STAFF),
        (STAFF_JID, STAFF_JID),
        (GROUP, GROUP),
        (None, None),
    ],
)
async def test_a_notify_number_is_kept_as_it_is_dialled(
    talk: Conversation, given: str | None, kept: str | None
):
    changed = await talk.database.call(
        "change_tenant", {"tenant_id": 1, "values": {"notify_number": given}}
    )
    assert changed["tenant"]["notify_number"] == kept


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"notify_number": "Ana"}, "notify_number must be a phone number"),
        ({"notify_number": ""}, "notify_number must be a phone number"),
        ({"notify_number": "0119"}, "notify_number must be a phone number"),
        ({"notify_url": "tickets.example"}, "notify_url must begin with http"),
    ],
)
async def test_what_cannot_be_told_is_refused(talk: Conversation, values: Json, fault: str):
    with pytest.raises(Invalid, match=fault):
        await talk.database.call("change_tenant", {"tenant_id": 1, "values": values})


async def test_a_tenant_whose_webhook_hangs_leaves_places_for_the_notices_of_others(
    talk: Conversation,
):
    quiet = await talk.open_shop("quiet")
    await talk.sql(
        "insert into notices (tenant_id, kind, facts, next_at)"
        " select 1, 'handoff', '{}', now() - interval '1 hour' from generate_series(1, 40)"
    )
    question = {"limit": 10, "lease_seconds": 60, "max_attempts": 5, "own_times": 3}
    first = await talk.database.call("claim_notices", question | {"own": {}})
    assert len(first["notices"]) == 8  # 7 are less than 3 times the 3 that are free then
    await talk.sql(
        "insert into notices (tenant_id, kind, facts, next_at) values ($1, 'handoff', '{}', now())",
        quiet,
    )
    await talk.travel(seconds=61)  # the leases have run out, but they are still being told
    then = await talk.database.call("claim_notices", question | {"limit": 2, "own": {"1": 8}})
    assert [notice["tenant_id"] for notice in then["notices"]] == [quiet]


async def test_alone_a_tenant_is_told_all_that_is_asked_for_by_older_routers(talk: Conversation):
    await talk.sql(
        "insert into notices (tenant_id, kind, facts, next_at)"
        " select 1, 'handoff', '{}', now() - interval '1 hour' from generate_series(1, 40)"
    )
    assert len(await claim(talk)) == 10


async def due(talk: Conversation, tenant_id: int, count: int) -> None:
    await talk.sql(
        "insert into notices (tenant_id, kind, facts, next_at)"
        " select $1, 'handoff', '{}', now() - interval '1 hour' from generate_series(1, $2::int)",
        tenant_id,
        count,
    )


async def test_the_tenants_are_told_in_rounds(talk: Conversation):
    shops = [1, *[await talk.open_shop(f"shop{number}") for number in range(6)]]
    for tenant_id in shops:
        await due(talk, tenant_id, 200)  # more than are due at once mostly
    question = {"limit": 1, "lease_seconds": 3600, "max_attempts": 5}
    after, told = 0, []
    for _ in range(14):
        answer = await talk.database.call("claim_notices", question | {"after_tenant": after})
        after = answer["after_tenant"]
        told += [notice["tenant_id"] for notice in answer["notices"]]
    assert sorted(told[:7]) == sorted(told[7:]) == sorted(shops)


async def test_a_quiet_tenants_notice_is_given_out_beside_a_flood(talk: Conversation):
    quiet = await talk.open_shop("quiet")
    await due(talk, 1, 500)
    await due(talk, quiet, 1)
    question = {"limit": 4, "lease_seconds": 60, "max_attempts": 5}
    answer = await talk.database.call("claim_notices", question)
    assert sorted(notice["tenant_id"] for notice in answer["notices"]) == [1, 1, 1, quiet]
    assert not answer["more"]  # the end of one makes a place


async def test_what_dies_of_its_attempts_is_no_end_of_the_round(talk: Conversation):
    await due(talk, 1, 6)
    await talk.sql("update notices set attempt = 5 where id <= 3")
    question = {"limit": 3, "lease_seconds": 60, "max_attempts": 5}
    first = await talk.database.call("claim_notices", question)
    assert (first["notices"], first["more"]) == ([], True)
    assert len((await talk.database.call("claim_notices", question))["notices"]) == 3


async def test_a_router_of_before_is_given_what_it_can_tell_of(talk: Conversation):
    await due(talk, 1, 1)
    await talk.sql("update notices set kind = 'unanswered', facts = '{}'")
    await due(talk, 1, 1)
    of_before = {"limit": 2, "lease_seconds": 60, "max_attempts": 5}
    answer = await talk.database.call("claim_notices", of_before)
    assert [notice["kind"] for notice in answer["notices"]] == ["handoff"]
    assert not answer["more"]
    assert answer["next_due_at"] > answer["now"]  # it does not ask again at once, for ever
    assert [notice["kind"] for notice in await claim(talk)] == ["unanswered"]
