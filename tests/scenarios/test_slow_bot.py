"""A courier's bot that answers each reply after half a minute, and never twice the same."""

from tests.scenarios.stage import BOTH_HANDLERS, Stage
from tests.state.test_slow_bots import WORDS


@BOTH_HANDLERS
async def test_it_is_paused_and_told_and_not_answered_for_ever(stage: Stage):
    await stage.change(notify_number="5511955559999")
    for number in range(40):
        words = " ".join(WORDS[(number * 7 + k * 3) % len(WORDS)] for k in range(9))
        await stage.maria.writes(f"Claro! {words} {number}. Posso ajudar em algo mais?")
        await stage.turns_end()
        if await stage.paused():
            break
        await stage.time_passes(seconds=20 + number % 4 * 9)
    assert 10 < number < 25
    assert len(stage.maria.replies) == number
    (session,) = await stage.sql("select pause_source, pause_reason from sessions where is_paused")
    assert session["pause_source"] == "ai"
    assert "two bots" in session["pause_reason"]
    assert [row["kind"] for row in await stage.sql("select kind from notices")] == ["handoff"]
