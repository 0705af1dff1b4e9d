"""Every benchmark, small: it runs to its end, prints its table, and its counts add up.

Never how fast anything is. A benchmark that refuses or loses something ends with words. They and
what they start of ours are forks of a process that has loaded the libraries, except in one test.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import takewhile
from pathlib import Path

import pytest

from benchmarks.http_load import Load
from benchmarks.n8n import Killer, Outcome, complaints
from scripts.n8n.server import N8nDidNotStart
from tests.forks import forks
from tests.real_postgrest import find_program
from tests.routers import ROOT

# One starts up to a dozen servers, as many as a minute of CPU, beside the other rows of tests.
SECONDS = 800
pytestmark = pytest.mark.timeout(SECONDS + 20)

# What others are built of.
PARTS = {
    *("__init__", "alone", "attacks", "backlog", "bare", "costs", "customers", "filling"),
    *("hot_paths", "http_load", "instant", "n8n_stage", "outage", "queue_mode", "rest", "serving"),
}
PROGRAMS = {
    "faults",
    "front",
    "growth",
    "hostile",
    "ingest",
    "media",
    "n8n",
    "reply",
    "size",
    "stream",
}


def run(name: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_by(forks().python, name, *options, **environment)


def run_by(
    python: Path, name: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = ("PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME")
    command = [str(python), "-m", f"benchmarks.{name}", *options]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={name: os.environ[name] for name in kept if name in os.environ} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as benchmark:
        try:
            said, complained = benchmark.communicate(timeout=SECONDS)
        except BaseException:  # out of time, here or as the test's own limit: its servers end, too
            os.killpg(benchmark.pid, signal.SIGTERM)
            raise
    return subprocess.CompletedProcess(command, benchmark.returncode, said, complained)


def table(done: subprocess.CompletedProcess[str], first: str) -> list[list[str]]:
    """The rows of the table that begins with a line that has `first` in it."""
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    (head,) = (number for number, line in enumerate(lines) if first in line.split())
    rows = takewhile(bool, lines[head + 1 :])
    return [line.split() for line in rows]


def markdown(done: subprocess.CompletedProcess[str], first: str) -> list[dict[str, str]]:
    """The rows of the Markdown table that begins with the column `first`, by column."""
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    names, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines[head:])
    whole = takewhile(lambda row: len(row) == len(names), rows)
    return [dict(zip(names, row, strict=True)) for row in whole]


def test_ingest_takes_and_records_all_of_its_load():
    # The machine's own limits must not come in.
    done = run(
        *("ingest", "--seconds", "1", "--requests", "120", "--connections", "1", "8"),
        TENANT_WEBHOOKS_PER_MINUTE="50",
        CONTACT_MESSAGES_PER_MINUTE="1",
    )
    rows = table(done, "x_pgbench")
    ways = ["router", "two-routers", *(["PostgREST"] if find_program() else [])]
    taken = [row for row in rows if row[1] not in ("bare", "pgbench")]
    assert [row[:4] for row in taken] == [
        [connections, way, sent, sent]
        for connections, sent in (("1", "20"), ("8", "120"))
        for way in ways
    ]
    assert all(float(cell) >= 0 for row in taken for cell in row[4:])
    assert all(float(row[4]) > 0 for row in rows)
    assert "p99" in done.stdout


def test_front_has_the_same_load_taken_in_three_ways():
    rows = table(run("front", "--requests", "40", "--rounds", "1", "--connections", "4"), "taken")
    assert [row[:3] for row in rows] == [[way, "40", "40"] for way in ("plain", "router", "h11")]


def test_reply_answers_every_message_once_whatever_the_number_of_routers():
    sizes = ("--alone", "5", "--messages", "20", "--at-once", "1", "4")
    rows = table(run("reply", *sizes, "--routers", "1", "2", "--seconds", "1"), "answered")
    assert [row[:4] for row in rows] == [
        ["1", "1", "5", "5"],
        ["1", "4", "20", "20"],
        ["2", "1", "5", "5"],
        ["2", "4", "20", "20"],
    ]
    assert all(float(cell) > 0 for row in rows for cell in row)


def test_growth_claims_for_the_quiet_tenant_in_the_first_rounds():
    sizes = ("--tenants", "3", "50", "--pending", "100")
    rows = markdown(run("growth", "--parts", "claims", *sizes), "tenants")
    told = [(row["tenants"], row["statistics"], row["claims"]) for row in rows]
    assert told == [(n, known, "5") for known in ("fresh", "stale") for n in ("3", "50")]
    # 20 places in a claim: the last of 50 tenants is served in the third.
    assert [int(row["quiet one in claim"]) <= 3 for row in rows] == [True] * 4


def test_growth_answers_a_quiet_tenant_within_a_round_of_a_busy_router():
    sizes = ("--tenants", "3", "--pending", "120", "--seconds", "1", "--routers", "1")
    (row,) = markdown(run("growth", "--parts", "routers", *sizes), "tenants")
    assert row["answered"] == row["quiet asked"] != "0"
    # One turn of each tenant, and what the router has claimed or is just claiming.
    assert int(row["others first"]) <= 3 + 2 * 20


@pytest.mark.parametrize("away", ["llm", "evolution"])
def test_growth_answers_after_an_outage_what_is_not_too_old(away: str):
    sizes = ("--minutes", "70", "--each-step", "1", "--away", away)
    (row,) = markdown(run("growth", "--parts", "outages", *sizes), "away")
    assert (row["messages"], row["answered"], row["twice"]) == ("14", "12", "0")
    assert row["left"] == "2 too_old"


def test_stream_shows_every_change_to_all_who_follow():
    sizes = ("--followers", "12", "--rate", "10", "--seconds", "2")
    done = run_by(Path(sys.executable), "stream", *sizes)  # as people run it
    ((followers, changes, seen, *rest),) = table(done, "p99_ms")
    assert (followers, changes, seen) == ("12", "20", str(12 * 20))
    assert all(float(cell.rstrip("%")) >= 0 for cell in rest)


def test_media_answers_texts_and_hears_every_note():
    done = run("media", "--notes", "4", "--texts", "8", "--hearing", "0.1")
    rows = table(done, "x_alone")
    assert [row[0] for row in rows] == ["alone", "with-notes"]
    assert all(row[1] == row[2] and int(row[1]) >= 8 for row in rows)
    assert "4 notes at once: 4 heard, 4 answered" in done.stdout


def test_size_walks_every_path_on_both_databases():
    sizes = ("--sessions", "600", "--messages", "1800", "--small", "400", "--walks", "2")
    rows = table(run("size", *sizes), "calls")
    paths = {" ".join(row[3:]) for row in rows}
    assert {"a known contact writes", "turns are claimed", "a batch is pruned"} <= paths
    calls = Counter({" ".join(row[3:]): int(row[1]) for row in rows})
    assert calls["a known contact writes"] == 5 * calls["somebody new writes"] == 10


def test_size_asks_for_room_enough_for_its_walks():
    done = run("size", "--small", "10", "--walks", "5")
    assert done.returncode == 2
    assert "5 walks need databases of" in done.stderr


def test_hostile_answers_the_other_tenants_customers_meanwhile():
    attacks = ("evolution-trickles", "evolution-unpacks", "junk-keys")
    done = run("hostile", "--messages", "3", "--seconds", "1", "--only", *attacks)
    rows = table(done, "answered")
    assert [row[:3] for row in rows] == [[name, "3", "3"] for name in ("nothing", *attacks)]
    assert "Aim: p95 within 2 times quiet" in done.stdout


@pytest.mark.n8n
def test_n8n_answers_every_message_once_on_every_way():
    done = run("n8n", "--messages", "20", "--connections", "5", "--in-flight", "4")
    rows = table(done, "accepted")
    assert [row[:5] for row in rows] == [
        [way, "20", "20", "0", "0"] for way in ("bare", "alone", "answer", "gateway")
    ]
    assert [row[5:7] for row in rows[2:]] == [["20", "0"], ["20", "0"]]
    assert "drain, answer / alone" in done.stdout


def test_a_burst_that_loses_or_doubles_is_complained_of():
    load = Load(1, 3, {"200": 3}, 1.0, 1.0, 1.0)
    good = Outcome("alone", load, Counter("abc"), 1.0)
    bad = Outcome("answer", load, Counter("aab"), 1.0, closed=1, incomplete=1)
    assert complaints([good]) == []
    assert complaints([good, bad]) == [
        "answer: 1 messages were accepted and not answered",
        "answer: 1 messages were answered twice",
        "answer: only 1 turns were closed as sent",
        "answer: 1 turns were closed as incomplete",
    ]
    killed = Outcome("gateway", load, Counter("abc"), 1.0, closed=3, incomplete=1)
    assert complaints([killed], killed=True) == []


def test_a_burst_whose_n8n_does_not_come_back_is_judged_by_nobody():
    """What it leaves unanswered would be taken for the router's loss."""

    def fails() -> float:
        raise N8nDidNotStart("n8n was not ready within 900 s")

    back, gone = Killer(lambda: 7.5, lambda: True), Killer(fails, lambda: True)
    for each in (back, gone):
        each.start()
    for each in (back, gone):
        each.join()
    assert back.was_away() == 7.5
    with pytest.raises(SystemExit, match="not ready within 900 s"):
        gone.was_away()
    never = Killer(lambda: 7.5, lambda: False)
    never.start()
    with pytest.raises(SystemExit, match="was not killed"):
        never.was_away()


def test_every_benchmark_is_here():
    there = {file.stem for file in Path(ROOT, "benchmarks").glob("*.py")}
    folders = {folder.parent.name for folder in Path(ROOT, "benchmarks").glob("*/__main__.py")}
    assert there | folders <= PARTS | PROGRAMS
