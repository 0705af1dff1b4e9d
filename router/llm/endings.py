"""How a model's text ended, in the words that servers of either protocol use."""

from typing import Literal, TypeAlias

Ending: TypeAlias = Literal["whole", "cut_off", "broken", "refused"]

_CUT_OFF = frozenset({
    "length",
    "max_output_tokens",
    "max_tokens",
    "model_context_window_exceeded",
    "model_length",  # Mistral
})  # fmt: skip
_BROKEN = frozenset({
    "abort",  # vLLM
    "aborted",
    "canceled",
    "cancelled",
    "error",  # OpenRouter, Mistral
    "failed",
    "insufficient_system_resource",  # DeepSeek
    "network_error",  # Zhipu
    "timeout",
})  # fmt: skip
_REFUSED = frozenset({"content_filter", "refusal", "safety", "sensitive"})


def ending_of(stop: object) -> Ending:
    """Return what a stop or finish reason means; an unknown one counts as a complete text."""
    word = stop.lower() if isinstance(stop, str) else ""
    if word in _CUT_OFF:
        return "cut_off"
    if word in _BROKEN:
        return "broken"
    return "refused" if word in _REFUSED else "whole"
