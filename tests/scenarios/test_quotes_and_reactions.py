"""Replies that quote what they answer, and a reaction in place of a sentence."""

from loopback.evolution import failures
from loopback.evolution.answers import error_body
from loopback.faults import wrong_answer
from tests.scenarios.stage import BOTH_HANDLERS, Stage

pytestmark = BOTH_HANDLERS


async def _two(stage: Stage) -> None:
    stage.llm.answers("Temos, sim!")
    await stage.change(debounce_seconds=3)  # as long as a busy machine may need
    await stage.maria.writes("tem bolo?")
    await stage.maria.writes("de cenoura")
    await stage.time_passes(seconds=4)


async def test_the_question_is_quoted_where_several_messages_are_answered(stage: Stage):
    await _two(stage)
    await stage.maria.answered()
    await stage.turns_end()
    (call,) = stage.shop.calls("sendText")
    (question, _) = await stage.sql("select wa_id from messages where not from_me order by id")
    assert call.body["quoted"] == {"key": {"id": question["wa_id"]}}
    assert stage.maria.replies == ["Temos, sim!"]
    assert not await stage.paused()


async def test_nothing_is_quoted_where_the_tenant_wants_none(stage: Stage):
    await stage.change(quote_replies=False)
    await _two(stage)
    await stage.maria.answered()
    (call,) = stage.shop.calls("sendText")
    assert "quoted" not in call.body


async def test_a_quoting_reply_whose_answer_is_lost_is_known_and_sent_once(stage: Stage):
    stage.shop.fail("sendText", failures.TAKEN_THEN_CUT)
    await _two(stage)
    await stage.maria.answered()
    (turn,) = await stage.turns_end()
    assert turn["state"] == "sent"
    assert len(stage.shop.calls("sendText")) == 1


async def test_a_bare_thanks_gets_a_reaction_and_no_llm_is_asked(stage: Stage):
    await stage.change(thanks_reaction="🙏")
    stage.llm.answers("O bolo custa R$ 45.")
    await stage.maria.writes("quanto custa o bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    await stage.maria.writes("muito obrigada!")
    (call,) = await stage.shop.called("sendReaction")
    turns = await stage.turns_end()
    assert call.body["reaction"] == "🙏"
    assert [turn["state"] for turn in turns] == ["sent", "sent"]
    assert len(stage.llm.requests) == 1
    assert not await stage.paused()


async def test_where_a_reaction_is_refused_its_sign_is_written(stage: Stage):
    """The EVOLUTION channel has none: each thanks would be told as one that nobody answered."""
    await stage.change(thanks_reaction="🙏")
    stage.llm.answers("O bolo custa R$ 45.")
    await stage.maria.writes("quanto custa o bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    refusal = wrong_answer(400, error_body(400, "Method not available on Evolution Channel"))
    stage.shop.fail("sendReaction", refusal, times=None)
    await stage.maria.writes("muito obrigada!")
    await stage.maria.answered(2)
    turns = await stage.turns_end()
    assert stage.maria.replies == ["O bolo custa R$ 45.", "🙏"]
    assert [(turn["state"], turn["incomplete"]) for turn in turns] == [("sent", False)] * 2
    assert await stage.sql("select id from notices") == []


async def test_thanks_are_answered_in_words_where_nothing_is_set(stage: Stage):
    stage.llm.answers("O bolo custa R$ 45.", "De nada!")
    await stage.maria.writes("quanto custa o bolo?")
    await stage.maria.answered()
    await stage.turns_end()
    await stage.maria.writes("obrigada")
    await stage.maria.answered(2)
    assert stage.shop.calls("sendReaction") == []
