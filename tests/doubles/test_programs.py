"""The loopback programs as processes of their own, scripted over HTTP."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from loopback.anthropic import Anthropic
from loopback.evolution import GLOBAL_KEY, Evolution
from loopback.moderation import ModerationService
from loopback.openai import OpenAI
from loopback.receiver import WebhookReceiver
from loopback.server import LoopbackServer
from loopback.speech import SpeechService
from loopback.supabase.project import Supabase
from loopback.supabase_auth import SupabaseAuth
from tests.clients import patient

MARIA = "5511988880001"
Start = Callable[..., str]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `python -m <module> ...` and return its address."""
    processes: list[subprocess.Popen[str]] = []

    def start_program(module: str, *arguments: str) -> str:
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        return process.stdout.readline().strip()

    yield start_program
    for process in processes:
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert process.stdout is not None
        process.stdout.close()


async def test_evolution_as_a_process_is_scripted_over_http(start: Start) -> None:
    url = start("loopback.evolution", "--instance", "shop")
    shop = f"{url}/_control/instances/shop"
    with WebhookReceiver() as router:
        async with patient(base_url=url, headers={"apikey": GLOBAL_KEY}) as http:
            webhook = {"enabled": True, "url": router.url, "events": ["MESSAGES_UPSERT"]}
            await http.post("/webhook/set/shop", json={"webhook": webhook})

            written = await http.post(f"{shop}/customers/{MARIA}", json={"text": "oi"})
            assert written.json()["state"] == "delivered"
            await http.post(f"{shop}/owner/{MARIA}", json={"text": "deixa comigo", "device": "web"})
            assert [received.data["key"]["fromMe"] for received in router.received] == [False, True]

            fault = {"fault": "taken_then_broken", "times": 1}
            await http.post(f"{shop}/faults/sendText", json=fault)
            body = {"number": MARIA, "text": "olá"}
            await http.post(f"{shop}/socket", json={"seconds": 0.01, "times": 1})
            statuses = [
                (await http.post("/message/sendText/shop", json=body)).status_code for _ in range(2)
            ]
            assert statuses == [500, 201]

            phone = (await http.get(f"{shop}/customers/{MARIA}")).json()
            assert [message["author"] for message in phone] == ["customer", "owner", "api", "api"]
            calls = (await http.get(f"{shop}/calls/sendText")).json()
            assert [call["status"] for call in calls] == [500, 201]


async def test_what_the_control_does_not_know_is_400(start: Start) -> None:
    shop = start("loopback.evolution") + "/_control/instances/nova"
    async with patient() as http:
        made = await http.post(shop, json={"channel": "WHATSAPP-BUSINESS", "token": "t"})
        assert made.json() == {"name": "nova", "token": "t", "channel": "WHATSAPP-BUSINESS"}
        for path, body in (
            (f"/customers/{MARIA}", {"does": "dances"}),
            (f"/owner/{MARIA}", {"does": "dances"}),
            ("/faults/sendText", {"fault": "earthquake"}),
        ):
            assert (await http.post(shop + path, json=body)).status_code == 400
        assert (await http.delete(f"{shop}/faults")).status_code == 204


async def test_anthropic_as_a_process(start: Start) -> None:
    url = start("loopback.anthropic", "--key", "sk-ant-right")
    messages: Any = [{"role": "user", "content": "oi"}]
    async with (
        patient(base_url=f"{url}/_control") as control,
        anthropic.AsyncAnthropic(api_key="sk-ant-right", base_url=url, max_retries=0) as client,
    ):
        await control.post("/answers", json={"texts": ["olá!"]})
        await control.post("/faults", json={"fault": "overloaded"})
        ask = client.messages.create
        with pytest.raises(anthropic.OverloadedError):
            await ask(model="claude-haiku-5-5", max_tokens=16, messages=messages)
        answer: Any = await ask(model="claude-haiku-5-5", max_tokens=16, messages=messages)
        assert answer.content[0].text == "olá!"
        asked = (await control.get("/requests")).json()
        assert [each["status"] for each in asked] == [529, 200]
        assert (await control.delete("/faults")).status_code == 204


async def test_openai_as_a_process(start: Start) -> None:
    url = start("loopback.openai")
    messages: Any = [{"role": "user", "content": "oi"}]
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1") as client:
        answer = await client.chat.completions.create(model="gpt-5.4-mini", messages=messages)
    assert answer.choices[0].message.content == "Olá! Sobre «oi»: já vou ajudar você."


PROGRAMS: tuple[Callable[[], LoopbackServer], ...] = (
    *(Evolution, Anthropic, OpenAI, ModerationService, WebhookReceiver, SupabaseAuth),
    SpeechService,
)
PAGES = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:8000"},  # our own page asks the router, never these
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Host": "evil.example"},  # a name of its own that leads to 127.0.0.1
    {"Host": "localhost.evil.example"},
    {"Host": ""},
)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_no_page_in_a_browser_reaches_the_control_of_any_program(
    program: Callable[[], LoopbackServer],
) -> None:
    with program() as running:
        async with patient(base_url=running.url) as http:
            for path in ("/_control/faults", "/_control/requests", "/_control"):
                for method in ("GET", "POST", "DELETE"):
                    for headers in PAGES:
                        refused = await http.request(method, path, headers=headers, json={})
                        assert refused.status_code == 403, (method, path, headers)
                        assert "for programs" in refused.text
            for path in ("/_control/requests", "/_control/instances/nobody/calls/sendText"):
                assert (await http.get(path)).status_code != 403, path


def test_that_is_every_program() -> None:
    """One more is to stand in the list above."""
    with_a_database = {Supabase}  # it answers by the same way, and has no control of its own
    assert {*PROGRAMS, *with_a_database} == {
        each
        for kind in LoopbackServer.__subclasses__()
        for each in (kind, *kind.__subclasses__())
        if not inspect.isabstract(each) and each.__module__.startswith("loopback.")
    }
