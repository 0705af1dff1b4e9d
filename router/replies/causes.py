"""The cause for which a turn gets no answer, for the people who can fix it. Pure.

Who is told what of each is defined once, in `hybridflow.endings`
(database/schema/0865_endings.sql).
"""

from router.evolution.errors import EvolutionAway, EvolutionError
from router.llm.errors import LlmError
from router.sharing.places import NoPlace
from router.state.calls.turns import Cause


def cause_of(error: LlmError | EvolutionError | NoPlace, *, is_away: bool) -> Cause:
    """Return the cause of an attempt's failure, and whether the service `is_away` for all others.

    An LLM that answers others, but not this question, is not an outage.
    """
    if isinstance(error, LlmError):
        return "failed" if error.cause == "llm_away" and not is_away else error.cause
    return "line_away" if isinstance(error, EvolutionAway | NoPlace) else "send_failed"
