"""The ids of n8n's executions: numbers counted from one, each with exactly one spelling.

An id becomes part of a path of n8n's public API, at which something is deleted. `04711`, `4711?`
and `0x1267` differ from `4711` as texts but name the same execution; `../workflows/7` names no
execution at all. The state has the same rule (`hybridflow.is_execution_id`).
"""

import re

EXECUTION_ID = "^[1-9][0-9]{0,14}$"
"""At most fifteen digits, which JavaScript represents exactly."""

_WRITTEN = re.compile("[1-9][0-9]{0,14}")


def is_execution_id(shown: object) -> bool:
    """Whether this is the id of an execution, as a text or a number."""
    if isinstance(shown, bool) or not isinstance(shown, str | int):
        return False
    if isinstance(shown, int) and not 0 < shown < 10**15:
        return False
    return _WRITTEN.fullmatch(str(shown)) is not None
