"""Reserves what a turn may cost at most, before an LLM is asked."""

from collections.abc import Mapping

from router.llm.provider import Prompt
from router.state.calls.model import Held
from router.state.calls.safety import BudgetRefused, ReserveBudget, reserve_budget
from router.state.database import Database

_FRAME = 64  # tokens that a provider adds to a prompt
_PICTURE = 2000  # tokens of 1024 x 1024 pixels; providers report 800 to 1600
_FRAME_OF_MESSAGE = 16  # tokens that it adds to each message


def worst_case_tokens(prompt: Prompt, max_tokens: int) -> int:
    """Return what one call can cost at most: a text never has more tokens than bytes."""
    size = len(prompt.system.encode(errors="replace")) + _FRAME
    for message in prompt.messages:
        size += len(message.text.encode(errors="replace")) + _FRAME_OF_MESSAGE
    for tool in prompt.tools:
        size += len(tool.description.encode()) + len(repr(tool.takes)) + _FRAME
    return size + len(prompt.pictures) * _PICTURE + max_tokens


class Budget:
    """Reserves from the state's budgets; `limits` are the deployment's, named like a tenant's."""

    def __init__(self, database: Database, limits: Mapping[str, int]) -> None:
        self._database = database
        self._limits = dict(limits)

    async def reserve(self, held: Held, tokens: int) -> str | None:
        """Reserve this many tokens for a turn's reply.

        Returns None if the reply may be made, otherwise the reason: 'budget' if it is used up.
        """
        asked = ReserveBudget(**held, tokens=tokens, policy=self._limits)
        answer = await reserve_budget(self._database, asked)
        return answer.refused if isinstance(answer, BudgetRefused) else None
