"""The demo business of `make run`: where it is played, what it says, that nobody real gets it."""

import ast
import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from loopback.replies import LlmRequest
from router.configuration.demo import Demo
from router.configuration.settings import load_settings
from router.embedded.alone import alone
from router.http.health import HealthChecks, LookedAt, router
from router.http.services import provide
from router.llm.errors import LlmAway
from router.llm.provider import Prompt, PromptMessage
from router.replies.making import Reply
from router.replies.only_for import OnlyFor
from router.state.schema_version import SCHEMA_VERSION
from scripts.banner import banner
from scripts.demo_business import baker
from scripts.demo_business.wanted import has_llm_key, played_llm, reason_against
from scripts.demo_business.watching import Start, keep_running
from scripts.kept_secrets import Kept, keep_secrets, shown_secrets
from tests.for_each import for_each

ROOT = Path(__file__).parents[2]
DEMO = Demo(7, "demo-shop", "http://127.0.0.1:1", "http://127.0.0.1:2")
PROMPT = Prompt("", (PromptMessage("user", "Oi"),))


def settings_of(**env: str):
    return load_settings(env, env_file=None)


# --- where it is played


@for_each(
    ("env", "reason"),
    [
        ({}, None),
        ({"ANTHROPIC_API_KEY": "sk-ant-x"}, None),
        ({"DEMO": "0"}, "DEMO=0"),
        ({"DEMO": "false"}, "DEMO=0"),
        ({"DATABASE_URL": "postgresql://x@localhost/x"}, "embedded"),
        (
            {"SUPABASE_URL": "https://x.supabase.co", "SUPABASE_SERVICE_ROLE_KEY": "sb_secret_x"},
            "embedded",
        ),
        ({"ALLOWED_NETWORKS": "none"}, "ALLOWED_NETWORKS"),
        ({"ALLOWED_NETWORKS": "10.0.0.0/8"}, "ALLOWED_NETWORKS"),
        ({"WEBHOOK_NETWORKS": "203.0.113.0/24"}, "WEBHOOK_NETWORKS"),
        ({"PUBLIC_URL": "https://shop.example"}, "PUBLIC_URL"),
        ({"PUBLIC_URL": "http://10.0.0.7:8000"}, "PUBLIC_URL"),
        ({"PUBLIC_URL": "http://127.0.0.1.shop.example"}, "PUBLIC_URL"),
        ({"PUBLIC_URL": "http://localhost:8000"}, None),
        ({"PUBLIC_URL": "http://127.0.0.1:8000"}, None),
        ({"PUBLIC_URL": "http://[::1]:8000"}, None),
        ({"LLM_FALLBACK_PROVIDER": "openai", "OPENAI_API_KEY": "k"}, "LLM_FALLBACK_PROVIDER"),
        (
            {
                "LLM_PROVIDER": "openai",
                "LLM_FALLBACK_PROVIDER": "anthropic",
                "ANTHROPIC_API_KEY": "k",
            },
            "LLM_FALLBACK_PROVIDER",
        ),
        (
            {"LLM_FALLBACK_PROVIDER": "openai", "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"},
            None,
        ),
        (
            {
                "N8N_ENABLED": "true",
                "N8N_WEBHOOK_URL": "http://localhost:5678/webhook",
                "N8N_API_KEY": "k" * 32,
            },
            "n8n",
        ),
        (
            {
                "N8N_ENABLED": "true",
                "N8N_WEBHOOK_URL": "http://localhost:5678/webhook",
                "N8N_API_KEY": "k" * 32,
                "ANTHROPIC_API_KEY": "k",
            },
            None,
        ),
    ],
)
def test_it_is_played_on_the_embedded_database_alone_where_nothing_is_against_it(
    env: dict[str, str], reason: str | None
):
    found = reason_against(settings_of(**env), with_n8n=False)
    assert (found is None) if reason is None else (reason in str(found))


def test_an_n8n_of_ones_own_is_never_given_the_address_of_the_played_llm():
    beside = {"N8N_ENABLED": "true", "N8N_API_KEY": "k" * 32, "N8N_PORT": "5681"}
    for url, key, is_wanted in (
        ("http://127.0.0.1:5681/webhook", None, True),  # the one that make run starts
        ("http://127.0.0.1:5682/webhook", None, False),
        ("https://n8n.example/webhook", None, False),
        ("https://n8n.example/webhook", "a-key", True),
    ):
        keys = {} if key is None else {"ANTHROPIC_API_KEY": key}
        settings = settings_of(**beside, **keys, N8N_WEBHOOK_URL=url)
        assert (reason_against(settings, with_n8n=True) is None) == is_wanted, (url, key)


def test_the_played_llm_is_asked_whatever_provider_was_meant():
    settings = settings_of(LLM_PROVIDER="openai")
    assert not has_llm_key(settings)
    played = settings_of(**{"LLM_PROVIDER": "openai", **played_llm("http://127.0.0.1:2")})
    assert has_llm_key(played)
    assert (played.llm_provider, played.anthropic_base_url) == ("anthropic", "http://127.0.0.1:2")


@pytest.mark.parametrize("file", ["router/main.py", "router/serving/__main__.py"])
def test_no_other_way_to_serve_plays_one(file: str):
    """`uvicorn router.main:app` and `python -m router.serving` make the application without it."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "create_app"
    ]
    assert [ast.unparse(call) for call in calls] == ["create_app(settings)"]
    readers = [
        path.relative_to(ROOT).as_posix()
        for folder in ("router", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        if "settings.demo" in path.read_text()
    ]
    assert readers == ["scripts/demo_business/wanted.py"]


def test_one_alone_plays_on_a_data_folder(tmp_path: Path):
    with alone(tmp_path / "data") as first, alone(tmp_path / "other") as elsewhere:
        assert first
        assert elsewhere
        for _ in range(2):  # one that has to do without lets nobody else in
            with alone(tmp_path / "data") as second:
                assert not second
    with alone(tmp_path / "data") as again:
        assert again


def test_whoever_is_killed_leaves_the_place_to_others(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from router.embedded.alone import alone\n"
        "with alone(Path(sys.argv[1])) as is_alone: print(is_alone, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as playing:  # fmt: skip
        assert playing.stdout is not None
        assert playing.stdout.readline().strip() == "True"
        with alone(tmp_path) as second:
            assert not second
        playing.kill()
    with alone(tmp_path) as third:
        assert third


# --- whom it serves


@dataclasses.dataclass
class ATurn:
    tenant: Any


class Maker:
    async def make(self, turn: Any, prompt: Prompt) -> Reply:
        return Reply(("Oi!",), "fallback")


async def test_the_played_llm_answers_for_the_demos_tenant_and_for_nobody_else():
    maker = OnlyFor(Maker(), tenant_id=7)
    own: Any = ATurn(dataclasses.make_dataclass("T", ["tenant_id"])(7))
    others: Any = ATurn(dataclasses.make_dataclass("T", ["tenant_id"])(1))
    assert await maker.make(own, PROMPT) == Reply(("Oi!",), "fallback")
    with pytest.raises(LlmAway):
        await maker.make(others, PROMPT)


# --- what is said of it


class Everything:
    async def call(self, *_: object) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, "tenants": 0}

    async def told_to_anybody(self) -> str:
        return ""

    def exhausted(self) -> list[str]:
        return []

    replaced = exhausted

    def of_deployment(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize("llm_url", ["http://127.0.0.1:2", None])
async def test_health_is_ok_and_says_demo(llm_url: str | None):
    app = FastAPI()
    app.include_router(router)
    others: Any = Everything()
    settings = settings_of(ANTHROPIC_API_KEY="x")
    demo = dataclasses.replace(DEMO, llm_url=llm_url)
    provide(app, HealthChecks(LookedAt(settings, others, others, others, others, None, demo)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://r") as http:
        answer = await http.get("/health")
    checks = answer.json()["checks"]
    assert answer.status_code == 200
    assert checks["demo"]["message"].startswith("demo: demo-shop is not a real business")
    assert checks["llm"]["message"].startswith("demo:") == (llm_url is not None)


def said(tmp_path: Path, *, with_demo: bool, on_terminal: bool, **env: str) -> str:
    settings = settings_of(HYBRIDFLOW_DATA=str(tmp_path), **env)
    kept = keep_secrets(settings, with_n8n=False)
    return banner(settings, kept, with_n8n=False, with_demo=with_demo, on_terminal=on_terminal)


@pytest.mark.parametrize("with_demo", [True, False])
def test_the_terminal_gets_one_address_and_two_lines_or_three(tmp_path: Path, with_demo: bool):
    said(tmp_path, with_demo=with_demo, on_terminal=True)  # the first time, with new secrets
    again = said(tmp_path, with_demo=with_demo, on_terminal=True)
    assert len(again.strip().splitlines()) == (3 if with_demo else 4)  # what to do next
    assert again.count("http://localhost:8000/") == 1
    assert ("Demo:" in again) == with_demo


def test_of_an_n8n_that_goes_with_the_demo_it_is_said_so(tmp_path: Path):
    beside = {"N8N_ENABLED": "true", "N8N_API_KEY": "k" * 32}
    url = {"N8N_WEBHOOK_URL": "http://127.0.0.1:5678/webhook"}
    for key, goes in (({}, True), ({"ANTHROPIC_API_KEY": "k"}, False)):
        settings = settings_of(HYBRIDFLOW_DATA=str(tmp_path), **beside, **url, **key)
        kept = keep_secrets(settings, with_n8n=True)
        text = banner(settings, kept, with_n8n=True, with_demo=True)
        assert ("goes with the demo" in text) == goes
        assert text.count("http://localhost:5678") == 1


def test_secrets_are_said_once_on_a_terminal_and_never_in_a_services_log(tmp_path: Path):
    logged = said(tmp_path / "service", with_demo=True, on_terminal=False)
    first = said(tmp_path / "person", with_demo=True, on_terminal=True)
    second = said(tmp_path / "person", with_demo=True, on_terminal=True)
    for place, text, shows in (
        ("service", logged, False),
        ("person", first, True),
        ("person", second, False),
    ):
        kept = (tmp_path / place / "secrets.env").read_text()
        for line in kept.splitlines():
            name, value = line.split("=", 1)
            assert (value in text) == (shows and name != "SECRETS_KEY"), (place, name)
    assert (tmp_path / "person" / "secrets.env").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("with_demo", [True, False])
@pytest.mark.parametrize("on_terminal", [True, False])
def test_where_the_secrets_are_is_said_at_every_start(
    tmp_path: Path, *, with_demo: bool, on_terminal: bool
):
    """The first start makes them, and may fail before it has said anything."""
    keep_secrets(settings_of(HYBRIDFLOW_DATA=str(tmp_path)), with_n8n=False)
    (line,) = [
        line
        for line in said(tmp_path, with_demo=with_demo, on_terminal=on_terminal).splitlines()
        if "Secrets:" in line
    ]
    assert str(tmp_path / "secrets.env") in line
    assert "scripts.serve --show-secrets" in line


def test_who_has_configured_every_secret_is_told_of_no_file(tmp_path: Path):
    made = keep_secrets(settings_of(HYBRIDFLOW_DATA=str(tmp_path)), with_n8n=False)
    empty = tmp_path / "empty"
    assert "Secrets" not in said(empty, with_demo=False, on_terminal=True, **made.values)


def test_who_asks_is_shown_the_secrets_but_the_one_that_nobody_types(tmp_path: Path):
    settings = settings_of(HYBRIDFLOW_DATA=str(tmp_path))
    assert "No secrets were made" in shown_secrets(settings)
    kept = keep_secrets(settings, with_n8n=False)
    shown = shown_secrets(settings)
    assert f"API_KEYS={kept.values['API_KEYS']}" in shown.splitlines()
    assert kept.values["SECRETS_KEY"] not in shown


def test_a_secret_that_is_needed_later_is_new_then_and_the_others_stay(tmp_path: Path):
    settings = settings_of(HYBRIDFLOW_DATA=str(tmp_path))
    first = keep_secrets(settings, with_n8n=False)
    later = keep_secrets(settings, with_n8n=True)
    assert later.new == ("N8N_API_KEY",)
    assert {name: later.values[name] for name in first.values} == first.values
    assert keep_secrets(settings, with_n8n=True) == Kept(later.values, ())


# --- what the played AI says


def asked(*texts: str) -> LlmRequest:
    messages = tuple(("user", text) for text in texts)
    return LlmRequest("/v1/messages", {}, {}, "m", "", messages, 100)


@pytest.mark.parametrize(
    ("heard", "answered"),
    [
        (("Hi! Are you open on Sunday?",), "Yes, on Sundays from 7 am to 1 pm."),
        (("And do you have something without milk?",), "The sourdough and the focaccia"),
        (("Oi! Vocês abrem no domingo?",), "Aos domingos abrimos das 7h às 13h."),
        (("¿Abren el domingo?",), "los domingos de 7 a 13 h"),
        (("Oi", "Quanto custa o bolo?", "Vocês entregam?"), "Entregamos num raio de 3 km"),
        (("Quanto custa o bolo?", "Vocês entregam?"), "R$ 32"),
        (("Qual o preço do bolo?",), "O bolo de cenoura sai por R$ 32."),
        (
            ("[the customer's name on WhatsApp: Marina]", "Vocês abrem no domingo?"),
            "Aos domingos abrimos das 7h às 13h.",
        ),
        (("???",), "Padaria Aurora"),
    ],
)
def test_the_played_ai_answers_what_was_asked_in_its_language(
    heard: tuple[str, ...], answered: str
):
    assert answered in baker.answer(asked(*heard)).text


# --- the router beside it


def router_that(*programs: str) -> tuple[Start, list[int]]:
    """Start these programs, one after the other; the list has the process of each."""
    started: list[int] = []
    waiting = list(programs)

    async def start() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", waiting.pop(0))
        started.append(process.pid)
        return process

    return start, started


DIES = "import os; os.kill(os.getpid(), 9)"
WAITS = "import signal; signal.pause()"


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_a_router_that_ends_by_itself_ends_it_with_its_code():
    start, started = router_that("import sys; sys.exit(3)")
    assert await keep_running(start, never()) == 3
    assert len(started) == 1


@pytest.mark.apart
async def test_a_router_that_is_killed_is_started_again():
    start, started = router_that(DIES, "import sys; sys.exit(0)")
    assert await keep_running(start, never()) == 0
    assert len(started) == 2


async def test_it_ends_with_the_demo_and_says_so_by_no_code():
    over = asyncio.Event()
    start, started = router_that(WAITS)
    keeping = asyncio.create_task(keep_running(start, over.wait()))
    await until(lambda: bool(started))
    over.set()
    assert await keeping is None
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


async def test_who_stops_it_stops_the_router():
    start, started = router_that(WAITS)
    keeping = asyncio.create_task(keep_running(start, never()))
    await until(lambda: bool(started))
    os.kill(os.getpid(), signal.SIGTERM)
    assert await keeping == 0
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
