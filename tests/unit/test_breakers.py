"""When turns go elsewhere than to n8n: whose silence counts for whom."""

from router.n8n.breakers import Breaker, SilentFlows


def silent() -> SilentFlows:
    return SilentFlows(Breaker(pause=15))


def is_open(flows: SilentFlows, tenant_id: int) -> bool:
    own = flows.of(tenant_id)
    return flows.all.is_open or (own is not None and own.is_open)


def lapse(flows: SilentFlows, tenant_id: int, times: int = 1) -> None:
    for number in range(times):
        turn_id = 1000 * tenant_id + number
        flows.gave(turn_id, tenant_id)
        flows.lapsed(turn_id, tenant_id, now=100)


def test_one_tenants_silent_flows_take_n8n_from_nobody_else() -> None:
    flows = silent()
    lapse(flows, 1, times=2)
    assert not is_open(flows, 1)
    lapse(flows, 1, times=50)
    assert is_open(flows, 1)
    assert not is_open(flows, 2)
    assert not flows.all.is_open


def test_two_tenants_are_not_all_and_three_are_where_nobody_reports() -> None:
    flows = silent()
    lapse(flows, 1, times=9)
    lapse(flows, 2, times=9)
    assert not flows.all.is_open
    lapse(flows, 3)
    assert flows.all.is_open
    assert not flows.all.wants_probe(now=114)
    assert flows.all.wants_probe(now=115)


def test_a_report_of_whatever_flow_shows_that_n8n_runs_them() -> None:
    flows = silent()
    lapse(flows, 1, times=3)
    lapse(flows, 2)
    flows.gave(7, 4)
    flows.heard_of(7)
    lapse(flows, 3)
    assert not flows.all.is_open
    assert is_open(flows, 1)  # of its own flows nobody has heard


def test_a_report_of_the_tenants_own_flow_clears_it() -> None:
    flows = silent()
    lapse(flows, 1, times=5)
    flows.gave(7, 1)
    flows.heard_of(7)
    assert flows.of(1) is None


def test_reports_of_flows_close_no_breaker_that_n8ns_own_failures_opened() -> None:
    flows = silent()
    for _ in range(3):
        flows.all.failed(now=100)
    flows.gave(7, 1)
    flows.heard_of(7)
    flows.heard_of(999)
    assert flows.all.is_open


def test_after_a_probe_the_next_failure_is_enough() -> None:
    flows = silent()
    lapse(flows, 1, times=9)
    own = flows.of(1)
    assert own is not None
    own.seen()
    assert not is_open(flows, 1)
    lapse(flows, 1)
    assert is_open(flows, 1)


def test_of_turns_that_were_given_a_bounded_number_is_remembered() -> None:
    flows = silent()
    for turn_id in range(30_000):
        flows.gave(turn_id, 1)
    assert len(flows._given) == 10_000
    lapse(flows, 1, times=3)
    flows.heard_of(29_999)
    assert flows.of(1) is None


def test_a_flow_that_fails_counts_for_its_tenant_alone_and_shows_that_n8n_is_there() -> None:
    flows = silent()
    lapse(flows, 1)
    lapse(flows, 2)
    for tenant in (3, 4, 5):
        for _ in range(3):
            flows.failed(tenant, now=100)
        assert is_open(flows, tenant)
    lapse(flows, 6)
    assert not flows.all.is_open
    flows.gave(7, 3)
    flows.heard_of(7)
    assert flows.of(3) is None
