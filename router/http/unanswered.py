"""The health check of customers who get no answer. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from router.state.calls.health import OutageCounted

_CURES: Mapping[str, str] = {
    "account_empty": "the credit of the LLM's account is used up: add some",
    "account_refused": "the LLM's provider refuses the key: set another",
    "llm_away": "the LLM does not answer",
    "n8n_away": "n8n is away, and turns wait for it",
    "misconfigured": "the LLM refuses the model, or what is asked of it, or has no key",
    "flow_failed": "flows in n8n fail: their executions say why",
    "crashed": "attempts end without a word: the log says why",
    "too_late": "turns are too old before a router comes to them: is one running, and fast enough?",
    "line_away": "Evolution, or the line to WhatsApp, is away for too long",
    "budget": "a budget of the day is used up",
}
_OF_THE_DEPLOYMENT = frozenset({"account_empty", "account_refused"})


@dataclass(frozen=True, slots=True)
class Judged:
    """A check's result. It is an error only if the whole deployment cannot do its work."""

    status: Literal["ok", "error"]
    message: str


def judge_outages(causes: Sequence[OutageCounted]) -> Judged | None:
    """Return the check's result, or None if everybody is answered.

    A tenant's own key is no error of the deployment; the deployment's key is.
    """
    if not causes:
        return None
    is_ours = any(each.deployments and each.cause in _OF_THE_DEPLOYMENT for each in causes)
    said = "; ".join(
        f"{each.cause}, {_tenants(each.tenants)}: {_CURES.get(each.cause, 'see the log')}"
        for each in causes
    )
    start = "" if is_ours else "warning: "
    return Judged("error" if is_ours else "ok", f"{start}customers get no answer ({said})")


def _tenants(count: int) -> str:
    return "1 tenant" if count == 1 else f"{count} tenants"
