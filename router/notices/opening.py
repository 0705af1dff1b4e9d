"""Puts the notifier together from the configuration."""

import httpx
from pydantic import SecretStr

from router.configuration.settings import Settings
from router.n8n.handler import N8nHandler
from router.n8n.notice_flows import NoticeFlows, NoticeTerms
from router.notices.delivery import Delivery, NoticeDesk
from router.notices.notifier import NoticeLimits, Notifier
from router.sending.outbox import Outbox
from router.state.database import Database

_PARALLEL = 10
_LEASE = 60.0  # seconds that a flow, or the router itself, has to tell a notice


def make_notifier(
    settings: Settings,
    database: Database,
    n8n_http: httpx.AsyncClient,
    tenant_http: httpx.AsyncClient,
    outbox: Outbox,
    n8n: N8nHandler | None,
) -> Notifier:
    """Return the notifier, not running; `n8n` is None where n8n is not used.

    A tenant's notify_url is reached by `tenant_http`, n8n by `n8n_http`.
    """
    desk = NoticeDesk(
        database=database,
        http=tenant_http,
        outbox=outbox,
        flows=None if n8n is None else NoticeFlows(n8n_http, n8n, _terms(settings)),
        max_attempts=settings.turn_max_attempts,
        retry_base=settings.retry_base_seconds,
    )
    limits = NoticeLimits(
        parallel=_PARALLEL,
        lease=_LEASE,
        max_attempts=settings.turn_max_attempts,
        poll=settings.poll_seconds,
    )
    return Notifier(database, limits, lambda notice: Delivery(notice, desk))


def _terms(settings: Settings) -> NoticeTerms:
    own_url = f"http://localhost:{settings.api_port}"
    return NoticeTerms(
        webhooks_url=settings.n8n_webhook_url or "",
        api_key=settings.n8n_api_key or SecretStr(""),
        router_url=settings.n8n_router_url or settings.public_url or own_url,
        lease=_LEASE,
    )
