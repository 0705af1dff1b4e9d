"""`make run` and `make demo` as processes: what a newcomer sees."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import Evolution
from loopback.evolution.people import Customer
from router.embedded.ports import free_port
from scripts.n8n.meanwhile import UP
from tests.clients import get, post
from tests.n8n_server import WITHOUT_EDITOR_AS_EXTRA
from tests.postgres import fleeting_folder
from tests.routers import ROOT

PATIENCE = 120  # seconds for what loads a router, beside the other rows of tests
pytestmark = pytest.mark.timeout(600)


_started: "list[subprocess.Popen[str]]" = []


@pytest.fixture
def folder():
    with fleeting_folder() as folder:
        yield folder
        while _started:  # what a test that failed has left is killed; what it started ends with it
            with _started.pop() as program:
                program.kill()


def start(
    folder: Path, port: int, *options: str, module: str = "scripts.serve", **configuration: str
) -> "subprocess.Popen[str]":
    kept = {name: os.environ[name] for name in ("HOME", "XDG_CACHE_HOME") if name in os.environ}
    env = {"PATH": os.environ["PATH"], "HYBRIDFLOW_DATA": str(folder), "API_PORT": str(port)}
    env |= {**kept, **configuration}
    program = subprocess.Popen(
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    _started.append(program)
    return program


def until(program: "subprocess.Popen[str]", sign: str) -> str:
    assert program.stdout is not None
    seen = ""
    for line in program.stdout:
        seen += line
        if sign in line:
            return seen
    raise AssertionError(f"it ended without saying {sign!r}:\n{seen}")


def stop(program: "subprocess.Popen[str]") -> str:
    program.send_signal(signal.SIGINT)
    said, _ = program.communicate(timeout=PATIENCE)
    return said


def key_of(folder: Path) -> str:
    return made_secret(folder, "API_KEYS").removeprefix("local:")


def made_secret(folder: Path, name: str) -> str:
    """One of the secrets, out of the file where `make run` keeps what it has made."""
    found = re.search(rf"^{name}=(\S+)$", (folder / "secrets.env").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def asks(port: int, path: str, folder: Path) -> httpx.Response:
    headers = {"X-API-Key": key_of(folder)}
    return get(f"http://127.0.0.1:{port}{path}", headers=headers)


def test_make_run_shows_a_demo_at_one_address_and_no_secret_in_its_log(folder: Path):
    port = free_port()
    program = start(folder, port)
    try:
        said = until(program, "is ready")
        assert f"http://localhost:{port}/" in said
        assert "Demo:" in said
        health = get(f"http://127.0.0.1:{port}/health")
        assert (health.status_code, health.json()["ok"]) == (200, True)
        assert health.json()["checks"]["demo"]["message"].startswith("demo:")
        tenants = asks(port, "/api/tenants", folder).json()["items"]
        assert [(each["instance_name"], each["is_demo"]) for each in tenants] == [
            ("demo-padaria-aurora", True)
        ]
        kept = (folder / "secrets.env").read_text()
    finally:
        said += stop(program)
    assert program.returncode == 0
    assert (folder / "secrets.env").stat().st_mode & 0o077 == 0
    for line in kept.splitlines():
        assert line.split("=", 1)[1] not in said

    shown = subprocess.run(
        [sys.executable, "-m", "scripts.serve", "--show-secrets"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HYBRIDFLOW_DATA": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"API_KEYS=local:{key_of(folder)}" in shown.stdout.splitlines()

    without = start(folder, port, DEMO="0")
    try:
        said = until(without, "is ready")
        assert "Demo:" not in said
        health = get(f"http://127.0.0.1:{port}/health")
        assert health.status_code == 503  # there is no LLM
        assert asks(port, "/api/tenants", folder).json()["items"] == []
        assert (folder / "secrets.env").read_text() == kept
    finally:
        stop(without)


def test_a_killed_router_comes_back_and_the_demo_ends_with_the_first_tenant(folder: Path):
    port = free_port()
    program = start(folder, port)
    try:
        until(program, "is ready")
        (router,) = children_of(program, b"demo_business")
        os.kill(router, signal.SIGKILL)
        until(program, "is ready")
        assert get(f"http://127.0.0.1:{port}/health").status_code == 200

        url = f"http://127.0.0.1:{port}/api/tenants"
        shop = {"instance_name": "shop", "evo_server_url": "https://evolution.example.com"}
        made = post(url, headers={"X-API-Key": key_of(folder)}, json=shop)
        assert (made.status_code, made.json()["id"]) == (201, 1)
        said = until(program, "is ready")
        assert "the demo business is gone" in said
        tenants = asks(port, "/api/tenants", folder).json()["items"]
        assert [each["instance_name"] for each in tenants] == ["shop"]
        health = get(f"http://127.0.0.1:{port}/health")
        assert health.status_code == 503  # nobody plays an LLM for a real tenant
        assert "demo" not in health.json()["checks"]
    finally:
        stop(program)


def test_with_a_key_of_an_llm_the_demo_talks_to_the_real_one(folder: Path):
    port, key = free_port(), "sk-of-the-developer"
    with Anthropic(key=key) as llm:
        llm.answers_always("On Sundays we are open till noon.")
        key_of_one = {"ANTHROPIC_API_KEY": key, "ANTHROPIC_BASE_URL": llm.base_url}
        program = start(folder, port, **key_of_one)
        try:
            said = until(program, "is ready")
            shown = answered_on_page(f"http://localhost:{port}/try")
            health = get(f"http://127.0.0.1:{port}/health").json()
        finally:
            said += stop(program)
        (asked,) = llm.requests
    assert "Aurora" in asked.system, "it is asked as the demo's business"
    assert "On Sundays we are open till noon." in str(shown["transcript"])
    assert "demo" in health["checks"]
    assert key not in said


def test_a_second_one_beside_the_demo_says_so_and_takes_none_of_its_turns(folder: Path):
    port, other = free_port(), free_port()
    first = start(folder, port)
    try:
        until(first, "is ready")
        for options in ({}, {"DEMO": "0"}):
            second = start(folder, other, **options)
            said, _ = second.communicate(timeout=PATIENCE)
            assert (second.returncode, "played on this data folder already" in said) == (1, True)
            assert "HYBRIDFLOW_DATA" in said
            assert "Traceback" not in said
        made = (line.split("=", 1) for line in (folder / "secrets.env").read_text().splitlines())
        secrets = {name: value for name, value in made if not name.startswith("#")}
        by_hand = ("router.main:app", "--port", str(other))
        second = start(folder, other, *by_hand, module="uvicorn", **secrets)
        said, _ = second.communicate(timeout=PATIENCE)
        assert second.returncode != 0
        assert "played on this data folder already" in said, said
        tenants = asks(port, "/api/tenants", folder).json()["items"]
        assert [each["is_demo"] for each in tenants] == [True]
    finally:
        stop(first)


def test_one_that_was_killed_keeps_nobody_from_playing(folder: Path):
    port = free_port()
    program = start(folder, port)
    until(program, "is ready")
    program.kill()
    program.communicate(timeout=PATIENCE)
    again = start(folder, free_port())
    try:
        assert "Demo:" in until(again, "is ready")
    finally:
        stop(again)


def children_of(program: "subprocess.Popen[str]", called: bytes) -> list[int]:
    """The processes that it has started and that are called so."""
    threads = Path(f"/proc/{program.pid}/task").iterdir()
    started = [pid for each in threads for pid in (each / "children").read_text().split()]
    return [int(pid) for pid in started if called in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_port_that_is_taken_is_said_before_anything_is_started(folder: Path):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        program = start(folder, port)
        said, _ = program.communicate(timeout=PATIENCE)
    assert program.returncode == 1
    assert f"cannot listen on port {port} (Address already in use)" in said
    assert "set API_PORT" in said
    assert "Traceback" not in said
    assert not (folder / "postgres").exists()


@pytest.mark.n8n
@pytest.mark.timeout(900)
def test_make_run_with_n8n_brings_it_up_and_ends_it(folder: Path):
    port, editor = free_port(), free_port()
    with Anthropic() as llm, Evolution() as evolution:
        llm.answers_always("On Sundays we are open till noon.")
        configured = {"N8N_PORT": str(editor), "ANTHROPIC_BASE_URL": llm.base_url}
        program = start(folder, port, "--n8n", **configured)
        try:
            said = until(program, "is ready")
            assert f"http://localhost:{editor}   (the demo's own" in said
            health = get(f"http://127.0.0.1:{port}/health").json()
            assert health["checks"]["n8n"]["status"] == "ok", health
            assert get(f"http://127.0.0.1:{editor}/").status_code == 200
            shown = answered_on_page(f"http://localhost:{port}/try")
            assert (shown["handler"], shown["attempt"]) == ("n8n", 1)

            customer = with_a_business(evolution, folder, port)
            said = until(program, "is ready")
            assert "Until it is up, turns wait" in said
            assert f"http://localhost:{editor}   (the editor)" in said
            assert not (folder / "demo-n8n").exists()
            customer.writes("Are you open on Sunday?").wait()  # n8n is not there yet
            said = until(program, UP)
            health = get(f"http://127.0.0.1:{port}/health").json()
            assert (health["checks"]["llm"]["status"], "demo" in health["checks"]) == (
                "error",
                False,
            )
            assert customer.block_until_answered() == ["On Sundays we are open till noon."]
            (turn,) = asks(port, "/api/turns?tenant_id=1", folder).json()["items"]
            assert turn["handler"] == "n8n"
        finally:
            said += stop(program)  # which ends what is being sent
    assert said.count("ai_replied") == 1
    assert len(customer.replies) == 1
    with pytest.raises(httpx.ConnectError):
        get(f"http://127.0.0.1:{editor}/")


def with_a_business(evolution: Evolution, folder: Path, port: int) -> Customer:
    """The first real tenant is made, its WhatsApp leads here: a customer of it."""
    shop = evolution.instance("shop")
    shop.sends_webhooks_to(
        f"http://127.0.0.1:{port}/webhook/shop",
        headers={"X-Webhook-Secret": made_secret(folder, "EVOLUTION_WEBHOOK_SHARED_SECRET")},
    )
    tenant = {
        "instance_name": "shop",
        "evo_server_url": evolution.url,
        "evo_api_key": shop.token,
    }
    url = f"http://127.0.0.1:{port}/api/tenants"
    made = post(url, headers={"X-API-Key": key_of(folder)}, json=tenant)
    assert made.status_code == 201, made.text
    return shop.customer()


@pytest.mark.n8n
@pytest.mark.timeout(900)
def test_after_kill_9_the_next_one_with_n8n_starts_with_the_keys_that_are_set_by_now(folder: Path):
    port, editor, key = free_port(), free_port(), "sk-of-the-developer"
    with Anthropic(key=key) as llm:
        llm.answers_always("On Sundays we are open till noon.")
        configured = {
            "N8N_PORT": str(editor),
            "ANTHROPIC_BASE_URL": llm.base_url,
            **WITHOUT_EDITOR_AS_EXTRA,
        }
        program = start(folder, port, "--n8n", DEMO="0", **configured)
        until(program, "is ready")
        (supervisor,) = children_of(program, b"scripts/n8n/supervisor.py")
        os.kill(supervisor, signal.SIGKILL)  # with it: nobody is left to end this n8n
        program.kill()
        again = start(folder, port, "--n8n", ANTHROPIC_API_KEY=key, **configured)
        try:
            said = until(again, "is ready")
            assert "Giving n8n the changed keys: Anthropic …" in said
            shown = answered_on_page(f"http://localhost:{port}/try")
            assert (shown["handler"], shown["attempt"]) == ("n8n", 1)
        finally:
            stop(again)
            program.communicate(timeout=PATIENCE)


def answered_on_page(page: str) -> Any:
    """What /try shows once the customer's question was answered."""
    own = {"Sec-Fetch-Site": "same-origin"}
    post(f"{page}/customer", params={"text": "Are you open on Sunday?"}, headers=own)
    with httpx.stream("GET", f"{page}/stream", timeout=60) as changes:
        for line in changes.iter_lines():
            if line.startswith("event:"):
                shown = get(f"{page}/state").json()
                if any(each["author"] == "api" for each in shown["transcript"]):
                    return shown
    raise AssertionError("the stream ended before the answer came")


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
