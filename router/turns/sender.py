"""Sends one part of a reply: fence, send, record, in that order and with nothing in between."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from router.errors import DatabaseAway
from router.evolution.client import EvolutionClient, Instance, SentMessage
from router.evolution.errors import EvolutionError, SendInDoubt
from router.logs import Action, log_event
from router.state.database import Database
from router.turns.claimed import ClaimedTurn
from router.webhook.jids import normalise_jid, number_of

_log = logging.getLogger(__name__)
_RECORD_TRIES = 5
_MAX_PAGES = 5


class SendStopped(Exception):
    """The fence refused: `reason` is 'paused', 'stale', 'superseded', …; nothing was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SendFailed(Exception):
    """Evolution certainly did not send the part; `cause` says why."""

    def __init__(self, cause: EvolutionError, message_id: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.message_id = message_id


class Sender:
    """The way out to Evolution, behind the fence. `send_timeout` in seconds."""

    def __init__(
        self,
        database: Database,
        evolution: EvolutionClient,
        instance_of: Callable[[ClaimedTurn], Instance],
        *,
        send_timeout: float,
        check_after: float,
    ) -> None:
        self._database = database
        self._evolution = evolution
        self._instance_of = instance_of
        self._lease = send_timeout + 15
        self._check_after = check_after

    async def send(
        self, turn: ClaimedTurn, part: int, body: str
    ) -> Literal["sent", "already_sent", "in_doubt"]:
        """Send one part, once. Raises SendStopped and SendFailed.

        'in_doubt': it may be on the phone; the turn has been put aside to find out.
        """
        fence = await self._database.call(
            "begin_send", {**turn.held, "part": part, "body": body, "lease_seconds": self._lease}
        )
        if "refused" in fence:
            if fence["refused"] in ("already_sent", "in_doubt"):
                return "already_sent" if fence["refused"] == "already_sent" else "in_doubt"
            raise SendStopped(fence["refused"])
        message_id: int = fence["message_id"]
        try:
            sent = await self._evolution.send_text(
                self._instance_of(turn), number_of(fence["jid"]), body
            )
        except SendInDoubt as error:
            await self._doubt(turn, message_id, error)
            return "in_doubt"
        except EvolutionError as error:
            raise SendFailed(error, message_id) from error
        await self._record(turn, message_id, sent)
        return "sent"

    async def stored_messages(
        self, turn: ClaimedTurn, since: datetime
    ) -> Sequence[Mapping[str, Any]]:
        """What Evolution has stored of this conversation since then, under every JID it may use."""
        records: list[Mapping[str, Any]] = []
        for jid in turn.session.jids:
            for page in range(1, _MAX_PAGES + 1):
                answer = await self._evolution.find_messages(
                    self._instance_of(turn), jid, page=page, since=since
                )
                records.extend(answer.records)
                if page >= answer.pages:
                    break
        return records

    async def _doubt(self, turn: ClaimedTurn, message_id: int, error: SendInDoubt) -> None:
        log_event(
            _log,
            Action.SEND_IN_DOUBT,
            f"it may be on the phone: {error}",
            level=logging.WARNING,
            turn_id=turn.turn_id,
        )
        await self._database.call(
            "doubt_send",
            {
                **turn.held,
                "message_id": message_id,
                "error": str(error),
                "check_after": self._check_after,
            },
        )

    async def _record(self, turn: ClaimedTurn, message_id: int, sent: SentMessage) -> None:
        """Write down what was sent. The message has left: only the record can still fail."""
        argument = {
            **turn.held,
            "tenant_id": turn.tenant.tenant_id,
            "message_id": message_id,
            "wa_id": sent.wa_id,
            "jid": normalise_jid(sent.remote_jid),
            "status": (sent.status or "pending").lower(),
        }
        for last_try in [False] * (_RECORD_TRIES - 1) + [True]:
            try:
                await self._database.call("finish_send", argument)
            except DatabaseAway:
                if last_try:
                    raise
                await asyncio.sleep(1)
            else:
                return
