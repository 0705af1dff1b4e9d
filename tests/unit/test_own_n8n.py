"""The n8n that is started here: its own settings, where turns go, one at a time, started again."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from router.configuration.settings import ConfigurationError, load_settings
from router.embedded.alone import alone
from scripts import serve
from scripts.banner import banner
from scripts.kept_secrets import Kept
from scripts.n8n.credentials import fill_in, read_example
from scripts.n8n.extra import extra_settings
from scripts.n8n.installation import Installation
from scripts.n8n.keeping import kept_alive, next_pause
from scripts.n8n.keys import note_given, to_be_given
from scripts.n8n.leftover import end_leftover
from scripts.n8n.library import WORKFLOWS
from scripts.n8n.meanwhile import UP, coming_up
from scripts.n8n.only_one import N8nRunsAlready, only_one
from scripts.n8n.server import N8nHome, N8nServer

ROOT = Path(__file__).parents[2]
HOME = N8nHome("postgresql://localhost/n8n", Path("n8n"), "key")


def within(seconds: float, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


# --- its own settings


def test_its_own_settings_pass_from_the_environment_and_the_file(tmp_path: Path):
    file = tmp_path / ".env"
    file.write_text(
        "N8N_EXTRA_GENERIC_TIMEZONE=America/Sao_Paulo\n"
        "N8N_EXTRA_N8N_PAYLOAD_SIZE_MAX=64\nN8N_EXTRA_EMPTY=\nANTHROPIC_API_KEY=sk-ant-secret\n"
    )
    env = {"N8N_EXTRA_N8N_PAYLOAD_SIZE_MAX": "32", "N8N_EXTRA_GENERIC_TIMEZONE": " ", "TZ": "UTC"}
    assert extra_settings(env, file) == {
        "GENERIC_TIMEZONE": "America/Sao_Paulo",
        "N8N_PAYLOAD_SIZE_MAX": "32",
    }
    assert extra_settings({}, tmp_path / "none") == {}


def test_they_go_before_what_is_chosen_for_it_and_not_before_what_finds_it_again(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    extra = {"N8N_EXPRESSION_ENGINE": "vm", "GENERIC_TIMEZONE": "Asia/Tokyo", "N8N_PORT": "1"}
    given = N8nHome("postgresql://localhost/n8n", Path("n8n"), "key", extra=extra).environment()
    assert given["N8N_EXPRESSION_ENGINE"] == "vm"
    assert given["GENERIC_TIMEZONE"] == "Asia/Tokyo"
    assert given["N8N_PORT"] == "5678"


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("N8N_PORT", "set N8N_PORT"),
        ("N8N_USER_FOLDER", "set HYBRIDFLOW_DATA"),
        ("N8N_ENCRYPTION_KEY", "encryption.key"),
        ("N8N_RUNNERS_BROKER_PORT", "leave it out"),
        ("N8N_ENDPOINT_WEBHOOK", "leave it out"),
        ("DB_TYPE", "set DATABASE_URL"),
        ("DB_POSTGRESDB_PASSWORD", "set DATABASE_URL"),
        ("generic_timezone", "the name of a setting of n8n"),
        ("", "the name of a setting of n8n"),
    ],
)
def test_one_that_n8n_cannot_be_given_is_named_with_the_cure(name: str, cure: str):
    with pytest.raises(ConfigurationError) as refused:
        extra_settings({f"N8N_EXTRA_{name}": "hunter22"}, None)
    assert cure in refused.value.faults[f"N8N_EXTRA_{name}"]
    assert "hunter22" not in str(refused.value)


def test_a_proxy_is_not_asked_for_the_router_of_this_machine():
    proxy = {"N8N_EXTRA_HTTPS_PROXY": "http://proxy.example:3128"}
    assert "localhost" in extra_settings(proxy, None)["NO_PROXY"]
    said = {**proxy, "N8N_EXTRA_NO_PROXY": "router.example"}
    assert extra_settings(said, None)["NO_PROXY"] == "router.example"


def test_their_values_are_in_no_text_of_its_home():
    home = N8nHome("postgresql://localhost/n8n", Path("n8n"), "key", extra={"SMTP": "hunter22"})
    assert "hunter22" not in repr(home)


# --- where turns go


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment and a folder in which nothing of n8n is configured."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("N8N_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_turns_go_where_n8n_webhook_url_says_and_else_to_the_n8n_that_is_started(
    configured: pytest.MonkeyPatch,
):
    assert serve.n8n_variables() == {"N8N_WEBHOOK_URL": "http://127.0.0.1:5678/webhook"}
    configured.setenv("N8N_PORT", "5999")
    assert serve.n8n_variables() == {"N8N_WEBHOOK_URL": "http://127.0.0.1:5999/webhook"}
    Path(".env").write_text("N8N_WEBHOOK_URL=http://localhost:5999/webhook/agent\n")
    assert serve.n8n_variables() == {"N8N_WEBHOOK_URL": "http://localhost:5999/webhook/agent"}


def test_that_n8n_is_enabled_asks_for_nothing_more(configured: pytest.MonkeyPatch):
    configured.setenv("N8N_ENABLED", "true")
    assert serve.n8n_variables() == {"N8N_WEBHOOK_URL": "http://127.0.0.1:5678/webhook"}


def said_first(**env: str) -> str:
    settings = load_settings({"N8N_PORT": "5999", **env}, env_file=None)
    return banner(settings, Kept({}, ()), with_n8n=True)


def test_it_is_said_that_the_editor_asks_for_an_owner_account():
    said = said_first(N8N_WEBHOOK_URL="http://127.0.0.1:5999/webhook")
    assert "http://localhost:5999   (the editor)" in said
    assert "asks for an owner account first" in said
    assert "not to this n8n" not in said


@pytest.mark.parametrize(
    "url",
    [
        "https://n8n.example/webhook",
        "http://localhost:5678/webhook",
        "http://10.0.0.7:5999/webhook",
    ],
)
def test_it_is_said_that_turns_go_to_another_n8n(url: str):
    said = said_first(N8N_WEBHOOK_URL=url)
    assert f"Turns go to N8N_WEBHOOK_URL, {url}, and not to this n8n" in said


# --- one at a time


def test_a_second_start_says_that_one_runs_and_where(tmp_path: Path):
    with only_one(tmp_path / "n8n", "http://localhost:5678"):
        with pytest.raises(N8nRunsAlready) as refused, only_one(tmp_path / "n8n", "http://x"):
            pass
        assert "runs already: http://localhost:5678" in str(refused.value)
        assert f"process {os.getpid()}" in str(refused.value)
        assert "Ctrl-C" in str(refused.value)
    with only_one(tmp_path / "n8n", "http://localhost:5678"):
        pass  # the first one has ended


def test_what_a_killed_one_left_keeps_nobody_away(tmp_path: Path):
    (tmp_path / "running").write_text("http://localhost:5678 (its starter is process 1)\n")
    (tmp_path / "running.lock").touch()
    with only_one(tmp_path, "http://localhost:5999"):
        assert "5999" in (tmp_path / "running").read_text()


def test_a_start_under_way_is_told_as_that(tmp_path: Path):
    with (
        alone(tmp_path, "running"),
        pytest.raises(N8nRunsAlready, match="it is starting"),
        only_one(tmp_path, "http://x"),
    ):
        pass


# --- after a start that was killed


@pytest.mark.apart
def test_what_a_killed_start_left_is_ended_before_the_next(tmp_path: Path):
    server, told = server_of(Sleeper, tmp_path), []
    server.start()
    assert server._supervisor is not None
    server._supervisor.kill()  # with the starter: nobody is left to end it
    with alone(server.home.folder, "running"):
        end_leftover(server.home.folder, told.append, wait=0.2)
    assert lives(server.pid)  # its starter lives
    assert told == []
    end_leftover(server.home.folder, told.append, wait=0.2)
    within(30, lambda: not lives(server.pid))
    assert told == ["Waiting for the n8n of the last start to end …"]
    server.stop()


def test_one_that_its_supervisor_ends_is_waited_for(tmp_path: Path):
    server, told = server_of(Sleeper, tmp_path), []
    server.start()
    assert server._supervisor is not None
    assert server._supervisor.stdin is not None
    server._supervisor.stdin.close()  # as the system does where the starter was killed
    end_leftover(server.home.folder, told.append)
    with alone(server.home.folder, "working") as nobody_works_there:
        assert nobody_works_there
    server.stop()


def test_a_process_that_has_the_number_by_now_is_left_alone(tmp_path: Path):
    for noted in (f"{os.getpid()} {os.getpid()}", ""):
        (tmp_path / "process").write_text(noted)
        end_leftover(tmp_path, pytest.fail)


def test_one_that_nobody_noted_is_waited_for_and_not_killed(tmp_path: Path):
    (tmp_path / "process").write_text("")
    told: list[str] = []
    with alone(tmp_path, "working"):
        end_leftover(tmp_path, told.append, wait=0.2)
    assert told == ["Waiting for the n8n of the last start to end …"]


# --- the keys that it was given


def test_it_is_given_what_the_configuration_says_otherwise_and_nothing_that_it_does_not_say(
    tmp_path: Path,
):
    home = N8nHome("postgresql://localhost/n8n", tmp_path, "key")

    def wanted(**variables: str) -> list[dict[str, Any]]:
        return fill_in(
            read_example(WORKFLOWS), {"N8N_API_KEY": "a", "CRON_SECRET": "b"} | variables
        )

    def given(**variables: str) -> list[str]:
        return [each["id"] for each in to_be_given(home, wanted(**variables))]

    assert given(ANTHROPIC_API_KEY="sk-1") == []  # who gave them noted nothing
    note_given(home, wanted())
    assert given() == []
    assert given(ANTHROPIC_API_KEY="sk-1") == ["hybridflowAnthropic"]
    note_given(home, to_be_given(home, wanted(ANTHROPIC_API_KEY="sk-1")))
    assert given(ANTHROPIC_API_KEY="sk-1") == []
    assert given() == []  # what is in the editor stays there
    assert given(ANTHROPIC_API_KEY="sk-1", CRON_SECRET="c") == ["hybridflowCron"]
    assert "sk-1" not in (tmp_path / "credentials").read_text()


# --- while the router serves already


def test_it_comes_up_beside_the_block_and_ends_with_it():
    told: list[str] = []
    ended = threading.Event()

    @contextmanager
    def n8n() -> Iterator[None]:
        yield
        ended.set()

    with coming_up(n8n(), told.append, (N8nRunsAlready,)):
        within(30, lambda: told == [UP])
        assert not ended.is_set()
    assert ended.is_set()


def test_one_that_does_not_come_up_is_told_and_ends_nothing():
    told: list[str] = []

    @contextmanager
    def n8n() -> Iterator[None]:
        raise N8nRunsAlready("it runs already")
        yield

    with coming_up(n8n(), told.append, (N8nRunsAlready,)):
        within(30, lambda: told == ["it runs already"])


COMING_UP = """
import asyncio, signal, sys
from contextlib import contextmanager
from pathlib import Path
from scripts.n8n.meanwhile import coming_up
from tests.unit.test_own_n8n import Sleeper, server_of

@contextmanager
def n8n():
    server = server_of(Sleeper, Path(sys.argv[1]))
    server.start()
    print(server.pid, flush=True)
    asyncio.run(server.ready())
    yield

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
with coming_up(n8n(), print, ()):
    sys.stdin.read()
"""


@pytest.mark.apart
def test_who_ends_it_with_ctrl_c_while_it_comes_up_leaves_none_behind(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", COMING_UP, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        assert lives(pid)
        program.send_signal(signal.SIGINT)
        program.wait(timeout=30)
        within(30, lambda: not lives(pid) and nobody_works(tmp_path / "home"))


def nobody_works(folder: Path) -> bool:
    with alone(folder, "working") as is_so:
        return is_so


# --- started again


class Sleeper(Installation):
    """In place of n8n, a program that does nothing until it is ended."""

    @property
    def node(self) -> Path:
        """Return a program."""
        return Path(sys.executable)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of that program."""
        told = "import sys, time; print('last words', file=sys.stderr, flush=True); time.sleep(600)"
        return [sys.executable, "-c", told]


class Quitter(Sleeper):
    """One that ends at once."""

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of that program."""
        return [sys.executable, "-c", "raise SystemExit('no memory left')"]


def server_of(kind: type[Installation], folder: Path) -> N8nServer:
    home = N8nHome("postgresql://localhost/n8n", folder / "home", "key")
    home.folder.mkdir()
    return N8nServer(kind(folder), home)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_n8n_that_died_is_started_again_until_the_end(tmp_path: Path):
    server, told = server_of(Sleeper, tmp_path), []
    server.start()
    with kept_alive(server, told.append, lambda *_: 0.0):
        for _ in range(2):
            first = server.pid
            within(30, lambda: "last words" in server.log_end())
            os.killpg(first, signal.SIGKILL)
            within(30, lambda before=first: server.pid != before)  # type: ignore[misc]
    assert lives(server.pid)
    server.stop()
    assert not lives(server.pid)
    assert [line for line in told if "started again" in line]
    assert [line for line in told if "last words" in line]


@pytest.mark.apart
def test_one_whose_supervisor_was_killed_is_not_left_beside_the_next(tmp_path: Path):
    server = server_of(Sleeper, tmp_path)
    server.start()
    first = server.pid
    with kept_alive(server, lambda _: None, lambda *_: 0.0):
        assert server._supervisor is not None
        server._supervisor.kill()
        within(30, lambda: server.pid != first)
        within(30, lambda: not lives(first))
    server.stop()


def test_it_is_not_started_again_once_the_block_has_ended(tmp_path: Path):
    server, waiting = server_of(Quitter, tmp_path), threading.Event()
    server.start()

    def pause(*_: float) -> float:
        waiting.set()
        return 3600.0

    with kept_alive(server, lambda _: None, pause):
        assert waiting.wait(30)
    assert server.has_ended()


def test_the_pauses_grow_to_a_minute_and_begin_again_after_an_n8n_that_lasted():
    pauses, waited = [], 0.0
    for _ in range(9):
        waited = next_pause(waited, ran_for=0.5)
        pauses.append(waited)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert next_pause(60, ran_for=3600) == 1
