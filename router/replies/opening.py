"""Makes the LLM providers, and the handler that uses them, from the configuration."""

from router.configuration.settings import Settings
from router.llm.anthropic import AnthropicProvider
from router.llm.openai import OpenAiProvider
from router.llm.provider import LlmProvider
from router.replies.fallback import FallbackHandler, FallbackRules
from router.replies.llm_keys import LlmKeys
from router.tenants.sealing import Vault


def open_providers(settings: Settings) -> dict[str, LlmProvider]:
    """Return the providers by name; their SDKs are not loaded yet."""
    return {
        "anthropic": AnthropicProvider(
            settings.anthropic_api_key,
            base_url=settings.anthropic_base_url,
            model=settings.anthropic_model,
            timeout=settings.llm_timeout,
        ),
        "openai": OpenAiProvider(
            settings.openai_api_key,
            base_url=settings.openai_base_url,
            model=settings.openai_model,
            timeout=settings.llm_timeout,
        ),
    }


def make_fallback(settings: Settings, providers: dict[str, LlmProvider]) -> FallbackHandler:
    """Return the handler that makes replies without n8n."""
    rules = FallbackRules(
        max_tokens=settings.llm_max_tokens,
        second_provider=settings.llm_fallback_provider,
        llm_attempts=settings.llm_attempts,
    )
    return FallbackHandler(providers, rules, LlmKeys(Vault(settings.secrets_key)))
