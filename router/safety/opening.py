"""Makes the guard from the configuration."""

from collections.abc import Callable

import httpx

from router.configuration.settings import Settings
from router.safety.guard import ReplyGuard
from router.safety.moderation import Moderation, ModerationRules
from router.safety.rules import ReplyDefaults
from router.state.database import Database


def make_guard(
    settings: Settings,
    database: Database,
    http: httpx.AsyncClient,
    tenant_http: httpx.AsyncClient,
    notes: str,
    wake_notices: Callable[[], None],
) -> ReplyGuard:
    """Return the guard. `notes` are our own rules for every model, which no reply may quote."""
    rules = ModerationRules(
        url=settings.moderation_url,
        key=settings.moderation_api_key,
        timeout=settings.moderation_timeout,
        fail_open=settings.moderation_fail == "open",
    )
    defaults = ReplyDefaults(
        max_characters=settings.max_reply_characters,
        leak_characters=settings.leak_characters,
        system_prompt=settings.default_system_prompt,
        notes=notes,
    )
    moderation = Moderation(http, tenant_http, rules)
    return ReplyGuard(database, moderation, defaults, wake_notices=wake_notices)
