"""Evolution's calls that send messages or show presence; only for `router.sending`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from router.evolution.errors import REPEATS, EvolutionRefused, most_values
from router.evolution.exchange import (
    LONGEST_WORD,
    Exchange,
    Instance,
    begins_by,
    object_in,
    read_answer,
    request_for,
)
from router.outbound.answers import read_beside_the_loop
from router.outbound.bounds import LONGEST_ANSWER
from router.whatsapp.clean import as_text

_LONGEST_NAME = 200  # characters of a JID or a state; longer ones are ignored
_METHOD_MISSING = "method not available"


@dataclass(frozen=True, slots=True)
class SentMessage:
    """Evolution's answer about a message that it accepted. It may have rewritten `remote_jid`."""

    wa_id: str
    remote_jid: str
    status: str | None


class EvolutionSends(Exchange):
    """Sends over a shared HTTP client, whose timeout is the limit of a send.

    Every method raises EvolutionRefused or EvolutionAway; `send` also SendInDoubt.
    """

    async def send(
        self,
        instance: Instance,
        path: str,
        body: Mapping[str, Any],
        seconds: float | None = None,
        begin_by: float | None = None,
    ) -> SentMessage:
        """Send by any path of Evolution: `message/sendText`, …; `body` has the number.

        It is a success only if the answer has the message's id (`key.id`). From 2.4 on, Evolution
        uses the `messageId` of `body`; older versions, and channels other than Baileys, make their
        own id. `seconds` limits the whole exchange, if it differs from the client's time-out. After
        `begin_by` (monotonic) nothing is sent any more: EvolutionAway.
        """
        request = self._request(instance, path, body, seconds)
        begins_by(request, begin_by)
        sent = await self._exchange(request, is_send=True)
        return await read_beside_the_loop(sent.content, partial(_sent_message, sent, body))

    async def send_presence(
        self,
        instance: Instance,
        number: str,
        *,
        presence: str = "composing",
        delay_ms: int = 1000,
        begin_by: float | None = None,
    ) -> bool:
        """Show "typing…" for this long; Evolution answers after that. False: not supported.

        After `begin_by` (monotonic) nothing is shown any more: EvolutionAway.
        """
        return await self._try(
            instance,
            "chat/sendPresence",
            {"number": number, "presence": presence, "delay": delay_ms},
            begin_by,
        )

    async def mark_read(
        self, instance: Instance, jid: str, wa_ids: Sequence[str], begin_by: float | None = None
    ) -> bool:
        """Mark messages as read. False: the channel does not support it. Evolution skips LIDs.

        After `begin_by` (monotonic) nothing is marked any more: EvolutionAway.
        """
        keys = [{"remoteJid": jid, "fromMe": False, "id": wa_id} for wa_id in wa_ids]
        body = {"readMessages": keys}
        return await self._try(instance, "chat/markMessageAsRead", body, begin_by)

    async def _try(
        self, instance: Instance, path: str, body: Mapping[str, Any], begin_by: float | None
    ) -> bool:
        try:
            await self._ask(instance, "POST", path, body, begin_by=begin_by)
        except EvolutionRefused as error:
            if _METHOD_MISSING in str(error).lower():
                return False
            raise
        return True

    def _request(
        self, instance: Instance, path: str, body: Mapping[str, Any], seconds: float | None
    ) -> httpx.Request:
        """Return a send. The response may repeat the media, of which only a little is kept."""
        request = request_for(self._http, instance, "POST", path, body)
        request.extensions["longest"] = LONGEST_WORD + REPEATS * len(request.content)
        request.extensions["kept"] = LONGEST_ANSWER
        if seconds is not None:
            times = httpx.Timeout(seconds, pool=self._http.timeout.pool)
            request.extensions["timeout"] = times.as_dict()
        return request


def _sent_message(sent: httpx.Response, body: Mapping[str, Any]) -> SentMessage:
    answer = object_in(read_answer(sent.content, most=most_values(sent), is_send=True))
    key = object_in(answer.get("key"))  # judge_answer has checked that it has an id
    return SentMessage(
        wa_id=as_text(key.get("id")),
        remote_jid=as_text(key.get("remoteJid"))[:_LONGEST_NAME] or str(body["number"]),
        status=as_text(answer.get("status"))[:_LONGEST_NAME] or None,
    )
