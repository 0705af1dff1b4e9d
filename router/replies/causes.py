"""Names the cause for which a turn gets no answer, for the people who can fix it. Pure.

What is told to whom for each cause is defined once, in `hybridflow.endings`
(database/schema/0865_endings.sql).
"""

from router.evolution.errors import EvolutionAway, EvolutionError
from router.llm.errors import LlmError
from router.sharing.places import NoPlace
from router.state.calls.turns import Cause


def cause_of(error: LlmError | EvolutionError | NoPlace, *, is_away: bool) -> Cause:
    """Return the cause of an attempt's failure. `is_away`: the service fails for all turns.

    An LLM that answers other turns, but not this question, is not an outage.
    """
    if isinstance(error, LlmError):
        return "failed" if error.cause == "llm_away" and not is_away else error.cause
    return "line_away" if isinstance(error, EvolutionAway | NoPlace) else "send_failed"
