"""`make run` and `make demo` as processes: what a newcomer sees."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from router.embedded.ports import free_port
from tests.postgres import fleeting_folder
from tests.routers import ROOT


@pytest.fixture
def folder():
    with fleeting_folder() as folder:
        yield folder


def start(folder: Path, port: int, *options: str, **configuration: str) -> "subprocess.Popen[str]":
    kept = {name: os.environ[name] for name in ("HOME", "XDG_CACHE_HOME") if name in os.environ}
    env = {"PATH": os.environ["PATH"], "HYBRIDFLOW_DATA": str(folder), "API_PORT": str(port)}
    env |= {**kept, **configuration}
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.serve", *options],
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


def test_a_port_that_is_taken_is_said_before_anything_is_started(folder: Path):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        program = start(folder, port)
        said, _ = program.communicate(timeout=30)
    assert program.returncode == 1
    assert f"cannot listen on port {port} (Address already in use)" in said
    assert "set API_PORT" in said
    assert "Traceback" not in said
    assert not (folder / "postgres").exists()


@pytest.mark.n8n
def test_make_run_with_n8n_brings_it_up_and_ends_it(folder: Path):
    port, editor = free_port(), free_port()
    program = start(folder, port, "--n8n", N8N_PORT=str(editor))
    try:
        said = until(program, "is ready")
        assert f"http://localhost:{editor}   (the editor)" in said
        health = httpx.get(f"http://127.0.0.1:{port}/health").json()
        assert health["checks"]["n8n"]["status"] == "ok", health
        assert httpx.get(f"http://127.0.0.1:{editor}/").status_code == 200
    finally:
        stop(program)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{editor}/")


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
