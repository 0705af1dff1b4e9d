"""WhatsApp's greetings and away messages, told from the owner by the moment at which they come."""

import pytest

from tests.state.conversation import MARIA, Conversation, answered

GREETING = "Olá! Já vamos te atender."


@pytest.fixture
async def talk(talk: Conversation) -> Conversation:
    await talk.set_rule("auto_reply_seconds", 3)
    return talk


@pytest.fixture
def exact(talk: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between two messages is the same, however slow the test is."""
    begun = talk.now()
    monkeypatch.setattr(talk, "now", lambda: begun + talk.offset)


@pytest.mark.usefixtures("exact")
async def test_it_may_follow_any_message_of_the_contact_not_only_the_newest(talk: Conversation):
    await talk.maria_writes("oi", ago=3)
    await talk.maria_writes("tem bolo?", ago=1)
    assert (await talk.owner_writes(GREETING, ago=2))["decision"] == "automatic_reply"
    assert answered(await talk.claim_one()) == ["oi", "tem bolo?"]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("seconds", [0, 1, 3])
async def test_it_may_be_told_before_the_message_that_it_answers(talk: Conversation, seconds: int):
    now = 10
    assert (await talk.owner_writes(GREETING, ago=now))["decision"] == "takeover"
    assert (await talk.maria_writes("oi", ago=now + seconds))["decision"] == "turn_pending"
    assert not (await talk.session())["is_paused"]
    assert [sender for sender, _ in await talk.sayings()].count("auto") == 1
    assert answered(await talk.claim_one()) == ["oi"]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("after", [-1, 4, 600])
async def test_a_message_of_another_moment_makes_no_greeting_of_it(talk: Conversation, after: int):
    await talk.owner_writes("deixa comigo", ago=700)
    assert (await talk.maria_writes("oi", ago=700 + after))["decision"] == "paused"
    assert (await talk.session())["is_paused"]


@pytest.mark.usefixtures("exact")
async def test_a_human_who_writes_beside_the_greeting_keeps_the_conversation(talk: Conversation):
    await talk.owner_writes(GREETING, ago=20)
    await talk.owner_writes("oi Maria, é a Ana", ago=5)
    assert (await talk.maria_writes("oi", ago=21))["decision"] == "paused"
    session = await talk.session()
    assert session["is_paused"]
    assert session["last_human_at"] is not None


@pytest.mark.usefixtures("exact")
async def test_what_the_greeting_had_stopped_goes_on(talk: Conversation):
    await talk.maria_writes("oi", ago=30)
    await talk.owner_writes(GREETING, ago=10)
    assert await talk.turn_states() == ["cancelled"]
    await talk.maria_writes("tem bolo?", ago=11)
    assert answered(await talk.claim_one()) == ["oi", "tem bolo?"]


async def test_our_own_first_send_into_a_chat_sets_it_off_as_well(talk: Conversation):
    await talk.maria_writes("oi", ago=60)
    await talk.answer()
    assert (await talk.owner_writes(GREETING))["decision"] == "automatic_reply"
    assert not (await talk.session())["is_paused"]


async def test_a_later_send_of_ours_does_not(talk: Conversation):
    await talk.maria_writes("oi", ago=60)
    await talk.answer()
    await talk.travel(hours=1)
    await talk.maria_writes("tem bolo?", ago=60)
    await talk.answer("Temos")
    assert (await talk.owner_writes("deixa comigo"))["decision"] == "takeover"


@pytest.mark.parametrize("by_both", [False, True])
async def test_another_client_of_the_api_greets_too(talk: Conversation, by_both: bool):
    await talk.maria_writes("oi", ago=1)
    if by_both:  # gap repair has seen the message before its own event comes
        await talk.owner_writes(GREETING, wa_id="3EB0AA")
    said = await talk.owner_writes(GREETING, wa_id="3EB0AA", origin="send", status="PENDING")
    assert said["decision"] == ("own_message" if by_both else "automatic_reply")
    assert not (await talk.session())["is_paused"]
    assert await talk.turn_states() == ["pending"]


async def test_that_client_takes_over_at_any_other_moment(talk: Conversation):
    await talk.maria_writes("oi", ago=5)
    said = await talk.owner_writes("é a Ana", origin="send", status="PENDING")
    assert said["decision"] == "takeover"


async def test_without_the_setting_nothing_is_a_greeting(talk: Conversation):
    await talk.set_rule("auto_reply_seconds", 0)
    assert (await talk.owner_writes(GREETING, ago=1))["decision"] == "takeover"
    assert (await talk.maria_writes("oi", ago=1))["decision"] == "paused"
    assert (await talk.session(MARIA))["is_paused"]


@pytest.mark.parametrize("older", [True, False])
async def test_what_was_pruned_makes_no_first_send_of_a_later_one(talk: Conversation, older: bool):
    """Nobody knows any more what was said before; a chat that began since then is known whole."""
    await talk.maria_writes("oi", ago=60)
    await talk.answer()
    moved = "- interval '9 days'" if older else "+ interval '0 days'"
    await talk.sql(f"update sessions set created_at = created_at {moved}")
    await talk.sql("update tenants set pruned_before = hybridflow.clock() - interval '7 days'")
    expected = "takeover" if older else "automatic_reply"
    assert (await talk.owner_writes("deixa comigo"))["decision"] == expected
