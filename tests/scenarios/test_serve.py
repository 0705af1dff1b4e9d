"""`make run` and `make demo` as processes: what a newcomer sees."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.postgres import fleeting_folder
from tests.routers import ROOT, free_port


@pytest.fixture
def folder():
    with fleeting_folder() as folder:
        yield folder


def start(folder: Path, port: int) -> "subprocess.Popen[str]":
    env = {"PATH": os.environ["PATH"], "HYBRIDFLOW_DATA": str(folder), "API_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.serve"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(program: "subprocess.Popen[str]", sign: str) -> str:
    assert program.stdout is not None
    seen = ""
    for line in program.stdout:
        seen += line
        if sign in line:
            return seen
    raise AssertionError(f"it ended without saying {sign!r}:\n{seen}")


def stop(program: "subprocess.Popen[str]") -> None:
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)


def test_make_run_says_what_runs_where_with_which_secrets_and_what_to_do_next(folder: Path):
    port = free_port()
    program = start(folder, port)
    try:
        said = until(program, "is ready")
        key = re.search(r"API_KEYS=local:(\S+)", said)
        assert key is not None, said
        assert f"http://localhost:{port}" in said
        assert "EVOLUTION_WEBHOOK_SHARED_SECRET=" in said
        assert "scripts.tenant add" in said
        answer = httpx.get(f"http://127.0.0.1:{port}/api/tenants", headers={"X-API-Key": key[1]})
        assert answer.status_code == 200
    finally:
        stop(program)
    assert (folder / "secrets.env").stat().st_mode & 0o077 == 0

    again = start(folder, port)
    try:
        assert f"API_KEYS=local:{key[1]}" in until(again, "is ready")
    finally:
        stop(again)


def test_a_wrong_configuration_ends_the_start_with_the_reason(folder: Path):
    env = {"PATH": os.environ["PATH"], "HYBRIDFLOW_DATA": str(folder), "DEBOUNCE_SECONDS": "soon"}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.serve"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "DEBOUNCE_SECONDS" in done.stderr
    assert "Traceback" not in done.stderr
