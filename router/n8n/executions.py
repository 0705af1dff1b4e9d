"""Deletes n8n's saved executions of people who were erased, over n8n's public API.

The state keeps the list of what to delete until n8n has done it, so that nothing stays behind if
n8n is away or the router crashes. Measured on n8n 2.40: DELETE answers 200; 404 with `Not Found` if
the execution does not exist (any more); 400 while it runs; 401 for a wrong key.
"""

import logging
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from router.logs.events import Action, log_event
from router.logs.scrubber import scrubbed
from router.n8n.execution_ids import is_execution_id
from router.outbound.answers import beginning, read_json
from router.running.claims import Claimant, ClaimTerms, Look, Work
from router.state.calls.executions import (
    ClaimExecutionsToErase,
    SettleExecution,
    claim_executions_to_erase,
    settle_execution,
)
from router.state.database import Database

_log = logging.getLogger(__name__)
_PAUSE = 600.0  # seconds between two rounds, and between two requests for the same execution
_PAUSE_AFTER_FAILURE = 30.0
_BATCH = 50
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class ExecutionsApi:
    """The address of n8n's public API; `key` is None if N8N_PUBLIC_API_KEY is not set."""

    url: str
    key: SecretStr | None


class ExecutionEraser(Claimant[Work]):
    """The loop between the state and n8n."""

    def __init__(self, database: Database, http: httpx.AsyncClient, api: ExecutionsApi) -> None:
        terms = ClaimTerms(_PAUSE, _PAUSE_AFTER_FAILURE, "executions could not be erased")
        super().__init__(_BATCH, terms)
        self._database = database
        self._http = http
        self._api = api

    async def _claim(self, free: int) -> Look:
        """Ask n8n to delete a batch of executions, one after the other."""
        asked = ClaimExecutionsToErase(limit=free, retry_seconds=_PAUSE)
        claimed = await claim_executions_to_erase(self._database, asked)
        errors: set[str] = set()
        for execution_id in claimed.execution_ids:
            error = await self._delete(execution_id)
            if error is not None:
                errors.add(error)
            settled = SettleExecution(execution_id=execution_id, error=error)
            await settle_execution(self._database, settled)
        for error in errors:
            log_event(
                _log, Action.EXECUTIONS_KEPT, error, level=logging.WARNING,
                waiting=claimed.waiting,
            )  # fmt: skip
        return Look(more=len(claimed.execution_ids) == free)

    async def _delete(self, execution_id: str) -> str | None:
        """Return why the execution could not be deleted, or None if it is gone."""
        if self._api.key is None:
            return (
                "n8n keeps executions of erased people until it prunes them: make a key in n8n"
                " (Settings, n8n API; scope execution:delete) and set N8N_PUBLIC_API_KEY"
            )
        if not is_execution_id(execution_id):  # as a path it may name something else
            return (
                "an id that n8n never gives was stored as an execution's: n8n is not asked for it"
            )
        try:
            answer = await self._http.delete(
                f"{self._api.url}/executions/{execution_id}",
                headers={"X-N8N-API-KEY": self._api.key.get_secret_value()},
                timeout=_PATIENCE,
                follow_redirects=False,
            )
        except httpx.HTTPError as error:
            return f"n8n's public API cannot be reached: {type(error).__name__}"
        if answer.is_success or _knows_none(answer):
            return None
        if answer.status_code in (401, 403):
            return "n8n does not take N8N_PUBLIC_API_KEY for deleting executions: make a new key"
        if answer.status_code == 404:
            return f"n8n's public API is not at {self._api.url}: set N8N_PUBLIC_API_URL"
        return (
            f"n8n answered {answer.status_code}: {scrubbed(beginning(answer.content, 1000))[:100]}"
        )


def _knows_none(answer: httpx.Response) -> bool:
    """Whether the API has no such execution; a server without this API has another message."""
    try:
        return answer.status_code == 404 and read_json(answer.content) == {"message": "Not Found"}
    except ValueError:
        return False
