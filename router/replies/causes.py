"""For what cause a turn gets no answer, as it is told to those who can cure it. Pure.

Who is told what of each stands once, in `hybridflow.endings` (database/schema/0865_endings.sql).
"""

from router.evolution.errors import EvolutionAway, EvolutionError
from router.llm.errors import LlmError
from router.sharing.places import NoPlace
from router.state.calls.turns import Cause


def cause_of(error: LlmError | EvolutionError | NoPlace, *, is_away: bool) -> Cause:
    """Return the cause of an attempt's failure; whether what is asked `is_away` for all others.

    An LLM that answers others and not this question is no outage.
    """
    if isinstance(error, LlmError):
        return "failed" if error.cause == "llm_away" and not is_away else error.cause
    return "line_away" if isinstance(error, EvolutionAway | NoPlace) else "send_failed"
