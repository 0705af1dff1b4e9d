"""The events in the log: one line for each, all written by `log_event`.

A line is {"timestamp", "level", "message", "action", …fields, "correlation_id"}; a line of a
library has "logger" in place of "action". Lines at info level contain no message text and no phone
number. No line contains a registered secret. `contact` identifies a person: it is the beginning of
a keyed hash (`router.people.hashing`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum

bound_correlation: ContextVar[str | None] = ContextVar("correlation_id", default=None)
bound_contact: ContextVar[str | None] = ContextVar("contact", default=None)
bound_execution: ContextVar[str | None] = ContextVar("execution_id", default=None)
bound_execution_url: ContextVar[str | None] = ContextVar("execution_url", default=None)


class Action(StrEnum):
    """What happened: the `action` of a line, for filters and alerts."""

    # The way in
    WEBHOOK_RECEIVED = "webhook_received"  # committed; `decision` says what it was taken for
    WEBHOOK_IGNORED = "webhook_ignored"  # on purpose; `reason` says why
    WEBHOOK_REJECTED = "webhook_rejected"  # answered with `status`; `count`: this many like it
    # Who answers
    TAKEOVER = "takeover"  # a human of the business wrote
    PAUSED = "paused"  # the AI stops answering in a session; `source`: who paused it
    RESUMED = "resumed"  # the AI answers again; `source`: who resumed it
    AUTO_RESUMED = "auto_resumed"  # all expired pauses were ended; `resumed` counts them
    PRUNED = "pruned"  # expired data was archived or deleted; counts of each kind
    # The way out
    TURN_PENDING = "turn_pending"  # a reply will be made, in `due_in` seconds
    TURN_CLAIMED = "turn_claimed"  # an attempt begins
    TURN_CANCELLED = "turn_cancelled"  # not sent: `reason`
    TURN_RETRY = "turn_retry"  # an attempt failed and another follows
    TURN_RETRIED = "turn_retried"  # an operator gave a dead turn new attempts
    TURN_DEAD = "turn_dead"  # out of attempts, or refused for good
    FALLBACK_TOLD = "fallback_told"  # a contact who gets no answer got the fallback message
    UNANSWERED = "unanswered"  # an outage begins: customers get no answer
    LLM_REFUSED = "llm_refused"  # the LLM refuses a key of the deployment; found without a turn
    AWAY_TOLD = "away_told"  # a contact was told that the business is closed
    AI_REPLIED = "ai_replied"  # every part of the reply is sent
    AI_FAILED = "ai_failed"  # the LLM gave no reply
    EVOLUTION_SEND_FAILED = "evolution_send_failed"  # Evolution API certainly sent nothing
    SEND_IN_DOUBT = "send_in_doubt"  # the message may be on the phone; we look for evidence
    SEND_SETTLED = "send_settled"  # the doubt is over; `outcome` says how
    VOICE_FAILED = "voice_failed"  # a reply could not be read aloud, and was sent as text
    REPLY_REFUSED = "reply_refused"  # by `rule`; `outcome` says what happened then
    MEDIA_NOT_UNDERSTOOD = "media_not_understood"  # what a contact sent was not put into words; why
    FILE_NOT_KEPT = "file_not_kept"  # a contact's file is not in the store, or was not deleted; why
    MODERATION_AWAY = "moderation_away"  # the moderation service gave no usable answer
    # The connection to WhatsApp
    CONNECTION_CHANGED = "connection_changed"
    QRCODE_UPDATED = "qrcode_updated"
    GAP_REPAIRED = "gap_repaired"  # messages that no webhook brought were fetched
    GAP_REPAIR_FAILED = "gap_repair_failed"
    # Flows in n8n
    FLOW_BEGAN = "flow_began"  # the flow has the turn; it sends and closes it itself
    FLOW_FAILING = "flow_failing"  # too often in a row: turns no longer go to it
    FLOW_WORKS = "flow_works"  # turns go to it again
    # The people of the business
    HANDOFF_UNTAKEN = "handoff_untaken"  # nobody took a handoff; `did`: what was done about it
    NOTICE_TOLD = "notice_told"  # everybody who must get the notice has it
    NOTICE_FAILED = "notice_failed"  # somebody did not get it; tried again unless it is dead
    RELAYED = "relayed"  # a human's message through HybridFlow; `outcome`: how it ended
    RELAY_FAILED = "relay_failed"  # it failed; tried again unless it is over
    # The program
    STARTED = "started"
    STOPPED = "stopped"
    MIGRATED = "migrated"
    DATABASE_AWAY = "database_away"
    SCHEMA_DIFFERS = "schema_differs"  # the database has an older or newer schema
    CONNECTIONS_REFUSED = "connections_refused"  # beyond a limit; `count` since the last line
    TENANT_CREATED = "tenant_created"
    TENANT_CHANGED = "tenant_changed"
    WEBHOOK_SECRET_MADE = "webhook_secret_made"  # nosec B105  # noqa: S105 - an action
    WEBHOOK_SECRET_RETIRED = "webhook_secret_retired"  # nosec B105  # noqa: S105 - an action
    API_KEY_MADE = "api_key_made"
    API_KEY_REVOKED = "api_key_revoked"
    MEMBER_SET = "member_set"  # a user got a role in a tenant
    MEMBER_REMOVED = "member_removed"
    CONTACT_EXPORTED = "contact_exported"  # all data of one contact was exported
    CONTACT_ERASED = "contact_erased"  # all data of one contact was erased
    EXECUTIONS_KEPT = "executions_kept"  # n8n still has executions of erased contacts; why
    UNEXPECTED = "unexpected"  # an unforeseen error, with its traceback


def log_event(
    logger: logging.Logger,
    action: Action,
    message: str,
    *,
    level: int = logging.INFO,
    **fields: object,
) -> None:
    """Log one line with these fields.

    Two fields are special: `exc_info`, an exception, is logged with its traceback, and a
    `correlation_id` replaces the bound one.
    """
    if logger.isEnabledFor(level):
        error = fields.pop("exc_info", None)
        exc_info = error if isinstance(error, BaseException) else None
        extra = {"action": action, "fields": fields}
        logger.log(level, message, exc_info=exc_info, extra=extra, stacklevel=2)


@contextmanager
def bind_correlation(correlation_id: str, contact: str | None = None) -> Iterator[None]:
    """Add the correlation id to every line of this block, and of tasks begun in it.

    `contact` is the hash of the person concerned.
    """
    token, of_contact = bound_correlation.set(correlation_id), bound_contact.set(contact)
    execution, its_url = bound_execution.set(None), bound_execution_url.set(None)
    try:
        yield
    finally:
        bound_correlation.reset(token)
        bound_contact.reset(of_contact)
        bound_execution.reset(execution)
        bound_execution_url.reset(its_url)


def bind_execution(execution_id: str, url: str | None) -> None:
    """Add n8n's execution, and its link, to every later line of the block."""
    bound_execution.set(execution_id)
    bound_execution_url.set(url)
