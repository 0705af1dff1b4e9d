"""Derives n8n's other URLs from the URL of its webhooks (`https://n8n.example/webhook`).

Only the path is searched for "webhook", because a host's name may contain it, too.
"""

from urllib.parse import urlsplit, urlunsplit

from router.configuration.settings import Settings

TURN_WEBHOOK = "hybridflow-turn"
"""The path of the webhook for turns of tenants without a flow of their own."""


def for_editor(url: str) -> str:
    """Return the test URL of this webhook, at which n8n's editor listens."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.replace("/webhook", "/webhook-test", 1)))


def editor_url(settings: Settings) -> str:
    """Return the URL at which people open n8n, or an empty text if it is unknown.

    If it is not set, it is derived from the URL of the webhooks.
    """
    if settings.n8n_editor_url or not settings.n8n_webhook_url:
        return settings.n8n_editor_url or ""
    parts = urlsplit(settings.n8n_webhook_url)
    path = parts.path.partition("/webhook")[0]
    return urlunsplit(parts._replace(path=path, query="", fragment=""))


def public_api(webhooks_url: str) -> str:
    """Return the URL of n8n's public API, which is beside its webhooks."""
    parts = urlsplit(webhooks_url)
    path = parts.path.partition("/webhook")[0]
    return urlunsplit(parts._replace(path=f"{path}/api/v1", query="", fragment=""))
