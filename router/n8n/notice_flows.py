"""Gives notices to n8n: the workflows `hybridflow-handoff` and `hybridflow-connection`."""

import logging
from dataclasses import dataclass
from time import monotonic

import httpx
from pydantic import SecretStr

from router.logs.events import Action, log_event
from router.n8n.flows import headers_with
from router.n8n.handler import N8nHandler
from router.n8n.proxies import told_in
from router.notices.payload import build_payload
from router.outbound.bounds import NotBegunInTime, NotHeardInTime
from router.state.calls.notices import ClaimedNotice, NoticeKind

_log = logging.getLogger(__name__)
_WEBHOOKS: dict[NoticeKind, str] = {
    "handoff": "hybridflow-handoff",
    "connection_lost": "hybridflow-connection",
    "qr_waiting": "hybridflow-connection",
    "undelivered": "hybridflow-connection",
    "flow_failing": "hybridflow-connection",
    "unanswered": "hybridflow-connection",
    "answered_again": "hybridflow-connection",
}


@dataclass(frozen=True, slots=True)
class NoticeTerms:
    """n8n's webhooks and key, the router's URL for n8n, and the seconds until a notice's retry."""

    webhooks_url: str
    api_key: SecretStr
    router_url: str
    lease: float


class NoticeFlows:
    """Posts notices to n8n. The turns' handler knows whether n8n is there."""

    def __init__(self, http: httpx.AsyncClient, n8n: N8nHandler, terms: NoticeTerms) -> None:
        self._http = http
        self._n8n = n8n
        self._terms = terms

    async def take(self, notice: ClaimedNotice, begin_by: float) -> str | None:
        """Give n8n the notice. Return None if a flow has it (or may have it), otherwise why not.

        No request begins after `begin_by` (monotonic). Raises NotBegunInTime.
        """
        if not await self._n8n.is_available():
            return "n8n is away"
        payload = build_payload(notice, self._terms.router_url, self._terms.lease)
        breaker = self._n8n.breaker
        try:
            answer = await self._http.post(
                f"{self._terms.webhooks_url}/{_WEBHOOKS[notice.kind]}",
                content=payload.model_dump_json(),
                headers=headers_with(self._terms.api_key),
                timeout=10,
                extensions={"begin_by": begin_by},
            )
        except NotBegunInTime:
            raise  # this router stood still: that says nothing about n8n
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            breaker.failed(monotonic())
            return f"n8n cannot be reached: {error}"
        except httpx.HTTPError as error:
            # A flow may have begun: only the end of the lease will show.
            if not isinstance(error, NotHeardInTime):  # that says nothing about n8n
                breaker.failed(monotonic())
            log_event(
                _log, Action.NOTICE_FAILED, f"n8n did not answer: {error!r}",
                level=logging.WARNING, notice_id=notice.notice_id,
            )  # fmt: skip
            return None
        # If only this workflow is missing or broken, turns still go to n8n: no breaker changes.
        if answer.is_success:
            return None
        return f"n8n answered {answer.status_code}: {told_in(answer.content)}"
