"""What a flow reports of its failure is judged as the Python handler judges its own."""

from typing import get_args

import pytest

from router.llm.accounts import account_cause
from router.n8n.failures_told import FailureKind, Judged, judge_failure
from router.n8n.notice_flows import _WEBHOOKS
from router.state.calls.notices import NoticeKind

CREDIT = "Your credit balance is too low to access the Anthropic API."


@pytest.mark.parametrize(
    ("kind", "error", "judged"),
    [
        ("llm_refused", "401 invalid x-api-key", Judged("away", "account_refused", "llm")),
        ("llm_refused", f"400 {CREDIT}", Judged("away", "account_empty", "llm")),
        ("llm_rate_limited", "429 insufficient_quota", Judged("away", "account_empty", "llm")),
        ("llm_refused", "404 model: claude-nobody", Judged("permanent", "misconfigured")),
        ("llm_refused", "400 stopped by the content filter", Judged("permanent", "model_refused")),
        ("llm_down", "529 overloaded", Judged("away", "llm_away", "llm")),
        ("llm_rate_limited", "429 slow down", Judged("away", "llm_away", "llm")),
        ("llm_empty", "400 nothing was said", Judged("transient", "failed")),
        ("flow_error", "no such order", Judged("transient", "flow_failed")),
        ("flow_error", f"400 · Bad request · {CREDIT}", Judged("away", "account_empty", "llm")),
        (
            "transient",
            "429 · You exceeded your current quota, please check your plan and billing details",
            Judged("away", "account_empty", "llm"),
        ),
        # As n8n words it itself.
        (
            "flow_error",
            "429 · Insufficient quota detected.",
            Judged("away", "account_empty", "llm"),
        ),
        ("permanent", "401 invalid x-api-key", Judged("away", "account_refused", "llm")),
        ("flow_error", "401 Unauthorized by the calendar", Judged("transient", "flow_failed")),
        ("flow_error", "402 the courier wants to be paid", Judged("transient", "flow_failed")),
        ("evolution_refused", f"{CREDIT}", Judged("permanent", "send_failed")),
        ("evolution_away", "socket hang up", Judged("away", "line_away", "evolution")),
        ("not_on_whatsapp", "no", Judged("permanent", "send_failed")),
    ],
)
def test_each_failure_has_its_cause(kind: FailureKind, error: str, judged: Judged):
    assert judge_failure(kind, error) == judged


def test_every_kind_is_judged():
    for kind in get_args(FailureKind):
        assert judge_failure(kind, "").cause


@pytest.mark.parametrize(
    ("status", "said", "cause"),
    [
        (400, CREDIT, "account_empty"),
        (400, "prompt is too long", None),
        (401, "invalid x-api-key", "account_refused"),
        (402, "", "account_empty"),
        (403, "permission_error", "account_refused"),
        (429, "insufficient_quota You exceeded your current quota", "account_empty"),
        (429, "You exceeded your current quota: requests per minute", None),
        (429, "Rate limit reached for requests", None),
        (500, "insufficient_quota", None),
    ],
)
def test_an_account_is_known_by_its_status_and_its_words(status: int, said: str, cause: str | None):
    assert account_cause(status, said) == cause


def test_every_notice_has_its_flow():
    assert _WEBHOOKS.keys() == set(get_args(NoticeKind))
