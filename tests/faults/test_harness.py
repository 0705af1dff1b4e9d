"""The harness plays its own run: two routers under everything that goes wrong break no promise."""

import pytest

from benchmarks.faults.judge import KINDS
from benchmarks.faults.play import Order, play
from benchmarks.faults.report import text_of

_MINUTES_ON_A_BUSY_MACHINE = 15 * 60


@pytest.mark.timeout(_MINUTES_ON_A_BUSY_MACHINE)
async def test_two_minutes_of_conversations_under_faults_break_no_promise():
    outcome = await play(Order(seed=20261125, conversations=300, at_once=60, per_second=3))
    broken = {kind: outcome.count(kind) for kind in KINDS}
    assert broken == dict.fromkeys(KINDS, 0), text_of(outcome)
    assert outcome.clean, text_of(outcome)
    assert sum(outcome.faults.values()) > outcome.messages / 4
