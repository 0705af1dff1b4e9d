"""A row of one tenant that cannot be read never fails what is done for all of them."""

import pytest

from tests.state.conversation import Conversation

POISON = """
    alter function hybridflow.{name} rename to {name}_as_it_is;
    create function hybridflow.{name}({arguments}) returns jsonb language plpgsql as $$
    begin
        if {is_bad} then
            perform 1 / 0;
        end if;
        return hybridflow.{name}_as_it_is({passed});
    end $$;
"""
OF_TURNS = POISON.format(
    name="turn_context",
    arguments="p_turn public.turns, p_token uuid, p_history_limit integer",
    is_bad="p_turn.tenant_id = 1",
    passed="p_turn, p_token, p_history_limit",
)
OF_NOTICES = POISON.format(
    name="notice_context",
    arguments="p_notice public.notices, p_token uuid",
    is_bad="p_notice.tenant_id = 1",
    passed="p_notice, p_token",
)
OF_DOUBTS = POISON.format(
    name="doubt_context",
    arguments="p_send public.messages",
    is_bad="p_send.tenant_id = 1",
    passed="p_send",
)


async def poisoned(talk: Conversation, statements: str) -> None:
    async with talk.database._pool.acquire() as connection:
        await connection.execute(statements)


async def two_wait(talk: Conversation) -> None:
    await talk.open_shop("bakery")
    await talk.ingest(talk.message("olá"), talk.message("oi", instance="bakery"))
    await talk.travel(seconds=11)


@pytest.mark.spoils
async def test_a_turn_that_cannot_be_read_is_put_off_and_the_others_are_given_out(
    talk: Conversation,
):
    await two_wait(talk)
    await poisoned(talk, OF_TURNS)

    claimed = await talk.claim() or await talk.claim()  # the long one may fill an answer of its own
    assert [turn["tenant"]["instance_name"] for turn in claimed] == ["bakery"]
    (bad,) = await talk.sql("select * from turns where tenant_id = 1")
    assert (bad["state"], bad["attempt"], bad["worker"]) == ("running", 1, None)
    assert bad["error_kind"] == "unreadable"
    assert "22012" in bad["error"]
    assert await talk.claim() == []  # it is not claimed over and over


@pytest.mark.spoils
async def test_it_is_dead_when_its_attempts_are_used_up_and_says_why(talk: Conversation):
    await two_wait(talk)
    await poisoned(talk, OF_TURNS)
    for _ in range(3):
        await talk.claim(max_attempts=2)
        await talk.travel(minutes=10)
    (bad,) = await talk.sql("select * from turns where tenant_id = 1")
    assert (bad["state"], bad["error_kind"]) == ("dead", "unreadable")


@pytest.mark.spoils
async def test_it_is_answered_when_it_can_be_read_again(talk: Conversation):
    await two_wait(talk)
    await poisoned(talk, OF_TURNS)
    await talk.claim()
    await poisoned(
        talk,
        "drop function hybridflow.turn_context;"
        " alter function hybridflow.turn_context_as_it_is rename to turn_context",
    )
    await talk.travel(minutes=2)
    names = [turn["tenant"]["instance_name"] for turn in await talk.claim()]
    assert "shop" in names


@pytest.mark.spoils
async def test_the_claim_says_which_turn_could_not_be_read(talk: Conversation):
    await two_wait(talk)
    await poisoned(talk, OF_TURNS)
    limits = {"limit": 10, "lease_seconds": 60, "max_attempts": 5, "history_limit": 50}
    answer = await talk.database.call("claim_turns", {**limits, "worker": "test"})
    (told,) = answer["unreadable"]
    assert told["tenant_id"] == 1
    assert told["turn_id"] == await talk.value("select id from turns where tenant_id = 1")
    assert "22012" in told["error"]


@pytest.mark.spoils
async def test_a_turn_that_cannot_be_read_leaves_its_place_to_the_next(talk: Conversation):
    await two_wait(talk)
    await poisoned(talk, OF_TURNS)
    limits = {"limit": 1, "lease_seconds": 60, "max_attempts": 5, "history_limit": 50}
    answer = await talk.database.call("claim_turns", {**limits, "worker": "test"})
    assert (len(answer["turns"]), len(answer["unreadable"]), answer["more"]) == (0, 1, True)
    limits["after_tenant"] = answer["after_tenant"]
    (next_one,) = (await talk.database.call("claim_turns", {**limits, "worker": "test"}))["turns"]
    assert next_one["tenant"]["instance_name"] == "bakery"


async def test_turns_with_long_prompts_are_given_out_a_few_at_a_time(talk: Conversation):
    """What one answer holds has an end, whatever a tenant's row says."""
    await talk.open_shop("bakery")
    await talk.sql(
        "update tenants set system_prompt = repeat('x', 6000000) where instance_name = 'shop'"
    )
    jids = [f"55119555000{n:02}@s.whatsapp.net" for n in range(10, 17)]
    await talk.ingest(*(talk.message("olá", jids=(jid,)) for jid in jids))
    await talk.ingest(talk.message("oi", instance="bakery"))
    await talk.travel(seconds=11)
    names: list[str] = []
    while given := await talk.claim():
        assert len(given) <= 4
        names += [turn["tenant"]["instance_name"] for turn in given]
    assert sorted(names) == ["bakery"] + 7 * ["shop"]
    assert {turn["attempt"] for turn in await talk.turns()} == {1}


@pytest.mark.apart
async def test_a_prompt_that_fits_in_no_answer_is_its_own_tenants_trouble(talk: Conversation):
    await two_wait(talk)
    await talk.sql("update tenants set system_prompt = repeat('x', 270000000) where id = 1")
    claimed = await talk.claim() or await talk.claim()  # the long one may fill an answer of its own
    assert [turn["tenant"]["instance_name"] for turn in claimed] == ["bakery"]
    (bad,) = await talk.sql("select error_kind, error from turns where tenant_id = 1")
    assert bad["error_kind"] == "unreadable"
    assert "54000" in bad["error"]


@pytest.mark.spoils
async def test_a_notice_that_cannot_be_read_keeps_no_other_back(talk: Conversation):
    await talk.open_shop("bakery", notify_url="https://bakery.example/told")
    await talk.set_rule("notify_url", "https://shop.example/told")
    for tenant_id in (1, 2):
        await talk.sql(
            "select hybridflow.make_notice($1, 'connection_lost', null, '{}', hybridflow.clock())",
            tenant_id,
        )
    await poisoned(talk, OF_NOTICES)
    limits = {"limit": 10, "lease_seconds": 60, "max_attempts": 2}
    answer = await talk.database.call("claim_notices", limits)
    assert [notice["tenant_id"] for notice in answer["notices"]] == [2]
    for _ in range(3):
        await talk.travel(minutes=10)
        await talk.database.call("claim_notices", limits)
    (bad,) = await talk.sql("select state, error from notices where tenant_id = 1")
    assert bad["state"] == "dead"
    assert "22012" in bad["error"]


@pytest.mark.spoils
async def test_a_send_in_doubt_that_cannot_be_read_keeps_no_other_back(talk: Conversation):
    await two_wait(talk)
    for tenant_id in (1, 2):
        session = await talk.value("select id from sessions where tenant_id = $1", tenant_id)
        await talk.database.call(
            "begin_human_send",
            {"tenant_id": tenant_id, "session_id": session, "body": "um momento", "author": "Ana"},
        )
    await poisoned(talk, OF_DOUBTS)
    await talk.travel(minutes=5)
    limits = {"limit": 10, "lease_seconds": 60, "after_seconds": 30}
    answer = await talk.database.call("claim_doubts", limits)
    assert [send["tenant_id"] for send in answer["sends"]] == [2]


@pytest.mark.spoils
@pytest.mark.parametrize("bad", [1, 2])
async def test_a_pause_that_cannot_be_ended_keeps_no_other_on(talk: Conversation, bad: int):
    await two_wait(talk)
    await talk.sql(
        "update sessions set is_paused = true, pause_source = 'operator',"
        " paused_at = hybridflow.clock(), paused_until = hybridflow.clock()"
    )
    await poisoned(
        talk,
        "alter function hybridflow.answer_unanswered rename to answer_unanswered_as_it_is;"
        " create function hybridflow.answer_unanswered(p_session_id bigint, p_policy jsonb)"
        " returns bigint language plpgsql as $$ begin"
        f" if p_session_id = {bad} then perform 1 / 0; end if;"
        " return hybridflow.answer_unanswered_as_it_is(p_session_id, p_policy); end $$;",
    )
    await talk.travel(hours=1)
    answer = await talk.database.call("auto_resume", {"policy": {}})
    assert answer["resumed"] == 1
    paused = await talk.sql("select id from sessions where is_paused")
    assert paused == [{"id": bad}]
