"""Judges a failure that is reported by a flow of the gateway contract. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from router.llm.errors import LlmAccountRefused, LlmMisconfigured, LlmRefused
from router.n8n.flow_errors import failure_of, is_of_an_llm, kind_of
from router.state.calls.turns import Cause

FailureKind: TypeAlias = Literal[
    "llm_rate_limited",
    "llm_down",
    "llm_refused",
    "llm_empty",
    "evolution_refused",
    "evolution_away",
    "not_on_whatsapp",
    "flow_error",
    "transient",
    "permanent",
]
OF_THE_LINE: frozenset[Cause] = frozenset({"line_away", "send_failed"})
"""Causes that also prevent every other message, such as the fallback message."""
OF_THE_FLOW = frozenset({"flow_error", "transient", "permanent"})
_HAS_ANSWERED = re.compile(r"\s*(no status )?4(?!08|09|25|29)\d\d\b")
"""The error begins like this if an LLM refused this one request, and is not down."""

_CREDIT = re.compile(
    r"credit balance is too low|insufficient[_ -]?quota|exceeded your current quota", re.IGNORECASE
)
"""Words about used-up credit that only providers of LLMs use."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What `fail_turn` is told about the failure."""

    kind: Literal["transient", "permanent", "away"]
    cause: Cause
    away: Literal["llm", "evolution"] | None = None


_PLAIN: Mapping[str, Judged] = {
    "evolution_refused": Judged("permanent", "send_failed"),
    "not_on_whatsapp": Judged("permanent", "send_failed"),
    "permanent": Judged("permanent", "flow_failed"),
    # Nothing was sent, and neither the flow nor the LLM is to blame: see fail_turn.
    "evolution_away": Judged("away", "line_away", "evolution"),
    "flow_error": Judged("transient", "flow_failed"),
    "transient": Judged("transient", "flow_failed"),
    # The LLM has answered, even if the answer is empty: it is not away.
    "llm_empty": Judged("transient", "failed"),
}


def judge_failure(kind: FailureKind, error: str) -> Judged:
    """Return what `fail_turn` is told about a failure.

    A refused account or used-up credit counts as away, whatever kind the flow reports, because
    people can fix it. If the kind does not say that it is the LLM's account, the error's words
    must: tools have accounts, too.
    """
    known = failure_of(error, where=kind)
    if isinstance(known, LlmAccountRefused) and (kind not in _PLAIN or _is_an_llms(kind, error)):
        return Judged("away", known.cause, "llm")
    if (plain := _PLAIN.get(kind)) is not None:
        return plain
    if kind == "llm_refused":
        refused = isinstance(known, LlmRefused) or kind_of(None, error) == "llm_refused"
        return Judged("permanent", "model_refused" if refused else "misconfigured")
    if _HAS_ANSWERED.match(error):
        return Judged("transient", "failed")
    return Judged("away", "llm_away", "llm")


def _is_an_llms(kind: FailureKind, error: str) -> bool:
    """Whether a failure is about an account at an LLM's provider."""
    return kind in OF_THE_FLOW and (is_of_an_llm(error) or _CREDIT.search(error) is not None)


def is_of_a_key(kind: FailureKind, error: str) -> bool:
    """Whether the LLM refuses the key or the model of the flow's credential."""
    if kind != "llm_refused":
        return False
    return isinstance(failure_of(error, where=kind), LlmMisconfigured | LlmAccountRefused)
