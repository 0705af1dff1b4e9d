"""Recognises that a provider refuses the account: the key is refused or the credit used up. Pure.

Such an error is about the account, not the question: once somebody has fixed the account, the same
question is answered. Providers have no common status for it: if the credit is used up, Anthropic
answers 400, OpenAI 429, others 402.
"""

import re
from typing import Literal, TypeAlias

AccountCause: TypeAlias = Literal["account_empty", "account_refused"]

_EMPTY = re.compile(
    r"credit balance|insufficient[_ -]?(?:quota|credits?|balance|funds)|payment required"
    r"|billing[_ ](?:hard[_ ])?limit|out of credits?|no credits? left|billing_error"
    r"|exceeded your current quota",
    re.IGNORECASE,
)
_FOR_A_WHILE = re.compile(
    r"(?:quota|limit)[^.\n]{0,80}(?:per|/) ?(?:minute|min|second|sec|hour)\b"
    r"|\b(?:requests|tokens|rpm|tpm)[ _-]?per[ _-]?(?:minute|second|hour)|per_?minute",
    re.IGNORECASE,
)
_MAY_BE_EMPTY = frozenset({400, 403, 429})


def account_cause(status: int, said: str) -> AccountCause | None:
    """Return what is wrong with the account, or None if that is unknown.

    `status` is the HTTP status, `said` all that the provider wrote about the error.
    """
    if status == 402:
        return "account_empty"
    if status in _MAY_BE_EMPTY and _EMPTY.search(said) and not _FOR_A_WHILE.search(said):
        return "account_empty"
    return "account_refused" if status in (401, 403) else None
