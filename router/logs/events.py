"""What happened: one line an event, and `log_event` is the one way.

A line is {"timestamp", "level", "message", "action", …fields, "correlation_id"}; one that a library
wrote has its "logger" in place of the action. No message text and no phone number stands in a line
at info level, and a registered secret in none. `contact` stands for a person: the beginning of a
keyed hash (`router.people.hashing`).
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
    """What happened: the `action` of a line, to filter and to alert by."""

    # The way in
    WEBHOOK_RECEIVED = "webhook_received"  # committed; `decision` says as what
    WEBHOOK_IGNORED = "webhook_ignored"  # deliberately; `reason` says why
    WEBHOOK_REJECTED = "webhook_rejected"  # answered with `status`; of many alike, `count`
    # Who answers
    TAKEOVER = "takeover"  # a human of the business wrote
    PAUSED = "paused"  # the AI is silent for a session; `source` says who wanted it
    RESUMED = "resumed"  # the AI answers again; `source` says who wanted it
    AUTO_RESUMED = "auto_resumed"  # every pause that had run out was ended; `resumed` counts them
    PRUNED = "pruned"  # what is past its time was archived or deleted; counts of each kind
    # The way out
    TURN_PENDING = "turn_pending"  # a reply is to be made at `due_in` seconds
    TURN_CLAIMED = "turn_claimed"  # an attempt begins
    TURN_CANCELLED = "turn_cancelled"  # not sent: `reason`
    TURN_RETRY = "turn_retry"  # an attempt failed and another follows
    TURN_RETRIED = "turn_retried"  # an operator gave a dead turn new attempts
    TURN_DEAD = "turn_dead"  # out of attempts, or it can never work
    FALLBACK_TOLD = "fallback_told"  # a contact who gets no answer was told so
    UNANSWERED = "unanswered"  # an outage begins: customers get no answer
    LLM_REFUSED = "llm_refused"  # a key of the deployment is not taken; found without a turn
    AWAY_TOLD = "away_told"  # a contact was told that the business is closed
    AI_REPLIED = "ai_replied"  # every part of the reply is sent
    AI_FAILED = "ai_failed"  # the LLM gave no reply
    EVOLUTION_SEND_FAILED = "evolution_send_failed"  # Evolution API certainly sent nothing
    SEND_IN_DOUBT = "send_in_doubt"  # it may be on the phone; evidence is being looked for
    SEND_SETTLED = "send_settled"  # the doubt is over; `outcome` says how
    VOICE_FAILED = "voice_failed"  # a reply was to be said by voice, and is said in writing
    REPLY_REFUSED = "reply_refused"  # by `rule`; `outcome` says what became of it
    MEDIA_NOT_UNDERSTOOD = "media_not_understood"  # what a contact sent is not in words; why
    FILE_NOT_KEPT = "file_not_kept"  # what a contact sent is not in its store, or still is; why
    MODERATION_AWAY = "moderation_away"  # the moderation service gave no usable answer
    # The connection to WhatsApp
    CONNECTION_CHANGED = "connection_changed"
    QRCODE_UPDATED = "qrcode_updated"
    GAP_REPAIRED = "gap_repaired"  # what no webhook brought was fetched
    GAP_REPAIR_FAILED = "gap_repair_failed"
    # Flows in n8n
    FLOW_BEGAN = "flow_began"  # it has the turn, sends and closes it by itself
    FLOW_FAILING = "flow_failing"  # so often in a row that turns do not go to it any more
    FLOW_WORKS = "flow_works"  # again: turns go to it
    # The people of the business
    HANDOFF_UNTAKEN = "handoff_untaken"  # what was done about one that nobody took: `did`
    NOTICE_TOLD = "notice_told"  # of a handoff or the connection, to everybody who is to be told
    NOTICE_FAILED = "notice_failed"  # somebody was not told; it is tried again unless it is dead
    RELAYED = "relayed"  # what a human said through HybridFlow; `outcome` says what became of it
    RELAY_FAILED = "relay_failed"  # it was not carried out; it is tried again unless it is over
    # The program
    STARTED = "started"
    STOPPED = "stopped"
    MIGRATED = "migrated"
    DATABASE_AWAY = "database_away"
    SCHEMA_DIFFERS = "schema_differs"  # the database has an older or newer schema
    CONNECTIONS_REFUSED = "connections_refused"  # beyond a bound; `count` since the last line
    TENANT_CREATED = "tenant_created"
    TENANT_CHANGED = "tenant_changed"
    WEBHOOK_SECRET_MADE = "webhook_secret_made"  # nosec B105  # noqa: S105 - an action
    WEBHOOK_SECRET_RETIRED = "webhook_secret_retired"  # nosec B105  # noqa: S105 - an action
    API_KEY_MADE = "api_key_made"
    API_KEY_REVOKED = "api_key_revoked"
    MEMBER_SET = "member_set"  # a user has a role in a tenant from now on
    MEMBER_REMOVED = "member_removed"
    CONTACT_EXPORTED = "contact_exported"  # somebody's data was given out, all of it
    CONTACT_ERASED = "contact_erased"  # somebody's data was erased, all of it
    EXECUTIONS_KEPT = "executions_kept"  # n8n still has executions of erased people; why
    UNEXPECTED = "unexpected"  # an error that nobody foresaw, with its traceback


def log_event(
    logger: logging.Logger,
    action: Action,
    message: str,
    *,
    level: int = logging.INFO,
    **fields: object,
) -> None:
    """Log one line with these fields.

    Two fields are special: `exc_info`, an exception, is written with its traceback, and a
    `correlation_id` counts before the bound one.
    """
    if logger.isEnabledFor(level):
        error = fields.pop("exc_info", None)
        exc_info = error if isinstance(error, BaseException) else None
        extra = {"action": action, "fields": fields}
        logger.log(level, message, exc_info=exc_info, extra=extra, stacklevel=2)


@contextmanager
def bind_correlation(correlation_id: str, contact: str | None = None) -> Iterator[None]:
    """Give every line of this block, and of tasks begun in it, the correlation id.

    `contact` is what stands for the person that it is about.
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
    """Give every later line of the block the execution of n8n that worked on it, and its link."""
    bound_execution.set(execution_id)
    bound_execution_url.set(url)
