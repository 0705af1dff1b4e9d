"""A program that stands in for a Python is, from outside, like the Python that runs the module."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from loopback.routers import bare_environment
from tests.forks import Forks

PLAYED = {
    "tells": """
        import atexit, os, sys, threading
        print(__name__, sys.argv[1:], sys.stdin.read(), os.environ["SAID"], os.getcwd())
        print(sys.path[0], os.getsid(0) == os.getpid(), "fi\\u00e9", flush=True)
        os.write(1, b"raw")
        print("complained", file=sys.stderr)
        atexit.register(print, "the last of all")
        threading.Thread(target=print, args=("ended before",)).start()
        sys.exit(7)
    """,
    "raises": "raise OSError('as said')",
    "ends": "import os; print('not written', end=''); os._exit(3)",
    "words": "raise SystemExit('in words')",
    "sleeps": "import os, signal; print(os.getpid(), flush=True); signal.pause()",
    "parent": """
        import signal, subprocess, sys
        subprocess.Popen([sys.executable, "-m", "played.sleeps"])
        signal.pause()
    """,
    "careful": """
        import os, signal
        def end(*_): os.write(1, b"tidied up\\n"); raise SystemExit(3)
        signal.signal(signal.SIGTERM, end)
        os.write(1, b"%d\\n" % os.getpid())
        while True: signal.pause()
    """,
}


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    forks = Forks((), ("played.",))
    yield forks.python
    forks.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "played").mkdir()
    for name, text in PLAYED.items():
        lines = text.splitlines()
        program = "\n".join(line.removeprefix(" " * 8) for line in lines)
        (tmp_path / "played" / f"{name}.py").write_text(program, encoding="utf-8")
    return tmp_path


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env={**bare_environment(), "SAID": "a=b\nc"},
        input="typed",
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


@contextmanager
def running(
    python: Path, folder: Path, module: str
) -> Iterator[tuple[int, int, Callable[[], str]]]:
    """A module that says a process id. Gives its caller's id, that one, and how it ends."""
    with subprocess.Popen(
        [str(python), "-m", module],
        cwd=folder,
        env=bare_environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        said = program.stdout

        def end() -> str:
            rest = said.read()
            return f"{rest}{program.wait(60)}"

        try:
            yield program.pid, int(said.readline()), end
        finally:
            program.kill()


def test_files_arguments_environment_folder_and_code_are_those_of_a_process(
    python: Path, folder: Path
):
    for name in ("tells", "words", "ends"):
        command = ("-m", f"played.{name}", "a b", "", "--x")
        real, forked = (run(each, folder, *command) for each in (Path(sys.executable), python))
        assert real.returncode in (7, 1, 3)
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            *(real.returncode, real.stdout, real.stderr),
        )


def test_what_it_raises_is_told(python: Path, folder: Path):
    done = run(python, folder, "-m", "played.raises")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("OSError: as said\n")


def test_what_is_not_to_be_forked_is_run_by_the_real_python(python: Path, folder: Path):
    done = run(python, folder, "-c", "import sys; print(sys.executable, sys.flags.isolated)")
    assert done.stdout == f"{sys.executable} 0\n"
    assert "usage: " in run(python, folder, "-m", "json.tool", "--help").stdout


def test_a_signal_reaches_the_program_and_is_how_it_ends(python: Path, folder: Path):
    with running(python, folder, "played.sleeps") as (caller, _, end):
        os.kill(caller, signal.SIGTERM)
        assert end() == "-15"
    with running(python, folder, "played.careful") as (caller, _, end):
        os.kill(caller, signal.SIGTERM)
        assert end() == "tidied up\n3"
    with running(python, folder, "played.sleeps") as (_, program, end):
        os.kill(program, signal.SIGKILL)
        assert end() == "-9"


def test_a_signal_to_its_group_reaches_what_the_program_has_started(python: Path, folder: Path):
    with running(python, folder, "played.parent") as (caller, child, end):
        os.killpg(caller, signal.SIGTERM)
        assert end() == "-15"
        psutil.wait_procs(existing(child), timeout=60)
        assert existing(child) == []


def test_one_whose_caller_is_killed_is_killed(python: Path, folder: Path):
    for module in ("played.sleeps", "played.careful"):
        with running(python, folder, module) as (caller, program, end):
            os.kill(caller, signal.SIGKILL)
            assert end() == "-9"
            psutil.wait_procs(existing(program), timeout=60)
            assert existing(program) == []


def test_all_end_with_what_forks(folder: Path):
    forks = Forks((), ("played.",))
    with running(forks.python, folder, "played.sleeps") as (_, _, end):
        forks.end()
        assert end() == "-9"
    assert not forks.python.exists()


def existing(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []
