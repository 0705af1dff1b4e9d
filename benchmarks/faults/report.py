"""The results of a run, as text and as the guide's table."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.judge import KINDS
from benchmarks.faults.play import Outcome

README = Path(__file__).parents[1] / "README.md"
_BEGIN, _END = "<!-- faults: begin -->", "<!-- faults: end -->"
_STORIES = 12


def text_of(outcome: Outcome, *, stories: int = _STORIES) -> str:
    """Return the whole report: first the offences with their stories, then the numbers."""
    return "\n".join([*_offences(outcome, stories), *_numbers(outcome)])


def write_table(outcome: Outcome, readme: Path = README) -> None:
    """Write the numbers between the markers of the guide."""
    before, _, rest = readme.read_text().partition(_BEGIN)
    _, found, after = rest.partition(_END)
    if not found:
        raise ValueError(f"{readme} has no place for the table: {_BEGIN} and {_END}")
    readme.write_text(f"{before}{_BEGIN}\n{table_of(outcome)}\n{_END}{after}")


def table_of(outcome: Outcome) -> str:
    """Return the numbers as Markdown."""
    order = outcome.order
    rows = [
        ("seed", str(order.seed)),
        ("conversations", f"{len(order.plans()):,}"),
        ("customers' messages", f"{outcome.messages:,}"),
        ("messages on the phones", f"{outcome.replies:,}"),
        (
            "acts of people (messages, pauses, resumes, erasures)",
            f"{outcome.interventions:,}",
        ),
        ("faults", f"{sum(outcome.faults.values()):,}"),
        *((f"- {kind}", f"{count:,}") for kind, count in sorted(outcome.faults.items())),
        *((f"**{kind}**", f"**{outcome.count(kind)}**") for kind in KINDS),
        ("apart: where a send took longer than the bound", str(_apart(outcome, "beyond"))),
        ("deadlocks that PostgreSQL ended", str(outcome.deadlocks)),
        *_recovery(outcome),
    ]
    lines = [
        "| what | how many |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join([*lines, "", _note(outcome)])


def _offences(outcome: Outcome, stories: int) -> Iterator[str]:
    shown: set[int] = set()
    for offence in outcome.offences:
        apart = f" (apart: {offence.apart})" if offence.apart else ""
        yield f"{offence.kind}{apart}: {outcome.order.seed}-{offence.number}: {offence.what}"
    for offence in outcome.offences:
        if offence.number not in shown and not offence.apart and len(shown) < stories:
            shown.add(offence.number)
            yield ""
            yield f"--- {outcome.order.seed}-{offence.number}: {offence.kind}: {offence.what}"
            yield outcome.stories[offence.number]
    if outcome.offences:
        yield ""


def _numbers(outcome: Outcome) -> Iterator[str]:
    order = outcome.order
    yield (
        f"seed {order.seed}: {len(order.plans())} conversations in {outcome.seconds:.0f} s, then"
        f" {outcome.healing_seconds:.0f} s until all was quiet"
        f" ({outcome.left_open[0]} turns and {outcome.left_open[1]} sends left open)"
    )
    yield f"  {outcome.messages} messages, {outcome.replies} sent, {outcome.interventions} acts"
    for kind, count in sorted(outcome.faults.items()):
        yield f"  {count:6} {kind}"
    for name, value in _recovery(outcome):
        yield f"  {name}: {value}"
    yield f"  deadlocks that PostgreSQL ended: {outcome.deadlocks}"
    yield f"  the harness itself stood still for {outcome.stalled:.1f} s in all"
    yield (
        f"  webhooks that Evolution gave up: {outcome.given_up.total()};"
        f" messages that no router was told of: {outcome.untold}"
    )
    for attempts, count in outcome.given_up.most_common(5):
        yield f"    {count} x {attempts}"
    yield ", ".join(f"{kind}: {outcome.count(kind)}" for kind in KINDS)
    if outcome.beyond:
        yield (
            f"apart: {_apart(outcome, 'beyond')} in {outcome.beyond} conversations in which a send"
            f" reached the phone more than {outcome.terms.bound:g} s"
            " (SEND_TIMEOUT + SEND_SETTLE_SECONDS) after it was asked for: by then it had been"
            " judged not sent, and nothing calls it back"
        )


def _apart(outcome: Outcome, why: str) -> int:
    return sum(offence.apart == why for offence in outcome.offences)


def _recovery(outcome: Outcome) -> Iterator[tuple[str, str]]:
    times = sorted(outcome.recoveries)
    if times:
        middle, late = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]
        yield "time to recover, p50 (s)", f"{middle:.1f}"
        yield "time to recover, p99 (s)", f"{late:.1f}"
        yield "interrupted conversations measured", str(len(times))
    yield "longest end after SIGTERM (s)", f"{outcome.longest_end:.1f}"


def _note(outcome: Outcome) -> str:
    terms = outcome.terms
    return (
        f"Scaled times: SEND_TIMEOUT {terms.send_timeout:g} s, SEND_SETTLE_SECONDS"
        f" {terms.settle:g} s, LLM_TIMEOUT {terms.llm_timeout:g} s, DEBOUNCE_SECONDS"
        f" {terms.debounce:g} s. The time to recover runs from the return of the router or of"
        " PostgreSQL to the next reply in a conversation that was being worked on."
    )
