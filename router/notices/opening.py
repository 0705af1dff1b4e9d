"""Makes the notifier from the configuration."""

from collections.abc import Callable

import httpx

from router.configuration.settings import Settings
from router.notices.delivery import Delivery, Flows, NoticeServices
from router.notices.notifier import NoticeLimits, Notifier
from router.notices.untaken import UntakenHandoffs
from router.sending.outbox import Outbox
from router.state.database import Database
from router.tenants.policy import policy

_PARALLEL = 10
LEASE = 60.0  # seconds that a flow, or the router itself, has to deliver a notice


def make_notifier(
    settings: Settings,
    database: Database,
    http: httpx.AsyncClient,
    outbox: Outbox,
    flows: Flows | None,
) -> Notifier:
    """Return the notifier, not running yet; `flows` is None if n8n is not used.

    A tenant's notify_url is reached with `http`.
    """
    services = NoticeServices(
        database=database,
        http=http,
        outbox=outbox,
        flows=flows,
        max_attempts=settings.turn_max_attempts,
        retry_base=settings.retry_base_seconds,
    )
    limits = NoticeLimits(
        parallel=_PARALLEL,
        lease=LEASE,
        max_attempts=settings.turn_max_attempts,
        poll=settings.poll_seconds,
    )
    return Notifier(database, limits, lambda notice, ends: Delivery(notice, services, ends))


def make_untaken(
    settings: Settings,
    database: Database,
    wake_notices: Callable[[], None],
    wake_turns: Callable[[], None],
) -> UntakenHandoffs:
    """Return the loop that follows up on handoffs that nobody takes; it is not running yet."""
    return UntakenHandoffs(
        database,
        policy(settings),
        settings.default_timezone,
        wake_notices=wake_notices,
        wake_turns=wake_turns,
    )
