"""The fallback handler: makes the reply in Python, without n8n."""

from collections.abc import Mapping
from dataclasses import dataclass

from router.llm.asking import complete_with_fallback
from router.llm.errors import LlmEmpty, LlmMisconfigured
from router.llm.provider import LlmProvider, LlmReply, Prompt
from router.replies.hand_over import call_of, handed_over
from router.replies.llm_keys import LlmKeys, max_tokens_within
from router.replies.making import Reply
from router.replies.parts import prepared
from router.replies.pictures import without_pictures
from router.state.calls.claimed_turn import ClaimedTurn
from router.whatsapp.splitting import finish_truncated


@dataclass(frozen=True, slots=True)
class FallbackRules:
    """The values for tenants without settings of their own.

    `max_tokens` is the limit with the deployment's key.
    """

    max_tokens: int
    second_provider: str | None
    llm_attempts: int


class FallbackHandler:
    """Asks the tenant's provider, and divides the answer by WhatsApp's lengths."""

    def __init__(
        self, providers: Mapping[str, LlmProvider], rules: FallbackRules, keys: LlmKeys
    ) -> None:
        """`providers` are by name; a provider without a key works only with a tenant's key."""
        self._providers = providers
        self._keys = keys
        self._rules = rules

    async def make(self, turn: ClaimedTurn, prompt: Prompt) -> Reply:
        """Return the reply to the turn. Raises LlmError."""
        try:
            answer = await self._ask(turn, prompt)
        except LlmMisconfigured:
            if not prompt.pictures:
                raise
            # A model that cannot read pictures refuses the whole question.
            answer = await self._ask(turn, without_pictures(prompt))
        text = finish_truncated(answer.text) if answer.truncated else answer.text
        said = await prepared(text)
        call = call_of(answer)
        parts = said if call is None else await handed_over(call, said)
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

    def has_key(self, turn: ClaimedTurn) -> bool:
        """Whether there is a key for the LLM of the turn's tenant: its own or the deployment's."""
        provider = self._providers.get(turn.tenant.llm_provider)
        return turn.tenant.llm_api_key is not None or (provider is not None and provider.has_key)

    async def _ask(self, turn: ClaimedTurn, prompt: Prompt) -> LlmReply:
        first = self._provider(turn)
        return await complete_with_fallback(
            first,
            self._second(first),
            prompt,
            model=turn.tenant.llm_model,
            max_tokens=max_tokens_within(turn.tenant, self._rules.max_tokens),
            most_of_second=self._rules.max_tokens,
            attempts=self._rules.llm_attempts,
        )

    def _provider(self, turn: ClaimedTurn) -> LlmProvider:
        name = turn.tenant.llm_provider
        provider = self._providers.get(name)
        own_key = self._keys.of_turn(turn)
        if provider is not None and own_key is not None:
            return provider.with_key(own_key)
        if provider is None or not provider.has_key:
            key = f"{name.upper()}_API_KEY"
            raise LlmMisconfigured(
                f"the provider {name} has no key: set {key}, or the tenant's llm_provider to one"
                " that has a key"
            )
        return provider

    def _second(self, first: LlmProvider) -> LlmProvider | None:
        name = self._rules.second_provider
        if name is None or name == first.name:
            return None
        second = self._providers.get(name)
        return second if second is not None and second.has_key else None
