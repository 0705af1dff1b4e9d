"""Asks a provider until it answers, with a larger token limit if needed; then the second one."""

from dataclasses import replace

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from router.configuration.variables import LONGEST_RETRY_AFTER
from router.llm.errors import (
    LlmAccountRefused,
    LlmAway,
    LlmEmpty,
    LlmError,
    LlmMisconfigured,
    LlmOutOfRoom,
    LlmRefused,
)
from router.llm.provider import MOST_TOKENS, LlmProvider, LlmReply, Prompt
from router.llm.reasoning import without_reasoning

_MORE_ROOM = 4  # times the limit, if a model used it up without a reply
_MOST_ROOM = 32_000  # tokens of such an answer at most


async def complete_with_fallback(
    first: LlmProvider,
    second: LlmProvider | None,
    prompt: Prompt,
    *,
    model: str | None,
    max_tokens: int,
    attempts: int,
    most_of_second: int | None = None,
) -> LlmReply:
    """Ask the first provider, up to `attempts` times if that can help; then the second, if any.

    `model` is for the first provider. The second uses its own default model, and at most
    `most_of_second` tokens, because it always uses the deployment's key. A refusal counts as an
    answer: no other provider is asked. Raises the LlmError of the provider that was asked last. But
    if only that one is misconfigured, or its account is refused, raises the error of the first one,
    because that may pass.
    """
    try:
        return await _complete(first, prompt, model, max_tokens, attempts)
    except LlmRefused:
        raise
    except LlmError as error:
        if second is None:
            raise
        failed = error
    try:
        most = max_tokens if most_of_second is None else min(max_tokens, most_of_second)
        return await _complete(second, prompt, None, most, attempts)
    except (LlmMisconfigured, LlmAccountRefused):
        if isinstance(failed, LlmMisconfigured):
            raise
        raise failed from None


async def _complete(
    provider: LlmProvider, prompt: Prompt, model: str | None, max_tokens: int, attempts: int
) -> LlmReply:
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(_may_pass_soon),
        stop=stop_any(stop_after_attempt(attempts), _AskedToWaitLong()),
        wait=_wait,
        reraise=True,
    ):
        with attempt:
            reply = await _said(provider, prompt, model, max_tokens)
            if reply.truncated and not reply.text and not reply.calls:
                reply = await _asked_with_more_room(provider, prompt, model, max_tokens, reply)
            if not reply.text and not reply.calls:
                raise LlmEmpty(f"{provider.name} answered without a word")
    return reply


async def _said(
    provider: LlmProvider, prompt: Prompt, model: str | None, max_tokens: int
) -> LlmReply:
    """Ask once, and return the answer without the model's reasoning."""
    reply = await provider.complete(prompt, model=model, max_tokens=max_tokens)
    return replace(reply, text=without_reasoning(reply.text).strip())


async def _asked_with_more_room(
    provider: LlmProvider, prompt: Prompt, model: str | None, max_tokens: int, before: LlmReply
) -> LlmReply:
    """Ask once more with a larger limit: a reasoning model spends tokens before its reply.

    Raises LlmOutOfRoom if that does not help, because each further call costs money, too.
    """
    room = more_room(max_tokens)
    if room is None:
        raise out_of_room(provider.name, max_tokens)
    try:
        reply = await _said(provider, prompt, model, room)
    except LlmMisconfigured as error:  # the limit is higher than the model allows
        raise out_of_room(provider.name, max_tokens) from error
    except LlmAway as error:
        if error.is_free:
            raise
        # or takes longer than the time limit
        raise out_of_room(provider.name, max_tokens) from error
    if reply.truncated and not reply.text:
        raise out_of_room(provider.name, room)
    return replace(
        reply,
        tokens_in=min(reply.tokens_in + before.tokens_in, MOST_TOKENS),
        tokens_out=min(reply.tokens_out + before.tokens_out, MOST_TOKENS),
    )


def more_room(max_tokens: int) -> int | None:
    """Return the next token limit after `max_tokens` was used up; None: there is no higher one."""
    room = min(_MORE_ROOM * max_tokens, _MOST_ROOM)
    return room if room > max_tokens else None


def out_of_room(whose: str, limit: int) -> LlmOutOfRoom:
    """Return the error that says what to change; `whose` names the model at its beginning."""
    return LlmOutOfRoom(
        f"{whose} used up {limit} tokens, presumably by reasoning, and said nothing: raise"
        " LLM_MAX_TOKENS (or the tenant's llm_max_tokens), or use a model that reasons less"
    )


_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_RETRY_AFTER)


def _may_pass_soon(error: BaseException) -> bool:
    return isinstance(error, LlmAway | LlmEmpty) and not isinstance(error, LlmAccountRefused)


class _AskedToWaitLong(stop_base):
    """Stops retrying if the provider asks for a long wait: the turn is put aside instead."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        return _retry_after(retry_state) > LONGEST_RETRY_AFTER


def _wait(state: RetryCallState) -> float:
    return max(_backoff(state), _retry_after(state))


def _retry_after(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return getattr(error, "retry_after", None) or 0.0
