"""A turn's life and a message's fate, as the state tells them and as they read."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from router.errors import Invalid, NotFound
from router.state.calls.story import ToldTurn
from router.state.database import Json
from router.stories.story import Story, story_of
from scripts.turn import told
from tests.state.conversation import JOAO, POLICY, Conversation, held
from tests.state.test_attempts import doubt, settle
from tests.state.test_changed_questions import edits
from tests.state.test_media_jobs import says as hears
from tests.state.test_outages import claim
from tests.state.test_people import change
from tests.state.test_unknown_lids import owner_writes_to_the_lid, spoken_with

AT_ONCE = {**POLICY, "debounce_seconds": 0, "debounce_cap_seconds": 0}
"""Nothing is waited for, so the clock need not be moved, and what happened stands in its order."""
LLM = {"provider": "anthropic", "model": "claude", "tokens_in": 30, "tokens_out": 12}


async def tell(talk: Conversation, **what: object) -> Story:
    return story_of(
        ToldTurn.model_validate(await talk.database.call("tell_turn", {"tenant_id": 1, **what}))
    )


def lines(story: Story, what: str = "turn 1 of shop") -> list[str]:
    """The story as the command prints it, without the times."""
    printed = told(story, what)
    head = printed.index("") if "" in printed else len(printed)
    return [*printed[:head], *(f"- {line[25:]}" for line in printed[head + 1 :])]


def text(story: Story, what: str = "turn 1 of shop") -> str:
    return "\n".join(lines(story, what))


async def writes(talk: Conversation, body: str = "tem bolo?", **how: Any) -> Json:
    (decision,) = await talk.ingest(talk.message(body, **how), policy=AT_ONCE)
    return decision


async def asked(talk: Conversation) -> Json:
    await writes(talk, wa_id="AC01")
    (turn,) = await talk.claim()
    return turn


async def save(talk: Conversation, turn: Json, *parts: str) -> None:
    saved = {**held(turn), "parts": list(parts), "handler": "fallback", **LLM}
    await talk.database.call("save_reply", saved)


async def fail(talk: Conversation, turn: Json, kind: str, error: str, **more: object) -> None:
    await talk.fail(turn, kind, error=error, base_seconds=0, **more)


# Five lives


async def is_answered(talk: Conversation) -> None:
    turn = await asked(talk)
    await save(talk, turn, "Temos!", "De morango.")
    await talk.finish(turn, await talk.begin(turn, "Temos!"), "3EB001")
    await talk.finish(turn, await talk.begin(turn, "De morango.", part=1), "3EB002")
    await talk.owner_writes("Temos!", wa_id="3EB001", origin="send", status="PENDING")
    await talk.ingest(change("status", "3EB001", status="delivery_ack"))
    await talk.ingest(change("status", "3EB002", status="delivery_ack"))
    await talk.ingest(change("status", "3EB001", status="read"))


ANSWERED = """
Turn 1 of shop (session 1, turn 1, sent)
It was answered, in 2 parts.
- the contact wrote message AC01 (text)
- turn 1 was made
- webhook messages.upsert brought AC01: it is to be answered
- attempt 1 began, by test
- the reply was made, passed the guard and was written down (anthropic claude, 30 tokens in, 12 out)
- the fence let part 1 through to Evolution; now it was read
- the fence let part 2 through to Evolution; now it is on the contact's phone
- attempt 1 ended with the turn: all was said
- the turn was closed as sent
- the echo of our own message 3EB001 came back: it has left
- tick: 3EB001 is on the contact's phone
- tick: 3EB002 is on the contact's phone
- tick: 3EB001 was read
"""


async def is_taken_over(talk: Conversation) -> None:
    turn = await asked(talk)
    await writes(talk, "deixa comigo", from_me=True, wa_id="3A0102030405060708AA")
    assert (await talk.begin(turn, "Temos!"))["refused"] == "paused"


TAKEN_OVER = """
Turn 1 of shop (session 1, turn 1, cancelled)
It got no answer: a human took over the conversation.
The conversation is still paused, by the owner since NOW (the owner wrote): \
POST /api/sessions/1/resume?tenant_id=1 ends that.
- the contact wrote message AC01 (text)
- turn 1 was made
- webhook messages.upsert brought AC01: it is to be answered
- attempt 1 began, by test
- the owner wrote message 3A0102030405060708AA (text)
- the conversation was paused by the owner: the owner wrote
- attempt 1 was stopped: a human took over the conversation
- the turn was closed as cancelled: a human took over the conversation
"""


async def waits_for_the_llm(talk: Conversation) -> None:
    await fail(talk, await asked(talk), "away", "LlmAway: 529 overloaded", away="llm")
    (turn,) = await talk.claim()
    await save(talk, turn, "Temos!")
    await talk.finish(turn, await talk.begin(turn, "Temos!"), "3EB001")


WAITED = """
Turn 1 of shop (session 1, turn 1, sent)
It was answered, in one part.
- the contact wrote message AC01 (text)
- turn 1 was made
- webhook messages.upsert brought AC01: it is to be answered
- attempt 1 began, by test
- attempt 1 could not go on, and does not count: LlmAway: 529 overloaded (away)
- attempt 1 began again, by test
- the reply was made, passed the guard and was written down (anthropic claude, 30 tokens in, 12 out)
- the fence let part 1 through to Evolution; now it is on its way to WhatsApp
- attempt 1 ended with the turn: all was said
- the turn was closed as sent
"""


async def is_in_doubt_and_found(talk: Conversation) -> None:
    turn = await asked(talk)
    await save(talk, turn, "Temos!")
    send = await talk.begin(turn, "Temos!")
    named = {"tenant_id": 1, "message_id": send["message_id"]}
    doubtful = {**held(turn), **named, "error": "EvolutionInDoubt: time-out", "check_after": 0}
    await talk.database.call("doubt_send", doubtful)
    (turn,) = await talk.claim()
    await settle(talk, turn, send, "sent", wa_id="3EB001")


FOUND = """
Turn 1 of shop (session 1, turn 1, sent)
It was answered, in one part.
- the contact wrote message AC01 (text)
- turn 1 was made
- webhook messages.upsert brought AC01: it is to be answered
- attempt 1 began, by test
- the reply was made, passed the guard and was written down (anthropic claude, 30 tokens in, 12 out)
- the fence let part 1 through to Evolution (in doubt until it was found); \
now it was taken by Evolution
- attempt 1 ended in doubt: a send had begun, and nobody knew how it ended: \
EvolutionInDoubt: time-out (in_doubt)
- attempt 1 began again, by test
- attempt 1 ended with the turn: all was said
- the turn was closed as sent
"""


async def is_dead(talk: Conversation) -> None:
    await fail(talk, await asked(talk), "transient", "LlmFailed: 500")
    (turn,) = await talk.claim()
    await fail(talk, turn, "permanent", "LlmMisconfigured: the provider anthropic has no key")


DEAD = """
Turn 1 of shop (session 1, turn 1, dead)
It got no answer: the turn is dead. LlmMisconfigured: the provider anthropic has no key (permanent).
POST /api/turns/1/retry?tenant_id=1 tries it again.
- the contact wrote message AC01 (text)
- turn 1 was made
- webhook messages.upsert brought AC01: it is to be answered
- attempt 1 began, by test
- attempt 1 failed and is made again: LlmFailed: 500 (transient)
- attempt 2 began, by test
- attempt 2 failed for good: LlmMisconfigured: the provider anthropic has no key (permanent)
- the turn was closed as dead
"""


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        (is_answered, ANSWERED),
        (is_taken_over, TAKEN_OVER),
        (waits_for_the_llm, WAITED),
        (is_in_doubt_and_found, FOUND),
        (is_dead, DEAD),
    ],
    ids=["answered", "taken over", "the LLM was away", "in doubt, then found", "dead"],
)
async def test_a_life_reads_as_it_was(
    talk: Conversation, life: Callable[[Conversation], Awaitable[None]], expected: str
):
    await life(talk)
    (session,) = await talk.sql(
        "select to_char(paused_at, 'YYYY-MM-DD HH24:MI') as at from sessions"
    )
    said = text(await tell(talk, turn_id=1)).replace(session["at"] or "-never-", "NOW")
    assert said == expected.strip()


async def test_a_change_after_the_answer_says_why_nobody_answers_it(talk: Conversation):
    await is_answered(talk)
    await edits(talk, "AC01", "20 bolos", key="edit:AC01:1795796891907:0123456789abcdef")
    assert (
        (await tell(talk, wa_id="AC01"))
        .answer[1]
        .startswith("The contact changed the message after that: ")
    )


async def test_it_begins_at_a_message_as_well_ours_or_the_contacts(talk: Conversation):
    await is_answered(talk)
    whole = await tell(talk, turn_id=1)
    for wa_id in ("AC01", "3EB001", "3EB002"):
        assert await tell(talk, wa_id=wa_id) == whole


async def test_no_text_of_any_message_is_in_it(talk: Conversation):
    await is_answered(talk)
    await writes(talk, "deixa comigo", from_me=True)
    story = str(await talk.database.call("tell_turn", {"tenant_id": 1, "turn_id": 1}))
    for word in ("bolo", "Temos", "morango", "deixa"):
        assert word not in story


async def test_each_message_that_joined_says_when_the_reply_was_due_then(talk: Conversation):
    for wa_id in ("AC01", "AC02"):
        await talk.maria_writes("oi", wa_id=wa_id)
    said = lines(await tell(talk, turn_id=1))
    moved = [line for line in said if "webhook" in line]
    assert len(moved) == 2
    assert all("to be answered, in 2.0 s, so that" in line for line in moved)
    assert "It is to be answered; the next attempt is due at" in said[1]


async def test_an_attempt_under_way_is_told_with_who_has_it(talk: Conversation):
    turn = await asked(talk)
    await talk.database.call("forward_turn", {**held(turn), "lease_seconds": 90})
    said = lines(await tell(talk, turn_id=1))
    assert said[1] == "It is being answered now, by test (attempt 1)."
    assert said[-2:] == ["- attempt 1 began, by test", "- it was given to n8n"]


async def test_what_the_guard_refused_says_by_which_rule(talk: Conversation):
    turn = await asked(talk)
    refused = {**held(turn), "rule": "leak", "detail": "40 characters of the prompt"}
    await talk.database.call("refuse_reply", refused)
    said = text(await tell(talk, turn_id=1))
    assert "It got no answer: the guard refused the reply" in said
    assert "still paused, by the AI" in said


async def test_what_is_said_in_place_of_a_reply_is_no_answer(talk: Conversation):
    await talk.set_rule("fallback_message", "Um momento.")
    turn = await asked(talk)
    refused = {**held(turn), "rule": "model_refused", "say": "Um momento."}
    await talk.database.call("refuse_reply", refused)
    (turn,) = await talk.claim()
    await talk.finish(turn, await talk.begin(turn, "Um momento."), "3EB001")
    said = text(await tell(talk, turn_id=1))
    assert (
        "The contact got no answer, and the message that a human is called instead: model_refused."
        "\nThe AI asked for a human.\nThe conversation is still paused, by the AI since "
    ) in said
    assert "- the guard refused the reply, and other words go instead: model_refused" in said


async def test_what_the_contact_said_is_not_in_why_a_human_was_called(talk: Conversation):
    turn = await asked(talk)
    summary = "Quero falar com um atendente"
    wants = {**held(turn), "reason": "asked_for_person", "summary": summary}
    await talk.database.call("hand_off", wants)
    story = await tell(talk, turn_id=1)
    assert "paused, by the AI since " in text(story)
    assert "(the contact asked for a person): POST" in text(story)
    assert "- the conversation was paused by the AI: the contact asked for a person" in lines(story)
    assert "atendente" not in str(story)


async def test_a_dead_turn_of_a_paused_conversation_is_resumed_first(talk: Conversation):
    turn = await asked(talk)
    await fail(talk, turn, "permanent", "LlmOutOfRoom: too long", cause="failed")
    said = (await tell(talk, turn_id=1)).answer
    assert said[0] == "It got no answer: the turn is dead. LlmOutOfRoom: too long (permanent)."
    assert said[1].endswith("POST /api/sessions/1/resume?tenant_id=1 ends that.")
    assert said[2] == (
        "That answers what is recent; after that,"
        " POST /api/turns/1/retry?tenant_id=1 tries an older one again."
    )


async def test_what_was_not_delivered_names_the_turn_that_answers_again(talk: Conversation):
    turn = await asked(talk)
    await save(talk, turn, "Temos!")
    await talk.finish(turn, await talk.begin(turn, "Temos!"), "3EB001")
    await talk.ingest(change("status", "3EB001", status="error", code="463"))
    said = lines(await tell(talk, turn_id=1))
    assert said[1:3] == [
        "A reply was sent, and WhatsApp did not deliver it.",
        "Turn 2 answers again.",
    ]
    assert "- WhatsApp did not deliver part 1 (error 463)" in said
    assert "- turn 2 answers instead" in said
    assert (await tell(talk, wa_id="AC01")).turn_id == 2


# Why was there no answer?


async def is_paused(talk: Conversation) -> str:
    await writes(talk, "deixa comigo", from_me=True)
    await writes(talk, wa_id="AC01")
    return "the conversation was paused (a human had it, or was called): recorded, not answered"


async def is_off(talk: Conversation) -> str:
    await talk.set_rule("is_active", False)
    await writes(talk, wa_id="AC01")
    return "the tenant was switched off (is_active): recorded, not answered"


async def is_staff(talk: Conversation) -> str:
    await talk.set_rule("notify_number", "5511955550001")
    await writes(talk, wa_id="AC01")
    return (
        "it came from the tenant's notify_number: recorded, never answered by the AI; if it quotes"
        " a notice, it is for that customer"
    )


async def is_a_reaction(talk: Conversation) -> str:
    await writes(talk, kind="reaction", wa_id="AC01")
    return "recorded; the AI answers nothing of this kind"


async def is_too_old(talk: Conversation) -> str:
    await writes(talk, wa_id="AC01", ago=7200)
    return "it was too old when it arrived (ANSWER_WITHIN_MINUTES): recorded, not answered"


async def is_a_flood(talk: Conversation) -> str:
    await talk.ingest(talk.message("oi", wa_id="AC01") | {"flood": True}, policy=AT_ONCE)
    return "the contact wrote too much at once: recorded, not answered"


async def is_in_a_group(talk: Conversation) -> str:
    await writes(talk, wa_id="AC01", chat="group", jids=["12036300000001@g.us"])
    return "it was written in a group, and the tenant answers no groups: not recorded"


@pytest.mark.parametrize(
    "fate",
    [is_paused, is_off, is_staff, is_a_reaction, is_too_old, is_a_flood, is_in_a_group],
    ids=lambda fate: fate.__name__,
)
async def test_a_message_without_a_turn_says_why(
    talk: Conversation, fate: Callable[[Conversation], Awaitable[str]]
):
    expected = await fate(talk)
    story = await tell(talk, wa_id="AC01")
    assert (story.is_known, story.turn_id) == (True, None)
    assert story.answer[0] == f"It got no answer: {expected}."
    assert [each.kind for each in story.happenings][-1] == "judged"


async def test_it_says_so_while_the_pause_lasts(talk: Conversation):
    await is_paused(talk)
    assert "still paused, by the owner" in (await tell(talk, wa_id="AC01")).answer[1]
    named = {"tenant_id": 1, "session_id": (await talk.session())["id"]}
    await talk.sql("update messages set turn_id = null, expects_reply = false")
    await talk.database.call("resume_session", {**named, "source": "operator", "policy": POLICY})
    assert len((await tell(talk, wa_id="AC01")).answer) == 1


async def test_a_duplicate_tells_the_story_of_the_first(talk: Conversation):
    event = talk.message("oi", wa_id="AC01")
    await talk.ingest(event, policy=AT_ONCE)
    await talk.ingest(event, policy=AT_ONCE)
    story = await tell(talk, wa_id="AC01")
    assert (story.turn_id, [each.kind for each in story.happenings]) == (
        1, ["message", "turn_made", "judged"],
    )  # fmt: skip


async def test_what_the_business_wrote_is_no_question(talk: Conversation):
    await writes(talk, "bom dia", from_me=True, wa_id="3A01")
    story = await tell(talk, wa_id="3A01")
    assert story.answer == ["It was written by the owner: the AI answers only contacts."]
    await writes(talk, "bom dia", from_me=True, wa_id="3EB0CC", origin="send", jids=[JOAO])
    assert "another client of Evolution" in (await tell(talk, wa_id="3EB0CC")).answer[0]


async def test_after_the_events_are_gone_it_says_that_it_does_not_know(talk: Conversation):
    await is_paused(talk)
    await talk.sql("delete from processed_events")
    said = (await tell(talk, wa_id="AC01")).answer
    assert said[0].startswith("It got no answer of its own. What came by webhooks is kept for 7")


async def test_a_change_that_waits_for_its_message_is_known(talk: Conversation):
    await talk.ingest(change("edit", "AC01", text="com morango"))
    story = await tell(talk, wa_id="AC01")
    assert (story.is_known, [each.kind for each in story.happenings]) == (True, ["edited"])
    known = "The message itself is not kept; what is known about it is listed below."
    assert story.answer == [known]


async def test_a_message_that_never_arrived_says_what_to_look_at(talk: Conversation):
    story = await tell(talk, wa_id="AC404")
    assert (story.is_known, story.happenings) == (False, [])
    said = "\n".join(story.answer)
    assert said.startswith("This message never arrived here, or is not kept any more.")
    assert "No webhook of shop has come in the last 7 days" in said
    assert "/api/instances/shop/test-webhook" in said
    assert "scripts.catch_up --instance shop" in said
    assert "webhook_ignored" in said
    await writes(talk)
    await talk.sql(
        "update tenants set connection_state = 'close', connection_lost_at = now(),"
        " pruned_before = now()"
    )
    said = "\n".join((await tell(talk, wa_id="AC404")).answer)
    assert "shop lost its connection to WhatsApp at" in said
    assert "The last webhook of shop came at" in said
    assert "is archived or deleted" in said


async def test_an_erased_message_is_said_to_be_erased_and_no_more(talk: Conversation):
    await writes(talk, wa_id="AC01")
    await talk.sql(
        "insert into erased_messages (tenant_id, wa_id_hash, erased_at)"
        " values (1, hybridflow.wa_id_hash('AC02'), now())"
    )
    story = await tell(talk, wa_id="AC02")
    assert story.answer == ["The contact's data was erased: of this message nothing is kept."]


# What waits, and what was sent besides


async def test_a_turn_behind_another_names_it(talk: Conversation):
    turn = await asked(talk)
    await save(talk, turn, "Temos!")
    await talk.begin(turn, "Temos!")
    await writes(talk, "e de chocolate?", wa_id="AC02")
    assert (await tell(talk, wa_id="AC02")).answer == [
        "It waits until turn 1 of the same conversation has ended."
    ]


async def test_a_turn_that_waits_for_whom_a_human_wrote_to_says_so(talk: Conversation):
    await spoken_with(talk)
    await owner_writes_to_the_lid(talk)
    await talk.maria_writes("tem bolo?", wa_id="AC77")
    (said,) = (await tell(talk, wa_id="AC77")).answer
    assert said.startswith("It is to be answered; the next attempt is due at ")
    assert said.endswith("it may be this one, so the answer waits (unknown_lid_minutes).")


async def test_a_voice_message_that_is_being_heard_says_so(talk: Conversation):
    await hears(talk, "AC01")
    (said,) = (await tell(talk, wa_id="AC01")).answer
    assert said.startswith("It waits for what was sent to be put into words, until ")


async def test_what_was_too_old_is_said_once(talk: Conversation):
    await writes(talk, wa_id="AC01")
    await talk.travel(minutes=90)
    await claim(talk)
    assert (await tell(talk, turn_id=1)).answer[0] == (
        "It got no answer: the turn is dead. Nobody could answer it before it was too old"
        " (ANSWER_WITHIN_MINUTES)."
    )


async def test_the_fallback_message_is_told_though_it_answers_nothing(talk: Conversation):
    turn = await asked(talk)
    begun = await talk.database.call(
        "begin_fallback_send",
        {
            **held(turn), "cause": "account_empty", "error": "402", "kind_of_failure": "permanent",
            "max_attempts": 5, "body": "Um momento!", "lease_seconds": 45,
        },
    )  # fmt: skip
    await talk.finish(turn, begun, "3EB001")
    await fail(talk, turn, "permanent", "LlmMisconfigured: 402")
    story = await tell(talk, turn_id=1)
    besides = "the contact was sent the fallback message (fallback_message), which answers nothing"
    assert story.answer[0].startswith("It got no answer: the turn is dead.")
    assert story.answer[1] == f"T{besides[1:]}; now it is on its way to WhatsApp."
    assert [each.kind for each in story.happenings].count("told_besides") == 1
    assert "momento" not in text(story)


# Whose


async def test_nobody_reads_another_tenants(talk: Conversation):
    other = await talk.open_shop("pharmacy")
    await writes(talk, wa_id="AC01")
    with pytest.raises(NotFound):
        await talk.database.call("tell_turn", {"tenant_id": other, "turn_id": 1})
    told_there = await talk.database.call("tell_turn", {"tenant_id": other, "wa_id": "AC01"})
    assert (told_there["is_known"], told_there["message"]) == (False, None)


@pytest.mark.parametrize("what", [{}, {"turn_id": 1, "wa_id": "AC01"}])
async def test_one_thing_is_named(talk: Conversation, what: Json):
    with pytest.raises(Invalid, match="turn"):
        await tell(talk, **what)


async def test_who_has_it_is_found_by_a_turn_a_message_or_an_event(talk: Conversation):
    await talk.open_shop("pharmacy")
    await writes(talk, wa_id="AC01", instance="pharmacy")
    await writes(talk, wa_id="AC02", chat="group", jids=["12036300000001@g.us"])

    async def found(**what: object) -> list[str]:
        answer = await talk.database.call("find_turn", what)
        return [each["instance_name"] for each in answer["found"]]

    assert await found(turn_id=1) == ["pharmacy"]
    assert await found(wa_id="AC01") == ["pharmacy"]
    assert await found(wa_id="AC02") == ["shop"]
    assert await found(wa_id="AC03") == await found(turn_id=9) == []
    assert await found(wa_id="AC03", instance_name="shop") == ["shop"]


async def test_doubts_are_told_even_where_nobody_works_on_them(talk: Conversation):
    turn = await asked(talk)
    await save(talk, turn, "Temos!")
    await doubt(talk, turn, await talk.begin(turn, "Temos!"))
    said = lines(await tell(talk, turn_id=1))
    assert said[1].startswith("Nobody knows yet whether a part of the reply left")
    assert said[2] == "The last error was: time-out (in_doubt)"
    assert "now nobody knows yet whether it left" in "\n".join(said)
