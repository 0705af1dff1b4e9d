"""Reserves what a turn may cost at most, before an LLM is asked."""

from collections.abc import Mapping

from router.llm.provider import Prompt
from router.replies.claimed import ClaimedTurn
from router.replies.prompt import PromptRules, prompt_of_turn
from router.sending.outcomes import SendStopped
from router.state.database import Database

_FRAME = 64  # tokens that a provider puts around a prompt,
_FRAME_OF_MESSAGE = 16  # and around each of its messages


def worst_case_tokens(prompt: Prompt, max_tokens: int) -> int:
    """Return what one call can cost: no tokeniser makes more tokens of a text than it has bytes."""
    size = len(prompt.system.encode(errors="replace")) + _FRAME
    for message in prompt.messages:
        size += len(message.text.encode(errors="replace")) + _FRAME_OF_MESSAGE
    return size + max_tokens


class Budget:
    """The way to the state's budgets; `limits` are the deployment's, named as a tenant's own."""

    def __init__(
        self, database: Database, prompt: PromptRules, max_tokens: int, limits: Mapping[str, int]
    ) -> None:
        self._database = database
        self._prompt = prompt
        self._max_tokens = max_tokens
        self._limits = dict(limits)

    async def reserve(self, turn: ClaimedTurn) -> None:
        """Return if the turn's reply may be made. Raises SendStopped, 'budget' if it is used up."""
        answer = await self._database.call(
            "reserve_budget",
            {
                **turn.held,
                "tokens": worst_case_tokens(
                    prompt_of_turn(turn, self._prompt),
                    turn.tenant.max_tokens_within(self._max_tokens),
                ),
                "policy": self._limits,
            },
        )
        if "refused" in answer:
            raise SendStopped(answer["refused"])
