"""When turns go elsewhere than to n8n: whose silence and whose failures count for whom."""

import pytest

from router.n8n.breakers import Breaker, FlowBreakers

OURS = "hybridflow-turn"


def breakers(limit: int = 5) -> FlowBreakers:
    return FlowBreakers(Breaker(pause=15), limit)


def is_open(flows: FlowBreakers, tenant_id: int, flow: str = OURS) -> bool:
    return flows.all.is_open or flows.is_open(tenant_id, flow)


def lapse(flows: FlowBreakers, tenant_id: int, times: int = 1) -> None:
    for number in range(times):
        turn_id = 1000 * tenant_id + number
        flows.gave(turn_id, tenant_id, OURS)
        flows.lapsed(turn_id, tenant_id, OURS, now=100)


def fail(flows: FlowBreakers, tenant_id: int, times: int = 5, flow: str = OURS) -> None:
    for _ in range(times):
        flows.failed(tenant_id, flow, now=100)


def test_one_tenants_silent_flows_take_n8n_from_nobody_else() -> None:
    flows = breakers()
    lapse(flows, 1, times=4)
    assert not is_open(flows, 1)
    lapse(flows, 1, times=50)
    assert is_open(flows, 1)
    assert not is_open(flows, 2)
    assert not flows.all.is_open


def test_two_tenants_are_not_all_and_three_are_where_nobody_reports() -> None:
    flows = breakers()
    lapse(flows, 1, times=9)
    lapse(flows, 2, times=9)
    assert not flows.all.is_open
    lapse(flows, 3)
    assert flows.all.is_open
    assert not flows.all.wants_probe(now=114)
    assert flows.all.wants_probe(now=115)


def test_a_report_of_whatever_flow_shows_that_n8n_runs_them() -> None:
    flows = breakers()
    lapse(flows, 1, times=5)
    lapse(flows, 2)
    flows.heard_of()
    lapse(flows, 3)
    assert not flows.all.is_open
    assert is_open(flows, 1)  # of its own flows nobody has heard that they work


def test_a_turn_that_the_flow_has_answered_clears_it() -> None:
    flows = breakers()
    lapse(flows, 1, times=9)
    flows.worked(1, OURS)
    assert not is_open(flows, 1)
    fail(flows, 1, times=4)
    assert not is_open(flows, 1)


def test_reports_of_flows_close_no_breaker_that_n8ns_own_failures_opened() -> None:
    flows = breakers()
    for _ in range(3):
        flows.all.failed(now=100)
    flows.heard_of()
    flows.worked(1, OURS)
    assert flows.all.is_open


def test_while_it_is_open_one_turn_in_each_pause_tries_the_flow() -> None:
    flows = breakers()
    fail(flows, 1)
    assert not flows.takes(1, OURS, now=114)
    assert flows.takes(1, OURS, now=115)
    assert not flows.takes(1, OURS, now=115)  # nobody knows yet how that ends
    flows.failed(1, OURS, now=116)
    assert not flows.takes(1, OURS, now=130)
    assert flows.takes(1, OURS, now=131)
    flows.worked(1, OURS)
    assert all(flows.takes(1, OURS, now=131) for _ in range(9))


def test_a_try_that_nobody_hears_of_again_is_followed_by_another() -> None:
    flows = breakers()
    fail(flows, 1)
    assert flows.takes(1, OURS, now=115)
    assert not flows.takes(1, OURS, now=129)
    assert flows.takes(1, OURS, now=130)


@pytest.mark.parametrize("limit", [1, 2, 5, 30])
def test_it_opens_after_as_many_failures_in_a_row_as_are_set(limit: int) -> None:
    flows = breakers(limit)
    for _ in range(3):
        fail(flows, 1, times=limit - 1)
        assert not is_open(flows, 1)
        flows.worked(1, OURS)
    fail(flows, 1, times=limit)
    assert is_open(flows, 1)


def test_another_flow_of_the_same_tenant_begins_anew() -> None:
    flows = breakers()
    fail(flows, 1, times=9)
    assert flows.takes(1, "bakery", now=100)
    fail(flows, 1, times=4, flow="bakery")
    assert not is_open(flows, 1, "bakery")
    assert flows.takes(1, OURS, now=100)  # what it had before, and has again


def test_a_flow_of_ones_own_takes_the_common_one_from_nobody() -> None:
    flows = breakers()
    for tenant in range(1, 9):
        fail(flows, tenant, times=9, flow=f"own-{tenant}")
    assert flows.takes(9, OURS, now=100)
    assert flows.failing() == {f"own-{tenant}": 1 for tenant in range(1, 9)}


def test_a_flow_that_fails_for_three_tenants_fails_for_all_who_share_it() -> None:
    flows = breakers()
    fail(flows, 1, times=9)
    fail(flows, 2, times=9)
    assert flows.takes(9, OURS, now=100)
    fail(flows, 3, times=4)
    assert flows.takes(9, OURS, now=100)
    fail(flows, 3, times=1)
    assert not flows.takes(9, OURS, now=114)
    assert flows.takes(10, "another", now=114)
    assert flows.failing() == {OURS: 3}
    assert flows.takes(9, OURS, now=115)
    assert not flows.takes(8, OURS, now=115)
    flows.worked(9, OURS)
    assert flows.takes(8, OURS, now=115)
    assert is_open(flows, 1)  # it has not worked for that one


def test_three_tenants_that_fail_take_it_from_nobody_while_it_works_for_others() -> None:
    flows = breakers()
    for tenant in range(1, 30):
        fail(flows, tenant)
        flows.worked(99, OURS)
    assert flows.takes(50, OURS, now=100)


def test_a_flow_that_fails_shows_that_n8n_is_there() -> None:
    flows = breakers()
    lapse(flows, 1)
    lapse(flows, 2)
    fail(flows, 3)
    lapse(flows, 6)
    assert not flows.all.is_open


def test_of_turns_that_were_given_a_bounded_number_is_remembered() -> None:
    flows = breakers()
    for turn_id in range(30_000):
        flows.gave(turn_id, 1, OURS)
    assert len(flows._given) == 10_000
    assert flows.given(29_999) == (1, OURS)
    assert flows.given(1) is None
