"""Which execution of n8n works on a turn: read from its response, stored, and logged.

A flow names it in its response's header `X-N8N-Execution` (`{{ $workflow.id }}/{{ $execution.id
}}`), which may accompany any response, including an error; or in the body, as `execution_id`. With
the workflow's id, people get a link to it.
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
    """An execution of n8n and its link; without its workflow the link is unknown."""

    execution_id: str
    url: str | None = None


def link_to(editor_url: str, workflow_id: str | None, execution_id: str) -> str | None:
    """Return where n8n's editor shows an execution; None if its workflow is unknown."""
    if workflow_id is None or not editor_url or _WORKFLOW.fullmatch(workflow_id) is None:
        return None
    return f"{editor_url.rstrip('/')}/workflow/{workflow_id}/executions/{execution_id}"


def execution_in(
    answer: httpx.Response, editor_url: str, said_id: object = None
) -> Execution | None:
    """Return the execution that a response names, its header first; `said_id` is from its body."""
    workflow_id, _, execution_id = answer.headers.get(EXECUTION_HEADER, "").rpartition("/")
    if is_execution_id(execution_id):
        return Execution(execution_id, link_to(editor_url, workflow_id, execution_id))
    if is_execution_id(said_id):
        return Execution(str(said_id))
    return None


def said_in(answer: httpx.Response) -> object:
    """Return what the body of a flow that begins says about its execution."""
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
        """Return the execution that a response names; later log lines of this attempt have it."""
        found = execution_in(answer, self._editor_url, said_id)
        if found is not None:
            bind_execution(found.execution_id, found.url)
        elif said_id:
            _not_noted("the workflow's webhook must answer with `$execution.id`, a number")
        return found

    async def note(self, turn: ClaimedTurn, execution: Execution | None) -> None:
        """Store which execution has the turn, as n8n itself has said."""
        if execution is None:
            return
        asked = BeginFlow(
            **turn.held,
            execution_id=execution.execution_id,
            execution_url=execution.url,
            by_n8n=True,
        )
        begun = await begin_flow(self._database, asked)
        if isinstance(begun, Refusal):  # it was taken back meanwhile: a crash changes nothing
            _not_noted(begun.refused, turn.turn_id)


def _not_noted(why: str, turn_id: int | None = None) -> None:
    log_event(
        _log, Action.AI_FAILED, f"n8n's execution was not noted: {why}",
        level=logging.WARNING, turn_id=turn_id,
    )  # fmt: skip
