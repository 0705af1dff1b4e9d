"""Sends the tenant's fallback message to a contact who gets no answer, before an attempt fails."""

import logging

from router.logs.events import Action, log_event
from router.sending.outbox import Outbox
from router.sending.outcomes import SendFailed, SendStopped
from router.sending.outgoing import Outgoing
from router.sending.speakers import Failing, fallback
from router.state.calls.model import Held
from router.tenants.instance import TenantLine

_log = logging.getLogger(__name__)


async def say_fallback(
    outbox: Outbox, held: Held, line: TenantLine, message: str, failing: Failing
) -> None:
    """Send the fallback message if the state says it is due; it does not matter if that fails."""
    about = {"tenant_id": line.stored.tenant_id, "turn_id": held["turn_id"]}
    speaker = fallback(held, line, failing)
    try:
        await outbox.send(speaker, Outgoing.plain(message))
    except SendStopped:
        return  # it was sent before, or must not be: `fail_turn` finds that out, too
    except SendFailed as failed:
        log_event(
            _log, Action.EVOLUTION_SEND_FAILED, f"the fallback message: {failed}",
            level=logging.WARNING, **about,
        )  # fmt: skip
        return
    log_event(
        _log, Action.FALLBACK_TOLD, "the contact is sent the fallback message",
        cause=failing.cause, **about,
    )  # fmt: skip
