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
from router.turns.claimed import ClaimedTurn, TurnMessage
from router.turns.markdown import to_whatsapp
from router.turns.prompt import HistoryMessage, build_prompt, strip_marks
from router.turns.reply import finish_truncated, split_reply
from router.webhook.clean import clean


@dataclass(frozen=True, slots=True)
class FallbackRules:
    """What holds where the tenant has no setting of its own."""

    system_prompt: str
    max_tokens: int
    token_budget: int
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
        prompt = build_prompt(
            turn.tenant.system_prompt or self._rules.system_prompt,
            [_as_history(m, in_group=turn.session.chat == "group") for m in turn.history],
            self._rules.token_budget,
        )
        answer = await complete_with_fallback(
            first,
            second,
            prompt,
            model=turn.tenant.llm_model,
            max_tokens=turn.tenant.llm_max_tokens or self._rules.max_tokens,
            attempts=self._rules.llm_attempts,
        )
        text = finish_truncated(answer.text) if answer.truncated else answer.text
        parts = split_reply(to_whatsapp(strip_marks(clean(text))))
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


def _as_history(message: TurnMessage, *, in_group: bool) -> HistoryMessage:
    return HistoryMessage(
        from_me=message.from_me,
        sender=message.sender,
        text=message.body,
        sent_at=message.sent_at,
        quoted_text=(message.quoted or {}).get("text"),
        author_name=message.author_name if in_group else None,
    )
