"""What is known of an account at a provider, from its last paid turn or from a look. Pure.

A look asks for the provider's list of models, which costs nothing. It shows whether the key is
accepted, if the server requires a key there, and nothing about its credit. Measured or documented:
Anthropic and OpenAI answer 401 for a refused key. For an OpenAI key that may only generate answers,
the list is 401 or 403 with "Missing scopes", although the key works. Many compatible servers have
no such list (404, 405, 501, an HTML page), and some show it to everybody.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from router.llm.accounts import account_cause

Standing: TypeAlias = Literal["works", "account_empty", "account_refused", "away", "unknown"]

_MAY_ANSWER = re.compile(r"missing[ _]scopes?|insufficient permissions", re.IGNORECASE)
_NO_LIST = frozenset({501, 505})


@dataclass(frozen=True, slots=True)
class Known:
    """The state of an account. `at` is a monotonic time in seconds; `said` contains no key."""

    standing: Standing
    said: str
    at: float
    by: Literal["turn", "look"]

    @property
    def is_refused(self) -> bool:
        """Whether only the owner of the account can fix it."""
        return self.standing in ("account_empty", "account_refused")


def newest(before: Known | None, now: Known) -> Known:
    """Return what is known of an account after `now` was found out.

    A look without a result changes nothing, and a look cannot see whether there is credit again.
    """
    if before is None or now.by == "turn":
        return now
    keeps = before.by == "turn" or before.is_refused
    if keeps and now.standing == "unknown":
        return before
    if before.is_refused and now.standing == "away":
        return before
    if before.by == "turn" and (before.standing, now.standing) == ("account_empty", "works"):
        return before
    return now


def judge_list(status: int, content_type: str, said: str) -> tuple[Standing, str]:
    """Return what the response to a look shows, and the same in words.

    `said` is the provider's name of the error, and its message.
    """
    if status < 300:
        if "json" in content_type.lower():
            return "works", "the key is accepted"
        return "unknown", "the server shows no list of models"
    if status in (401, 403) and _MAY_ANSWER.search(said):
        return "unknown", "the key may not see the list of models"
    cause = account_cause(status, said)
    if status == 403 and cause == "account_refused":
        # A proxy, a blocked country, or a rule for this one path: a turn will show what it means.
        return "unknown", "the server does not show its list of models to this key"
    if cause is not None:
        return cause, f"the answer was {status}"
    if status == 429:
        return "unknown", "the server was asked too often"
    if status >= 500 and status not in _NO_LIST:
        return "away", f"the answer was {status}"
    return "unknown", "the server shows no list of models"
