"""While the fallback makes a reply, and only then, its turn takes no place in n8n."""

import asyncio

import pytest

from router.llm.errors import LlmAway, LlmError
from router.llm.provider import Prompt
from router.n8n.fallback_at_work import FallbackAtWork
from router.replies.making import Silence
from router.state.calls.claimed_turn import ClaimedTurn
from tests.unit.test_answers_of_n8n import PROMPT
from tests.unit.test_fallback import turn


class Fallback:
    """Makes its one reply when it is let, or fails."""

    def __init__(self, failure: LlmError | None = None) -> None:
        self.goes_on = asyncio.Event()
        self.failure = failure

    def has_key(self, turn: ClaimedTurn) -> bool:
        return True

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Silence:
        await self.goes_on.wait()
        if self.failure is not None:
            raise self.failure
        return Silence("nothing to say", {})


@pytest.mark.parametrize("failure", [None, LlmAway("529 overloaded")])
async def test_a_turn_is_the_fallbacks_while_it_makes_the_reply(failure: LlmError | None) -> None:
    fallback, asked = Fallback(failure), turn()
    at_work = FallbackAtWork(fallback)
    making = asyncio.create_task(at_work.make(asked, PROMPT))
    await asyncio.sleep(0)
    assert at_work.is_making(asked.turn_id)
    assert not at_work.is_making(asked.turn_id + 1)
    fallback.goes_on.set()
    (ended,) = await asyncio.gather(making, return_exceptions=True)
    assert ended is failure or isinstance(ended, Silence)
    assert not at_work.is_making(asked.turn_id)
