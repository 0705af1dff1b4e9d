"""One attempt at delivering a notice: by a flow in n8n, or by the router."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

import httpx

from router.errors import StateError
from router.logs.events import Action, log_event
from router.notices.payload import build_notice
from router.notices.wording import say
from router.outbound.bounds import NotBegunInTime
from router.outbound.client import for_tenant
from router.outbound.refused import AddressRefused
from router.sending.outbox import Outbox
from router.sending.outcomes import SendFailed, SendStopped
from router.sending.outgoing import Outgoing
from router.sending.speakers import notice
from router.state.calls.model import Refusal
from router.state.calls.notices import (
    ClaimedNotice,
    FailNotice,
    FinishNotice,
    fail_notice,
    finish_notice,
)
from router.state.database import Database

_log = logging.getLogger(__name__)
_FLOW_ATTEMPTS = 3  # after so many attempts without `done`, no flow is asked any more
_URL_TIMEOUT = 10.0
_STOOD_STILL = "the router stood still before it told anybody"


class Flows(Protocol):
    """Delivers notices by flows in n8n."""

    async def take(self, notice: ClaimedNotice, begin_by: float) -> str | None:
        """Return None if a flow has the notice (or may have it), otherwise why none has.

        No request begins after `begin_by` (monotonic). Raises NotBegunInTime.
        """


@dataclass(frozen=True, slots=True)
class NoticeServices:
    """The services of an attempt; `flows` is None if n8n is not used."""

    database: Database
    http: httpx.AsyncClient
    outbox: Outbox
    flows: Flows | None
    max_attempts: int
    retry_base: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a receiver was not told.

    `is_away`: only because Evolution or the line is away, or this router was too late.
    """

    reason: str
    is_away: bool = False


class Delivery:
    """One attempt; see `run`."""

    def __init__(self, notice: ClaimedNotice, services: NoticeServices, lease_ends: float) -> None:
        """`lease_ends` (monotonic) is when another router may claim the notice."""
        self._notice = notice
        self._services = services
        # So every webhook has answered, or will not, before anybody else claims the notice.
        self._begin_by = lease_ends - _URL_TIMEOUT
        self._sending = False
        self._stopped = False

    @property
    def tenant_id(self) -> int:
        """The notice's tenant."""
        return self._notice.tenant_id

    def stop(self) -> bool:
        """Begin nothing more. True: nothing is being sent, so the task may be cancelled."""
        was_stopped, self._stopped = self._stopped, True
        return not self._sending and not was_stopped

    async def run(self) -> None:
        """Deliver the notice, and tell the state how that ended.

        A notice whose delivery is cut off is due again when its lease ends.
        """
        try:
            await self._attempt()
        except StateError as error:
            self._log_failure(f"a notice was not recorded: {error}")
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - one notice must not end the others
            self._log_failure(f"a notice could not be told: {error!r}", error)

    async def _attempt(self) -> None:
        if self._stopped:
            await self._give_back("the router was stopped before it told anybody")
            return
        try:
            await self._run()
        except NotBegunInTime:
            self._log_failure(_STOOD_STILL)
            await self._give_back(_STOOD_STILL)

    async def _give_back(self, why: str) -> None:
        """Give the notice back, of which nobody was told, so that any router may tell it at once.

        The attempt does not count. The state refuses this if another router has the notice.
        """
        asked = FailNotice(
            **self._notice.held,
            error=why,
            away=True,
            max_attempts=self._services.max_attempts,
            base_seconds=0,
        )
        await fail_notice(self._services.database, asked)

    async def _run(self) -> None:
        notice = self._notice
        untaken = None
        if self._for_n8n() and self._services.flows is not None:
            untaken = await self._services.flows.take(notice, self._begin_by)
            if untaken is None:
                return  # the flow says when it is done
            self._log_failure(untaken)
        if notice.number or notice.url:
            await self._tell()
        elif self._services.flows is not None and not notice.told:
            await self._fail(_Failure(untaken or "no flow said that it was done"))
        else:
            await self._finish(None if notice.told else "nobody")

    def _for_n8n(self) -> bool:
        """Whether a flow gets the notice; always if there is no other way to tell anybody."""
        notice = self._notice
        return notice.attempt <= _FLOW_ATTEMPTS or not (notice.number or notice.url or notice.told)

    async def _tell(self) -> None:
        failures: list[_Failure] = []
        url_told = False
        if self._notice.url is not None:
            failure = await self._post(self._notice.url)
            url_told = failure is None
            failures += [_Failure(failure)] if failure else []
        if self._notice.number is not None:
            untold = await self._send()
            failures += [untold] if untold else []
        if failures:
            await self._fail(*failures, url_told=url_told)
        else:
            await self._finish(None, url_told=url_told)

    async def _post(self, url: str) -> str | None:
        """Return why the webhook was not told, or None. The URL is left out: it may be a secret.

        Raises NotBegunInTime.
        """
        try:
            # Only the status counts; the rest of the response is not read.
            asked = self._services.http.stream(
                "POST",
                url,
                content=build_notice(self._notice).model_dump_json(),
                headers={"Content-Type": "application/json"},
                timeout=_URL_TIMEOUT,
                follow_redirects=False,
                extensions={
                    **for_tenant(self._notice.instance_name),
                    "begin_by": self._begin_by,
                },
            )
            async with asked as answer:
                status, is_told = answer.status_code, answer.is_success
        except AddressRefused as error:
            return f"notify_url: {error}"
        except NotBegunInTime:
            raise
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"notify_url: {type(error).__name__}"
        return None if is_told else f"notify_url answered {status}"

    async def _send(self) -> _Failure | None:
        """Return why the number was not told, or None."""
        self._sending = True
        try:
            await self._services.outbox.send(
                notice(
                    self._notice.shown_token,
                    f"tenant {self.tenant_id}",
                    instance_name=self._notice.instance_name,
                ),
                Outgoing.plain(say(self._notice)),
            )
        except SendStopped as stopped:
            if stopped.reason == "no_number":
                return None
            # The fence found the lease over: that says nothing against the number.
            is_late = stopped.reason == "stale"
            return _Failure(f"notify_number: {stopped.reason}", is_away=is_late)
        except SendFailed as failed:
            return _Failure(f"notify_number: {failed}", is_away=failed.is_away)
        finally:
            self._sending = False
        return None

    async def _finish(self, reason: str | None, *, url_told: bool = False) -> None:
        asked = FinishNotice(
            **self._notice.held, handler="fallback", reason=reason, url_told=url_told
        )
        await finish_notice(self._services.database, asked)
        if reason == "nobody":
            self._log_failure("nobody can be told: the tenant has no notify_number or notify_url")
            return
        log_event(
            _log, Action.NOTICE_TOLD, f"told: {self._notice.kind}",
            notice_id=self._notice.notice_id, tenant_id=self._notice.tenant_id,
        )  # fmt: skip

    async def _fail(self, *failures: _Failure, url_told: bool = False) -> None:
        error = "; ".join(failure.reason for failure in failures)
        asked = FailNotice(
            **self._notice.held,
            error=error,
            away=all(failure.is_away for failure in failures),
            url_told=url_told,
            max_attempts=self._services.max_attempts,
            base_seconds=self._services.retry_base,
        )
        answer = await fail_notice(self._services.database, asked)
        state = answer.refused if isinstance(answer, Refusal) else answer.state
        self._log_failure(f"{error} ({state})")

    def _log_failure(self, message: str, error: Exception | None = None) -> None:
        log_event(
            _log, Action.NOTICE_FAILED, message, level=logging.WARNING, exc_info=error,
            notice_id=self._notice.notice_id, notice=self._notice.kind,
            tenant_id=self._notice.tenant_id,
        )  # fmt: skip
