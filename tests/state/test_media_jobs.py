"""Putting media into words: made with its message, done once, waited for within bounds."""

from typing import Any

import pytest

from router.people.requests import Person, export_contact
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation, Json
from tests.state.test_changed_questions import deletes

HEARING = {**POLICY, "senses": ["ptt"], "media_wait_seconds": 20}


COPIES = (
    "Small copies of what was sent are kept for a day, to be shown to the AI, and deleted then."
    " An export is text and has no files"
)
FILE = (
    "The file is kept until it is understood, and deleted then. An export is text and has no files"
)


async def says(talk: Conversation, wa_id: str | None = None, **how: Any) -> Json:
    """Maria sends a voice message; the decision about it."""
    event = talk.message("[voice message, 7 seconds]", kind="ptt", wa_id=wa_id, **how)
    event["media"] = {"seconds": 7, "bytes": 1000, "ptt": True}
    return (await talk.ingest(event, policy=HEARING))[0]


async def claim(talk: Conversation, limit: int = 9, **more: Any) -> list[Json]:
    asked = {"limit": limit, "lease_seconds": 60, "max_attempts": 3}
    return list((await talk.database.call("claim_media_jobs", asked | more))["jobs"])


def held(job: Json) -> Json:
    return {"job_id": job["job_id"], "token": job["token"]}


async def finish(talk: Conversation, job: Json, words: str = "bolo", **more: Any) -> Json:
    answer: Json = await talk.database.call(
        "finish_media_job", {**held(job), "transcript": words, **more}
    )
    return answer


async def fail(talk: Conversation, job: Json, *, final: bool = False, **more: Any) -> Json:
    asked = {"error": "no", "final": final, "max_attempts": 3, "base_seconds": 2, **more}
    answer: Json = await talk.database.call("fail_media_job", {**held(job), **asked})
    return answer


async def test_a_job_is_made_with_its_message_and_claimed_once(talk: Conversation):
    decision = await says(talk, "AC01")
    assert decision["due_in"] == pytest.approx(20, abs=2)
    (job,) = await claim(talk)
    assert (job["wa_id"], job["kind"], job["seconds"], job["attempt"]) == ("AC01", "ptt", 7, 1)
    assert await claim(talk) == []
    await says(talk, "AC01")  # the webhook comes again
    assert await talk.value("select count(*) from media_jobs") == 1


@pytest.mark.parametrize(
    ("rule", "value"), [("understand_media", False), ("unanswered_kinds", ["ptt"])]
)
async def test_no_job_is_made_where_nobody_is_to_listen(talk: Conversation, rule: str, value: Any):
    await talk.set_rule(rule, value)
    await says(talk)
    assert await claim(talk) == []


async def test_nor_for_other_kinds_nor_by_routers_that_do_not_listen(talk: Conversation):
    image = talk.message("[image]", kind="image") | {"media": {"bytes": 1}}
    await talk.ingest(image, policy=HEARING)
    voice = talk.message("[voice message]", kind="ptt") | {"media": {"bytes": 1}}
    assert (await talk.ingest(voice))[0]["due_in"] == 2
    assert await claim(talk) == []


async def test_the_turn_is_due_as_its_debounce_says_once_all_is_heard(talk: Conversation):
    await says(talk)
    await says(talk)
    first, second = await claim(talk)
    await talk.travel(seconds=5)
    assert await talk.claim() == []
    assert "due_in" not in await finish(talk, first)
    assert await talk.claim() == []
    assert await finish(talk, second) == {"ok": True, "due_in": 0}
    (turn,) = await talk.claim()
    assert [m["transcript"] for m in turn["history"]] == ["bolo", "bolo"]
    assert not any(m["unheard"] for m in turn["history"])


async def test_words_that_are_there_at_once_make_nothing_sooner(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    assert 1 < (await finish(talk, job))["due_in"] <= 2  # the debounce is not over


async def test_a_text_that_joins_moves_the_debounce_and_not_what_is_waited_for(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    await talk.travel(seconds=9)
    assert (await talk.maria_writes("alô?"))["due_in"] > 10
    assert 0 < (await finish(talk, job))["due_in"] <= 2


async def test_it_is_waited_for_no_longer_than_the_bound(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    await talk.travel(seconds=21)
    (turn,) = await talk.claim()
    (message,) = turn["history"]
    assert (message["transcript"], message["unheard"]) == (None, True)
    await finish(talk, job)
    assert await talk.claim() == []
    assert await talk.value("select transcript from messages where kind = 'ptt'") == "bolo"


async def late(talk: Conversation, words: str = "dois bolos") -> float | None:
    """A voice message is answered before its words are there; in how many seconds they are."""
    await says(talk)
    (job,) = await claim(talk)
    await talk.travel(seconds=21)
    await talk.answer("Não consegui ouvir.")
    return (await finish(talk, job, words, policy=POLICY)).get("due_in")


async def test_late_words_are_answered_where_the_tenant_wants_that(talk: Conversation):
    await talk.set_rule("answer_late_words", True)
    assert await late(talk) == 2
    turn = await talk.claim_one()
    assert [m["transcript"] for m in turn["history"] if m["in_turn"]] == ["dois bolos"]
    assert await talk.turn_states() == ["sent", "running"]


@pytest.mark.parametrize("case", ["off", "nothing said", "paused", "a human wrote", "old"])
async def test_late_words_are_answered_by_nobody_where_a_message_would_not_be(
    talk: Conversation, case: str
):
    await talk.set_rule("answer_late_words", case != "off")
    if case == "nothing said":
        assert await late(talk, "") is None
        return
    await says(talk)
    (job,) = await claim(talk)
    await talk.travel(seconds=21)
    await talk.answer("Não consegui ouvir.")
    if case in ("paused", "a human wrote"):
        await talk.owner_writes("Oi Maria, já ouvi")
    if case == "a human wrote":
        await talk.sql("update sessions set is_paused = false")
    if case == "old":
        await talk.travel(minutes=61)
        (job,) = await claim(talk)
    assert "due_in" not in await finish(talk, job, policy=POLICY)
    assert await talk.turn_states() == ["sent"]


async def test_many_voice_messages_move_the_bound_no_further(talk: Conversation):
    for _ in range(30):
        await says(talk)
        await talk.travel(seconds=2)
    (due,) = await talk.sql("select run_after - created_at as after from turns")
    assert due["after"].total_seconds() <= 10 + 20 + 1


async def test_what_failed_for_good_is_not_waited_for(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    await talk.travel(seconds=3)
    assert await fail(talk, job, final=True) == {"state": "failed", "due_in": 0}
    (turn,) = await talk.claim()
    assert turn["history"][0]["unheard"]


async def test_it_is_tried_again_until_its_attempts_are_used_up(talk: Conversation):
    await says(talk)
    states = []
    for _ in range(3):
        (job,) = await claim(talk)
        states.append((await fail(talk, job))["state"])
        await talk.travel(seconds=60)
    assert states == ["pending", "pending", "failed"]
    assert await claim(talk) == []


async def test_a_lapsed_lease_brings_it_back_and_the_old_token_is_worthless(talk: Conversation):
    await says(talk)
    (old,) = await claim(talk)
    await talk.travel(seconds=61)
    (new,) = await claim(talk)
    assert new["attempt"] == 2
    assert await finish(talk, old) == {"refused": "stale"}
    assert (await finish(talk, new))["ok"]
    assert await finish(talk, new) == {"refused": "superseded"}
    assert await talk.value("select tokens from media_jobs") == 0


async def test_one_that_kills_whoever_works_on_it_ends(talk: Conversation):
    await says(talk)
    for _ in range(3):
        assert len(await claim(talk)) == 1
        await talk.travel(seconds=61)
    assert await claim(talk) == []
    assert await talk.value("select state from media_jobs") == "failed"


async def test_what_is_given_back_costs_no_attempt(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    await fail(talk, job, given_back=True)
    (again,) = await claim(talk)
    assert again["attempt"] == 1


async def test_what_had_no_room_waits_a_moment_and_no_attempt_counts(talk: Conversation):
    await says(talk)
    for _ in range(5):
        (job,) = await claim(talk)
        assert job["attempt"] == 1
        await fail(talk, job, given_back=True, wait_seconds=3)
        assert await claim(talk) == []
        await talk.travel(seconds=3)


async def test_what_an_attempt_cost_that_brought_nothing_is_spent_as_well(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    await fail(talk, job, tokens=70)
    await talk.travel(seconds=60)
    (job,) = await claim(talk)
    await fail(talk, job, tokens=5, given_back=True)
    (job,) = await claim(talk)
    await finish(talk, job, tokens=20)
    assert [row["tokens"] for row in await talk.sql("select tokens from spending")] == [95, 95]
    assert await talk.value("select tokens from media_jobs") == 95
    await says(talk)
    (job,) = await claim(talk)
    asked = {**held(job), "policy": {"daily_tokens": 90}, "tokens": 5}
    assert await talk.database.call("begin_media_job", asked) == {"refused": "budget"}
    assert [row["tokens"] for row in await talk.sql("select tokens from spending")] == [100, 100]


async def test_it_goes_with_its_message(talk: Conversation):
    await says(talk, "AC01")
    (job,) = await claim(talk)
    await talk.sql("delete from messages where wa_id = 'AC01'")
    assert await finish(talk, job) == {"refused": "stale"}


async def test_of_a_deleted_message_nothing_is_kept(talk: Conversation):
    await says(talk, "AC01")
    (job,) = await claim(talk)
    await talk.sql("update messages set deleted_at = now() where wa_id = 'AC01'")
    await finish(talk, job)
    assert await talk.value("select transcript from messages") is None


async def test_of_a_deleted_message_nobody_says_that_it_was_not_heard(talk: Conversation):
    await says(talk, "AC01")
    await talk.maria_writes("deixa, escrevo")
    (job,) = await claim(talk)
    await talk.sql("update messages set deleted_at = now() where wa_id = 'AC01'")
    await fail(talk, job, final=True)
    await talk.travel(seconds=3)
    (turn,) = await talk.claim()
    assert not any(m["unheard"] for m in turn["history"])


async def test_what_was_deleted_is_asked_of_nobody_and_not_waited_for(talk: Conversation):
    await says(talk, "AC01")
    await talk.maria_writes("deixa, escrevo")
    await talk.travel(seconds=3)
    assert (await deletes(talk, "AC01"))["due_in"] == 0
    assert await claim(talk) == []
    assert len(await talk.claim()) == 1
    (job,) = await talk.sql("select state, error from media_jobs")
    assert dict(job) == {"state": "failed", "error": "it was deleted by who sent it"}


async def test_what_is_deleted_while_it_is_heard_is_paid_for_and_delays_nothing(talk: Conversation):
    await says(talk, "AC01")
    await says(talk, "AC02")
    first, second = await claim(talk)
    await talk.maria_writes("deixa, escrevo")
    await talk.travel(seconds=3)
    for wa_id in ("AC01", "AC02"):
        await deletes(talk, wa_id)
    assert len(await talk.claim()) == 1
    begun = {**held(second), "policy": {}}
    assert await talk.database.call("begin_media_job", begun) == {"refused": "superseded"}
    assert (await finish(talk, first, tokens=40, pictures=["p"]))["ok"]
    found = await talk.sql("select state, tokens, pictures from media_jobs order by id")
    assert [tuple(job.values()) for job in found] == [("done", 40, None), ("failed", 0, None)]
    assert await talk.value("select count(transcript) from messages") == 0


async def test_pictures_go_when_their_message_is_deleted_even_before_it_came(talk: Conversation):
    seeing = {**HEARING, "senses": ["image"]}

    async def sends(wa_id: str) -> None:
        event = talk.message("[image]", kind="image", wa_id=wa_id) | {"media": {"bytes": 9}}
        await talk.ingest(event, policy=seeing)

    await sends("AC01")
    (job,) = await claim(talk)
    await talk.database.call("finish_media_job", {**held(job), "pictures": ["p"]})
    await deletes(talk, "AC01")
    await deletes(talk, "AC02")
    await sends("AC02")
    found = await talk.sql("select pictures, pictures_until from media_jobs")
    assert [tuple(each.values()) for each in found] == [(None, None)]


async def test_what_it_cost_is_spent_and_a_used_up_budget_refuses_it(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    policy = {"daily_tokens": 100}
    assert await talk.database.call("begin_media_job", {**held(job), "policy": policy}) == {
        "ok": True
    }
    await finish(talk, job, tokens=100)
    assert [row["tokens"] for row in await talk.sql("select tokens from spending")] == [100, 100]
    await says(talk)
    (job,) = await claim(talk)
    refused = await talk.database.call("begin_media_job", {**held(job), "policy": policy})
    assert refused == {"refused": "budget"}
    assert await talk.value("select state from media_jobs order by id desc limit 1") == "failed"


async def test_in_a_pause_it_is_heard_and_nothing_waits(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.owner_writes("Oi, Maria!")
    decision = await says(talk)
    assert decision["decision"] == "paused"
    (job,) = await claim(talk)
    assert await finish(talk, job) == {"ok": True}


async def test_a_flood_of_one_tenant_leaves_room_for_the_next(talk: Conversation):
    await talk.open_shop("other")
    for _ in range(50):
        await says(talk)
    await says(talk, instance="other", jids=(JOAO,))
    jobs = await claim(talk, limit=8, own={}, own_times=3)
    of_flood = [job for job in jobs if job["instance_name"] == "shop"]
    assert len(of_flood) <= 6
    assert "other" in {job["instance_name"] for job in jobs}
    rest = await claim(talk, limit=8 - len(jobs), own={"1": len(of_flood)}, own_times=3)
    assert rest == []


async def test_a_merged_turn_waits_for_what_the_other_waited_for(talk: Conversation):
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await says(talk)
    (job,) = await claim(talk)
    await talk.database.call("release_turn", {"turn_id": turn["turn_id"], "token": turn["token"]})
    assert await talk.claim() == []
    await talk.travel(seconds=3)
    await finish(talk, job)
    (again,) = await talk.claim()
    assert [m["transcript"] for m in again["history"]] == [None, "bolo"]


@pytest.mark.parametrize("is_first", [True, False])
async def test_of_two_conversations_that_are_one_the_turn_waits_for_the_media_of_either(
    talk: Conversation, is_first: bool
):
    voice, text = (MARIA_LID, MARIA) if is_first else (MARIA, MARIA_LID)
    if is_first:
        await says(talk, jids=(voice,))
    await talk.ingest(talk.message("oi", jids=(text,)), policy=HEARING)
    if not is_first:
        await says(talk, jids=(voice,))
    await talk.ingest(talk.message("tudo bem?", jids=(MARIA, MARIA_LID)), policy=HEARING)
    assert await talk.value("select count(*) from sessions") == 1
    await talk.travel(seconds=10)
    assert await talk.claim() == []
    (job,) = await claim(talk)
    await finish(talk, job)
    (turn,) = await talk.claim()
    assert "bolo" in [m["transcript"] for m in turn["history"]]


async def test_who_lives_keeps_it(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    renew = {**held(job), "lease_seconds": 60}
    for _ in range(3):
        await talk.travel(seconds=50)
        assert await talk.database.call("renew_media_job", renew) == {"ok": True}
        assert await claim(talk) == []
    await finish(talk, job)
    assert await talk.database.call("renew_media_job", renew) == {"refused": "stale"}


async def test_what_came_in_its_webhook_is_waited_for_given_once_and_gone_when_done(
    talk: Conversation,
):
    event = talk.message("[voice message]", kind="ptt", wa_id="AC01") | {"carried": True}
    (decision,) = await talk.ingest(event | {"media": {"seconds": 7}}, policy=HEARING)
    assert await claim(talk) == []
    given = {"tenant_id": 1, "message_id": decision["message_id"], "content": "T2dnUw=="}
    assert await talk.database.call("give_media", given) == {"ok": True, "taken": True}
    again = await talk.database.call("give_media", given | {"content": "AAAA"})
    assert again == {"ok": True, "taken": False}
    (job,) = await claim(talk)
    assert job["has_content"]
    assert await talk.database.call("read_media", held(job)) == {"content": "T2dnUw=="}
    await finish(talk, job)
    assert await talk.database.call("read_media", held(job)) == {"content": None}
    (late,) = await talk.sql("select content from media_jobs")
    assert late["content"] is None


async def test_what_was_never_given_is_asked_for(talk: Conversation):
    event = talk.message("[voice message]", kind="ptt") | {"carried": True}
    await talk.ingest(event | {"media": {"seconds": 7}}, policy=HEARING)
    await talk.travel(seconds=31)
    (job,) = await claim(talk)
    assert not job["has_content"]


async def test_pictures_are_shown_to_their_turn_alone(talk: Conversation):
    async def shows(number: int) -> None:
        event = talk.message("[image]", kind="image") | {"media": {"bytes": 9}}
        await talk.ingest(event, policy={**HEARING, "senses": ["image"]})
        (job,) = await claim(talk)
        await talk.database.call("finish_media_job", {**held(job), "pictures": [f"p{number}"]})

    for number in range(3):
        await shows(number)
    turn = await talk.claim_one()
    assert [m["pictured"] for m in turn["history"]] == [True, True, True]
    about = {"turn_id": turn["turn_id"], "token": turn["token"]}
    read = await talk.database.call("read_pictures", {**about, "most": 2})
    assert ([p["jpeg"] for p in read["pictures"]], read["left_out"]) == (["p1", "p2"], 1)
    wrong = {**about, "token": "00000000-0000-0000-0000-000000000000", "most": 2}
    assert await talk.database.call("read_pictures", wrong) == {"refused": "stale"}


async def test_what_is_kept_for_a_day_goes_though_no_router_understands_media_now(
    talk: Conversation,
):
    await says(talk)
    (job,) = await claim(talk)
    await finish(talk, job, pictures=["/9j/"])
    await says(talk, "AC02")
    (sent,) = await talk.sql("select id, tenant_id from messages where wa_id = 'AC02'")
    asked = {"tenant_id": sent["tenant_id"], "message_id": sent["id"], "content": "AAAA"}
    assert (await talk.database.call("give_media", asked))["taken"]
    await talk.database.call("prune", {})
    maria = Person(1, (MARIA,))
    asked = {"tenant_id": maria.tenant_id, "jids": maria.jids}
    whole = (await talk.database.call("export_contact", asked))["contact"]["media_jobs"]
    assert [job["left_out"].split(":")[0] for job in whole] == [COPIES, FILE]
    assert (await export_contact(talk.database, maria))["media_jobs"] == whole
    kept = "select count(pictures) + count(content) from media_jobs"
    assert await talk.value(kept) == 2
    await talk.travel(days=1, minutes=1)
    await talk.database.call("prune", {})
    assert await talk.value(kept) == 0
    assert await talk.value("select state from media_jobs order by id desc limit 1") == "failed"


AWAY: Json = {"away": "speech", "keep_trying_seconds": 86_400}


async def test_what_is_away_uses_no_attempt_up_and_is_waited_for_a_day(talk: Conversation):
    await says(talk)
    for _ in range(10):  # three times as many as there are attempts
        (job,) = await claim(talk)
        assert job["attempt"] == 1
        assert await fail(talk, job, **AWAY) == {"state": "pending"}
        assert await claim(talk) == []
        await talk.travel(minutes=7)
    await talk.travel(days=1)
    (job,) = await claim(talk)
    assert (await fail(talk, job, **AWAY))["state"] == "failed"
    (row,) = await talk.sql("select waits_for, error from media_jobs")
    assert row == {"waits_for": None, "error": "no"}


async def test_what_was_paid_for_twenty_times_in_vain_is_given_up(talk: Conversation):
    """As a sound at which the service always hangs, of a tenant to whom nobody else speaks."""
    await says(talk)
    states = []
    for _ in range(20):
        (job,) = await claim(talk)
        states.append((await fail(talk, job, **AWAY, tokens=6000))["state"])
        await talk.travel(minutes=7)
    assert states == ["pending"] * 19 + ["failed"]
    assert await claim(talk) == []


async def test_who_is_away_may_say_for_how_long(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    await fail(talk, job, **AWAY, retry_after=600)
    await talk.travel(minutes=9)
    assert await claim(talk) == []
    await talk.travel(minutes=1, seconds=1)
    assert len(await claim(talk)) == 1


@pytest.mark.parametrize("need", ["speech", "line"])
async def test_what_waits_for_it_is_due_when_it_works_again(talk: Conversation, need: str):
    for _ in range(3):
        await says(talk)
    first, second, third = await claim(talk)
    await fail(talk, first, **AWAY | {"away": need}, retry_after=9999)
    await fail(talk, second, **AWAY | {"away": "describer"}, retry_after=9999)
    assert await claim(talk) == []
    await finish(talk, third, used=["line", "speech"])
    (again,) = await claim(talk)
    assert again["job_id"] == first["job_id"]


async def test_what_fails_where_others_pass_uses_its_attempts_up(talk: Conversation):
    await says(talk)
    states = []
    for _ in range(4):
        await says(talk)
        jobs = await claim(talk)
        poison = min(jobs, key=lambda job: job["job_id"])
        states.append((await fail(talk, poison, **AWAY))["state"])
        (fine,) = [job for job in jobs if job is not poison]
        await finish(talk, fine, used=["speech"])
    assert states == ["pending"] * 3 + ["failed"]


async def test_the_line_that_is_up_again_lets_go_of_media_too(talk: Conversation):
    await says(talk)
    (job,) = await claim(talk)
    await fail(talk, job, **AWAY | {"away": "line"}, retry_after=9999)
    await talk.travel(seconds=21)
    await talk.answer("Não consegui ouvir.")
    assert len(await claim(talk)) == 1
