"""The fallback handler: makes the reply in Python, without n8n."""

from collections.abc import Mapping
from dataclasses import dataclass

from router.llm.provider import (
    LlmEmpty,
    LlmMisconfigured,
    LlmProvider,
    complete_with_fallback,
)
from router.turns.attempt import Reply
from router.turns.claimed import ClaimedTurn
from router.turns.outgoing import parts_of
from router.turns.prompt import PromptRules, prompt_of_turn
from router.turns.reply import finish_truncated


@dataclass(frozen=True, slots=True)
class FallbackRules:
    """What holds where the tenant has no setting of its own."""

    prompt: PromptRules
    max_tokens: int
    second_provider: str | None
    llm_attempts: int


class FallbackHandler:
    """Builds the prompt, asks the tenant's provider, and cuts the answer to WhatsApp's measure."""

    def __init__(self, providers: Mapping[str, LlmProvider], rules: FallbackRules) -> None:
        """Take the configured providers by name; a provider without a key is not among them."""
        self._providers = providers
        self._rules = rules

    async def make(self, turn: ClaimedTurn) -> Reply:
        """Return the reply to the turn. Raises LlmError."""
        first = self._provider(turn.tenant.llm_provider)
        second = self._second(first)
        prompt = prompt_of_turn(turn, self._rules.prompt)
        answer = await complete_with_fallback(
            first,
            second,
            prompt,
            model=turn.tenant.llm_model,
            max_tokens=turn.tenant.llm_max_tokens or self._rules.max_tokens,
            attempts=self._rules.llm_attempts,
        )
        text = finish_truncated(answer.text) if answer.truncated else answer.text
        parts = parts_of(text)
        if not parts:
            raise LlmEmpty(f"{answer.provider} answered with nothing but marks")
        return Reply(
            parts=parts,
            handler="fallback",
            provider=answer.provider,
            model=answer.model,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
        )

    def _provider(self, name: str) -> LlmProvider:
        if name not in self._providers:
            key = f"{name.upper()}_API_KEY"
            raise LlmMisconfigured(f"the provider {name} has no key: set {key}")
        return self._providers[name]

    def _second(self, first: LlmProvider) -> LlmProvider | None:
        name = self._rules.second_provider
        if name is None or name == first.name:
            return None
        return self._providers.get(name)
