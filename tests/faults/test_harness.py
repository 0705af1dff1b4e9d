"""The harness plays its own run: two routers under everything that goes wrong break no promise."""

import pytest

from benchmarks.faults import world
from benchmarks.faults.judge import KINDS
from benchmarks.faults.play import Order, play
from benchmarks.faults.report import text_of
from benchmarks.faults.terms import Terms
from tests.forks import ForkedRouter

_MINUTES_ON_A_BUSY_MACHINE = 30 * 60
# There a router takes most of a minute to start again. The real Evolution's first pause is 5 s.
_PATIENT = Terms(retry_seconds=1.0)


@pytest.mark.timeout(_MINUTES_ON_A_BUSY_MACHINE)
async def test_two_minutes_of_conversations_under_faults_break_no_promise(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(world, "RouterProcess", ForkedRouter)  # it starts many
    order = Order(seed=20261125, conversations=300, at_once=60, per_second=3)
    outcome = await play(order, _PATIENT)
    broken = {kind: outcome.count(kind) for kind in KINDS}
    assert broken == dict.fromkeys(KINDS, 0), text_of(outcome)
    assert outcome.clean, text_of(outcome)
    assert sum(outcome.faults.values()) > outcome.messages / 4
