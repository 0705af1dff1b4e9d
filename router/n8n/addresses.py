"""URLs that are derived from that of n8n's webhooks (`https://n8n.example/webhook`).

Only the path is used: a host may have "webhook" in its name, too.
"""

from urllib.parse import urlsplit, urlunsplit

from router.configuration.settings import Settings


def for_editor(url: str) -> str:
    """Return where the editor listens for posts to this webhook."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.replace("/webhook", "/webhook-test", 1)))


def editor_url(settings: Settings) -> str:
    """Return where people open n8n: above its webhooks, if nothing else is set. Empty: unknown."""
    if settings.n8n_editor_url or not settings.n8n_webhook_url:
        return settings.n8n_editor_url or ""
    parts = urlsplit(settings.n8n_webhook_url)
    path = parts.path.partition("/webhook")[0]
    return urlunsplit(parts._replace(path=path, query="", fragment=""))


def public_api(webhooks_url: str) -> str:
    """Return n8n's public API, beside its webhooks."""
    parts = urlsplit(webhooks_url)
    path = parts.path.partition("/webhook")[0]
    return urlunsplit(parts._replace(path=f"{path}/api/v1", query="", fragment=""))
