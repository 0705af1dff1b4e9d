"""The plans of the fault harness: the seed decides all of it, and everything gets its turn."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.faults.plan import Fates, Plan, Step, make_plan
from benchmarks.faults.play import Order, Outcome
from benchmarks.faults.report import table_of, write_table
from benchmarks.faults.terms import Terms


def plans(count: int = 3000, seed: int = 1) -> list[Plan]:
    return [make_plan(seed, number, tenants=24) for number in range(count)]


def test_the_seed_decides_a_plan():
    assert make_plan(1, 5, tenants=24) == make_plan(1, 5, tenants=24)
    assert plans(50, seed=1) != plans(50, seed=2)


def test_the_seed_decides_what_goes_wrong():
    plan = make_plan(1, 5, tenants=24)

    def drawn() -> list[object]:
        fates = Fates(plan)
        return [(fates.send(), fates.look(), fates.answer(), fates.webhook()) for _ in range(40)]

    assert drawn() == drawn()


def test_a_conversation_played_again_under_another_number_meets_the_same():
    one, other = Order(seed=1, conversations=9, only=5, times=2).plans()
    assert (one.number, one.phone) != (other.number, other.phone)
    assert one.steps == other.steps
    assert [Fates(one).send() for _ in range(9)] == [Fates(other).send() for _ in range(9)]


def test_every_act_happens_at_every_moment_that_people_have():
    seen: Counter[tuple[str, str]] = Counter(
        (step.moment, step.act) for plan in plans() for step in plan.steps
    )
    moments = ("then", "llm", "send", "part", "answered", "looked")
    for act in ("owner", "pauses", "client", "owner_reacts"):
        for moment in moments:
            assert seen[moment, act] > 0, (moment, act)
    for moment in ("then", "llm", "send", "part", "answered", "looked", "refused"):
        assert seen[moment, "says"] > 0, moment
    assert seen["refused", "owner_copies"] > 0


def test_every_trouble_happens():
    sends, looks, answers, webhooks = Counter(), Counter(), Counter(), Counter()
    for plan in plans():
        fates = Fates(plan)
        for _ in range(4):
            fate = fates.send()
            sends[fate.trouble] += 1
            sends[fate.telling] += 1
            sends[f"echo {fate.echo}"] += 1
            looks[fates.look()[0]] += 1
            answers[fates.answer()[0]] += 1
            webhooks[fates.webhook()[0]] += 1
    assert len(sends) == 17 + 5 + 3  # troubles but `beyond`, tellings, echoes
    assert len(looks) == 5
    assert len(answers) == 6
    assert len(webhooks) == 4


def test_a_conversation_meets_a_bounded_number_of_faults():
    for plan in plans(200):
        fates = Fates(plan)
        struck = [fates.send().trouble != "none" for _ in range(60)]
        assert not any(struck[30:])


def test_what_reaches_the_phone_beyond_the_bound_is_played_only_if_asked_for():
    terms = Terms()
    for beyond in (False, True):
        fates = [
            Fates(make_plan(1, number, tenants=24, beyond=beyond)).send() for number in range(3000)
        ]
        late = [fate for fate in fates if fate.trouble == "beyond"]
        assert bool(late) is beyond
        assert all(terms.socket_seconds(fate) > terms.bound for fate in late)
        slow = [fate for fate in fates if fate.trouble == "slow_socket"]
        assert all(terms.socket_seconds(fate) < terms.bound for fate in slow)
        assert any(terms.socket_seconds(fate) > terms.send_timeout for fate in slow)


def test_some_people_write_to_two_tenants():
    by_phone: dict[str, set[int]] = {}
    for plan in plans(200):
        by_phone.setdefault(plan.phone, set()).add(plan.tenant)
    assert any(len(tenants) == 2 for tenants in by_phone.values())


def test_one_person_in_five_is_first_known_under_one_address_and_then_under_another():
    linking = [plan for plan in plans(500) if plan.identity == "lid"]
    assert linking
    for plan in linking:
        told = [step.identity for step in plan.steps if step.act == "says"]
        assert told[0] == "lid"
        assert told[-1] == "lid_with_pn"


def test_a_step_reads_as_what_happens():
    assert str(Step("llm", "pauses", 0.5)) == "llm +0.50 s: pauses"


def test_the_table_stands_between_its_markers(tmp_path: Path):
    guide = tmp_path / "README.md"
    guide.write_text("before\n<!-- faults: begin -->\nold\n<!-- faults: end -->\nafter\n")
    outcome = Outcome(Order(seed=1, conversations=3), Terms(), messages=7)
    write_table(outcome, guide)
    written = guide.read_text()
    assert table_of(outcome) in written
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old" not in written


def test_a_guide_without_the_markers_is_left_alone(tmp_path: Path):
    guide = tmp_path / "README.md"
    guide.write_text("nothing\n")
    with pytest.raises(ValueError, match="no place for the table"):
        write_table(Outcome(Order(seed=1, conversations=3), Terms()), guide)
    assert guide.read_text() == "nothing\n"
