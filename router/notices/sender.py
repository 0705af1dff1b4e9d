"""Sends a notice to the staff's WhatsApp: once, whoever asks for it and however often.

The message is recorded like any other of ours, so its echo is no takeover.
"""

import logging
from dataclasses import dataclass

from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionError, SendInDoubt
from router.logs import Action, log_event
from router.n8n.tokens import NoticeToken
from router.state.database import Database, Json
from router.tenant_instance import InstanceKeys
from router.webhook.jids import normalise_jid

_log = logging.getLogger(__name__)


class NoticeRefused(Exception):
    """The fence refused, and nothing was sent; `reason` as begin_notice_send gives it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class StaffMessage:
    """The notice's message. `wa_id` is None if its answer was lost: it counts as sent."""

    wa_id: str | None
    jid: str
    body: str


class NoticeSender:
    """The way to the staff's phone. `send_timeout` in seconds."""

    def __init__(
        self,
        database: Database,
        evolution: EvolutionClient,
        keys: InstanceKeys,
        send_timeout: float,
    ) -> None:
        self._database = database
        self._evolution = evolution
        self._keys = keys
        self._lease = send_timeout + 15

    async def send(self, token: NoticeToken, body: str, **only_if: str) -> StaffMessage:
        """Send `body`, or return what was sent before.

        `only_if` are the instance_name and the number that it must be for. Raises NoticeRefused,
        and EvolutionRefused or EvolutionAway where it certainly was not sent.
        """
        fence = await self._database.call(
            "begin_notice_send",
            {**token.held, "body": body, "lease_seconds": self._lease, **only_if},
        )
        if fence.get("refused") == "already_sent":
            return StaffMessage(fence["wa_id"], fence["jid"], fence["body"] or body)
        if "refused" in fence:
            raise NoticeRefused(fence["refused"])
        send: Json = {"notice_id": token.notice_id, "message_id": fence["message_id"]}
        number: str = fence["number"]
        try:
            sent = await self._evolution.send_text(self._keys.instance(fence), number, body)
        except SendInDoubt as error:
            log_event(
                _log, Action.SEND_IN_DOUBT, f"a notice may be on the phone: {error}",
                level=logging.WARNING, notice_id=token.notice_id,
            )  # fmt: skip
            await self._database.call("fail_notice_send", {**send, "in_doubt": True})
            return StaffMessage(None, normalise_jid(number), body)
        except EvolutionError:
            await self._database.call("fail_notice_send", {**send, "in_doubt": False})
            raise
        jid = normalise_jid(sent.remote_jid)
        status = (sent.status or "pending").lower()
        await self._database.call(
            "finish_notice_send", {**send, "wa_id": sent.wa_id, "jid": jid, "status": status}
        )
        return StaffMessage(sent.wa_id, jid, body)
