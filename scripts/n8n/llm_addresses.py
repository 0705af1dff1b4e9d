"""The addresses to which workflows may send LLM keys: only those that the deployment names.

A forged payload could contain any URL, and would get the key. So the URL is in the node itself. In
the files it is the provider's own; import replaces it with the deployment's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Provider:
    """An LLM's API: the variable for another base URL, its own base URL, and its path."""

    variable: str
    own_base: str
    path: str
    others: tuple[str, ...] = ()
    """Other paths of the API that a flow may call."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Return all paths of the API that flows may call."""
        return (self.path, *self.others)

    @property
    def own_url(self) -> str:
        """Return the URL that is used if the deployment names no other base."""
        return self.own_base + self.path


_SOUND = ("/audio/transcriptions", "/audio/speech")
PROVIDERS: Mapping[str, Provider] = {
    "anthropicApi": Provider("ANTHROPIC_BASE_URL", "https://api.anthropic.com", "/v1/messages"),
    "openAiApi": Provider(
        "OPENAI_BASE_URL", "https://api.openai.com/v1", "/chat/completions", _SOUND
    ),
}
"""The providers, by the type of their credential in n8n."""
BASES: Mapping[str, str] = {each.variable: each.own_base for each in PROVIDERS.values()}


def hosts_of(bases: Mapping[str, str]) -> dict[str, str]:
    """Return the hosts to which the credentials may be sent, by their names in the example file."""
    return {
        each.variable.replace("_BASE_URL", "_HOST"): urlsplit(
            bases.get(each.variable) or each.own_base
        ).hostname
        or "nowhere.invalid"
        for each in PROVIDERS.values()
    }


def with_llm_addresses(
    workflow: Mapping[str, Any], bases: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the workflow with its LLM requests changed to the `bases`, or the providers' own."""
    nodes = [_addressed(node, bases or {}) for node in workflow["nodes"]]
    return {**workflow, "nodes": nodes}


def is_told_where(node: Mapping[str, Any]) -> Provider | None:
    """Return the provider whose key the node sends to an address from an expression, if any."""
    provider = _provider(node)
    given = node.get("parameters") or {}
    options = given.get("options")
    told = (given.get("url"), options.get("baseURL") if isinstance(options, dict) else None)
    return provider if any("{{" in str(url) for url in told) else None


def _addressed(node: Mapping[str, Any], bases: Mapping[str, str]) -> dict[str, Any]:
    given, provider = node.get("parameters") or {}, _provider(node)
    url = given.get("url")
    if provider is None or not isinstance(url, str) or "{{" in url:
        return dict(node)
    path = next((path for path in provider.paths if url.endswith(path)), None)
    if path is None:
        return dict(node)
    base = (bases.get(provider.variable) or provider.own_base).rstrip("/")
    return {**node, "parameters": {**given, "url": base + path}}


def _provider(node: Mapping[str, Any]) -> Provider | None:
    """Return the provider whose key the node sends; it may name the type without a credential."""
    kinds = [*(node.get("credentials") or {})]
    kinds.append(str((node.get("parameters") or {}).get("nodeCredentialType")))
    return next((PROVIDERS[kind] for kind in kinds if kind in PROVIDERS), None)
