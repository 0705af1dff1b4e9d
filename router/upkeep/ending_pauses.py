"""Ends the pauses that are over. Their unanswered messages become turns."""

import logging
import time
from collections import deque

from pydantic import BaseModel, Field

from router.configuration.settings import Settings
from router.errors import DatabaseAway
from router.logs.events import Action, log_event
from router.notices.opening import make_untaken
from router.state.calls import pauses
from router.state.database import Database, Json
from router.tenants.policy import policy

_PAUSES_A_CALL = 50  # pauses that are ended in one transaction, which locks their sessions
_IN_A_ROW = 3  # unanswered calls for single sessions, after which the database counts as away
_log = logging.getLogger(__name__)


class AutoResumed(BaseModel):
    """The result of one run of auto-resume."""

    resumed: int
    turns: int = Field(description="Turns created for unanswered messages")
    more: bool = Field(default=False, description="More pauses have expired: call again")


async def run_auto_resume(database: Database, settings: Settings, *, seconds: float) -> AutoResumed:
    """End expired pauses, some in each call, until `seconds` are over; log how many.

    Raises DatabaseAway; the pauses that were ended until then stay ended.
    """
    rules = policy(settings)
    # First the handoffs that nobody took: their pauses have no end until this decides.
    await make_untaken(settings, database, _nothing, _nothing).look()
    due = await pauses.pauses_over(database, pauses.PausesOver(policy=rules))
    ending = EndingPauses(database, rules)
    ends = time.monotonic() + seconds
    ids = deque(due.session_ids)
    while ids and time.monotonic() < ends:
        await ending.end([ids.popleft() for _ in range(min(_PAUSES_A_CALL, len(ids)))])
    if ending.failed:
        log_event(
            _log, Action.UNEXPECTED, "sessions could not be resumed: they stay paused",
            level=logging.ERROR, session_ids=ending.failed,
        )  # fmt: skip
    log_event(
        _log,
        Action.AUTO_RESUMED,
        f"Auto-resumed {ending.resumed} sessions",
        resumed=ending.resumed,
        turns=ending.turns,
    )
    return AutoResumed(resumed=ending.resumed, turns=ending.turns, more=bool(ids) or due.more)


def _nothing() -> None:
    """Wake nothing: the loops of notices and turns find work by themselves."""


class EndingPauses:
    """Ends pauses, several in each call; if a call gets no answer, each pause alone.

    So a session that fails, or takes too long, does not prevent the end of another pause.
    """

    def __init__(self, database: Database, policy: Json) -> None:
        self._database = database
        self._policy = policy
        self.resumed = 0
        self.turns = 0
        self.failed: list[int] = []
        self._in_a_row = 0

    async def end(self, session_ids: list[int]) -> None:
        """End these pauses. Raises DatabaseAway unless only one of them is the problem."""
        try:
            await self._call(session_ids)
        except DatabaseAway:
            for session_id in session_ids:
                await self._end_alone(session_id)

    async def _end_alone(self, session_id: int) -> None:
        try:
            await self._call([session_id])
        except DatabaseAway:
            self._in_a_row += 1
            if self._in_a_row >= _IN_A_ROW:
                raise
            self.failed.append(session_id)

    async def _call(self, session_ids: list[int]) -> None:
        asked = pauses.AutoResume(policy=self._policy, session_ids=tuple(session_ids))
        ended = await pauses.auto_resume(self._database, asked)
        self.resumed += ended.resumed
        self.turns += ended.turns
        self.failed += ended.failed
        self._in_a_row = 0
