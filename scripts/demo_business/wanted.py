"""Whether a demo business may be played here, and the router's variables for it."""

import sys
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

from router.configuration.addresses import Allowed, fault_of
from router.configuration.settings import Settings

_LOOPBACK = "http://127.0.0.1:1"
_ANY_KEY = "sk-ant-demo-needs-none"


def reason_against(settings: Settings, *, with_n8n: bool) -> str | None:
    """Return why no demo is played, whatever tenants there are; None: one may be."""
    if not settings.demo:
        return "DEMO=0"
    if settings.database_url is not None or settings.supabase_url is not None:
        return "the database is not the embedded one"
    if fault_of(_LOOPBACK, Allowed.of(settings.own_networks)) is not None:
        return "ALLOWED_NETWORKS does not have 127.0.0.0/8"
    if settings.public_url is not None and not is_of_this_machine(settings.public_url):
        return "PUBLIC_URL makes this router public: strangers must not play with the demo"
    if settings.webhook_networks:
        return "WEBHOOK_NETWORKS is set"
    if (
        settings.n8n_enabled
        and not has_llm_key(settings)
        and not (with_n8n and is_n8n_beside(settings))
    ):
        return "your own n8n must not learn the simulated LLM's address: set an LLM key"
    if not has_llm_key(settings) and _has_fallback_key(settings):
        return "LLM_FALLBACK_PROVIDER has a key and would be used: set one for LLM_PROVIDER, too"
    if sys.platform == "win32":
        return "this system cannot pass a socket on to another process"
    return None


def is_n8n_beside(settings: Settings) -> bool:
    """Whether turns go to the n8n that `make run N8N=1` starts, and not to another one."""
    url = settings.n8n_webhook_url
    return url is None or (is_of_this_machine(url) and urlsplit(url).port == settings.n8n_port)


def has_llm_key(settings: Settings) -> bool:
    """Whether there is a key for a real model."""
    return _keys(settings)[settings.llm_provider] is not None


def is_of_this_machine(url: str) -> bool:
    """Whether a URL leads to loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_fallback_key(settings: Settings) -> bool:
    provider = settings.llm_fallback_provider
    return provider is not None and _keys(settings)[provider] is not None


def _keys(settings: Settings) -> Mapping[str, SecretStr | None]:
    return {"anthropic": settings.anthropic_api_key, "openai": settings.openai_api_key}


def played_llm(url: str) -> dict[str, str]:
    """Return the variables that make the router use the simulated LLM."""
    return {
        "LLM_PROVIDER": "anthropic",
        "ANTHROPIC_API_KEY": _ANY_KEY,
        "ANTHROPIC_BASE_URL": url,
    }
