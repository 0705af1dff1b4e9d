"""The ids that n8n gives its executions: numbers, counted from one, each in one spelling.

An id becomes a part of the path of n8n's public API, which deletes what is there. `04711`, `4711?`
and `0x1267` are other texts than `4711` but the same execution; `../workflows/7` is not an
execution at all. The state has the same rule (`hybridflow.is_execution_id`).
"""

import re

EXECUTION_ID = "^[1-9][0-9]{0,14}$"
"""At most fifteen digits: JavaScript is exact up to there."""

_WRITTEN = re.compile("[1-9][0-9]{0,14}")


def is_execution_id(shown: object) -> bool:
    """Whether this is the id of an execution, as a text or a number."""
    if isinstance(shown, bool) or not isinstance(shown, str | int):
        return False
    if isinstance(shown, int) and not 0 < shown < 10**15:
        return False
    return _WRITTEN.fullmatch(str(shown)) is not None
