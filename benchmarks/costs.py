"""Measures costs: CPU and memory of processes, database calls, and a commit as a yardstick."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from router.embedded.postgres import EmbeddedPostgres

_TICKS = os.sysconf("SC_CLK_TCK")
_COMMIT = "insert into yardstick (said) values (repeat('x', 200));\n"


@dataclass(frozen=True, slots=True)
class Spent:
    """The CPU seconds of the routers and of PostgreSQL, and the database's transactions, so far."""

    routers: float
    postgres: float
    transactions: int

    def since(self, earlier: "Spent") -> "Spent":
        """Return what was spent since an earlier measurement."""
        return Spent(
            self.routers - earlier.routers,
            self.postgres - earlier.postgres,
            self.transactions - earlier.transactions,
        )


def spent(routers: Iterable[int], postgres: EmbeddedPostgres, database: str) -> Spent:
    """Return what these processes and this database have spent so far."""
    (transactions,) = psql(
        postgres,
        f"select xact_commit + xact_rollback from pg_stat_database where datname = '{database}'",
    ).split()
    return Spent(sum(map(_own_cpu, routers)), cpu_of_server(postgres), int(transactions))


def cpu_of_trees(roots: Iterable[int]) -> float:
    """Return the CPU seconds of these processes and of all their children, also ended ones."""
    parents = {pid: int(_stat(pid)[1]) for pid in _processes()}
    wanted = set(roots)
    while found := {pid for pid, parent in parents.items() if parent in wanted} - wanted:
        wanted |= found
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in wanted) / _TICKS


def memory(pid: int) -> float:
    """Return a process's memory in MB; 0 if it has ended."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def commit_ms(postgres: EmbeddedPostgres, seconds: int) -> float:
    """Return how many milliseconds one pgbench client needs for a row and its commit."""
    psql(postgres, "drop table if exists yardstick; create table yardstick (said text)")
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_COMMIT)
        script.flush()
        done = subprocess.run(
            [
                *(str(postgres.bin_folder / "pgbench"), "-n", "-M", "prepared", "-f", script.name),
                *("-c", "1", "-T", str(seconds), postgres.dsn),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
    taken = re.search(r"latency average = ([\d.]+) ms", done.stdout)
    if done.returncode != 0 or taken is None:
        raise SystemExit(f"pgbench failed:\n{done.stdout}{done.stderr}")
    return float(taken[1])


def psql(postgres: EmbeddedPostgres, statement: str, database: str = "postgres") -> str:
    """Run one or more statements. Returns psql's output."""
    program = str(postgres.bin_folder / "psql")
    url = postgres.dsn.replace("/postgres?", f"/{database}?")
    command = [program, url, "--quiet", "--no-psqlrc", "--tuples-only", "-v", "ON_ERROR_STOP=1"]
    return subprocess.run(
        command, input=statement, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def cpu_of_server(postgres: EmbeddedPostgres) -> float:
    """Return the CPU seconds of the server and all of its processes, also ended ones."""
    postmaster = int(psql(postgres, "select split_part(pg_read_file('postmaster.pid'), e'\\n', 1)"))
    children = [pid for pid in _processes() if _stat(pid)[1] == str(postmaster)]
    ended = sum(map(int, _stat(postmaster)[13:15])) / _TICKS
    return ended + _own_cpu(postmaster) + sum(map(_own_cpu, children))


def _own_cpu(pid: int) -> float:
    return sum(map(int, _stat(pid)[11:13])) / _TICKS


def _processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name (state, parent, …); zeros if gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 50
