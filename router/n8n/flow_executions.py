"""Reads from n8n's response which execution works on a turn; stores and logs it.

A flow names the execution in its response: in the header `X-N8N-Execution` (`{{ $workflow.id }}/{{
$execution.id }}`), which any response may have, also an error; or in the body, as `execution_id`.
If the workflow's id is known, people get a link to the execution.
"""

import logging
import re
from dataclasses import dataclass

import httpx

from router.logs.events import Action, bind_execution, log_event
from router.n8n.execution_ids import is_execution_id
from router.outbound.answers import read_json
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.flows import BeginFlow, begin_flow
from router.state.calls.model import Refusal
from router.state.database import Database

_log = logging.getLogger(__name__)
EXECUTION_HEADER = "X-N8N-Execution"
WORKFLOW_ID = "^[A-Za-z0-9_-]{1,64}$"
_WORKFLOW = re.compile("[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution of n8n and its link; the link is None if the workflow is unknown."""

    execution_id: str
    url: str | None = None


def link_to(editor_url: str, workflow_id: str | None, execution_id: str) -> str | None:
    """Return the URL of an execution in n8n's editor, or None if its workflow is unknown."""
    if workflow_id is None or not editor_url or _WORKFLOW.fullmatch(workflow_id) is None:
        return None
    return f"{editor_url.rstrip('/')}/workflow/{workflow_id}/executions/{execution_id}"


def execution_in(
    answer: httpx.Response, editor_url: str, said_id: object = None
) -> Execution | None:
    """Return the execution that a response names: in its header, else `said_id` from its body."""
    workflow_id, _, execution_id = answer.headers.get(EXECUTION_HEADER, "").rpartition("/")
    if is_execution_id(execution_id):
        return Execution(execution_id, link_to(editor_url, workflow_id, execution_id))
    if is_execution_id(said_id):
        return Execution(str(said_id))
    return None


def said_in(answer: httpx.Response) -> object:
    """Return the execution's id in the body of a flow that reports that it has begun."""
    try:
        said = read_json(answer.content)
    except ValueError:
        return None
    return said.get("execution_id") if isinstance(said, dict) else None


class FlowExecutions:
    """Stores which execution has which turn."""

    def __init__(self, database: Database, editor_url: str) -> None:
        self._database = database
        self._editor_url = editor_url

    def hear(self, answer: httpx.Response, said_id: object = None) -> Execution | None:
        """Return the execution that a response names, and add it to this attempt's log lines."""
        found = execution_in(answer, self._editor_url, said_id)
        if found is not None:
            bind_execution(found.execution_id, found.url)
        elif said_id:
            _not_noted("the workflow's webhook must answer with `$execution.id`, a number")
        return found

    async def note(self, turn: ClaimedTurn, execution: Execution | None) -> None:
        """Store which execution has the turn, according to n8n's response."""
        if execution is None:
            return
        asked = BeginFlow(
            **turn.held,
            execution_id=execution.execution_id,
            execution_url=execution.url,
            by_n8n=True,
        )
        begun = await begin_flow(self._database, asked)
        if isinstance(begun, Refusal):  # the flow no longer has the turn: its crash has no effect
            _not_noted(begun.refused, turn.turn_id)


def _not_noted(why: str, turn_id: int | None = None) -> None:
    log_event(
        _log, Action.AI_FAILED, f"n8n's execution was not noted: {why}",
        level=logging.WARNING, turn_id=turn_id,
    )  # fmt: skip
