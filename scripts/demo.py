"""Play a whole conversation without any account: `make demo`.

The customer, the owner, Evolution, the LLM and the speech service are programs on loopback. The
router and its PostgreSQL are real, and so is n8n with `--n8n` (`make demo N8N=1`). With `--llm
anthropic` or `openai` a real model replies. Exits with 1 if the conversation does not go as it
should.
"""

import argparse
import asyncio
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import httpx

from loopback.anthropic import Anthropic
from loopback.evolution import Business, Customer, Evolution, contents
from loopback.speech import SpeechService
from loopback.tts import tone
from router.app import create_app
from router.configuration.settings import ConfigurationError, load_settings
from router.embedded.ports import free_port
from router.evolution.subscription import SUBSCRIBED_EVENTS
from router.logs.setup import configure_logging
from router.serving.server import Server, server_config
from router.speech.opus import voice_note
from scripts.n8n.installation import InstallationFailed
from scripts.n8n.launch import running_n8n
from scripts.n8n.server import N8nDidNotStart
from scripts.running import called

_SECRET = secrets.token_urlsafe(24)
_PAUSE_SECONDS = 6
_PATIENCE = 120
_ANSWERS = (
    "Oi, Maria! Sim, temos bolo de *cenoura* e de *fubá*. O de cenoura sai por R$ 32. Quer um?",
    "Temos, sim! O de fubá sai por *R$ 28*. Separo um, também?",
    "Claro! Abrimos às *7h* todos os dias.",
)
_SPOKEN = "E o de fubá, quanto custa?"
_PROMPT = "You answer for Padaria Sol, a bakery in São Paulo. Carrot cake costs R$ 32. Be brief."


class WentWrong(Exception):
    """The conversation did not go as it should."""


def main() -> int:
    """Play the conversation. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=called("scripts.demo"), description=__doc__)
    parser.add_argument("--llm", choices=["loopback", "anthropic", "openai"], default="loopback")
    parser.add_argument("--n8n", action="store_true", help="n8n makes the replies")
    given = parser.parse_args()
    key = f"{given.llm.upper()}_API_KEY"
    if given.llm != "loopback" and not os.environ.get(key):
        print(f"LLM={given.llm} needs {key} in the environment.", file=sys.stderr)
        return 1
    try:
        _play(given.llm, with_n8n=given.n8n)
    except (WentWrong, ConfigurationError, InstallationFailed, N8nDidNotStart) as error:
        print(f"\n  ✗ {error}", file=sys.stderr)
        return 1
    return 0


def _play(llm_name: str, *, with_n8n: bool) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(_fleeting_folder())
        evolution = stack.enter_context(Evolution())
        llm = stack.enter_context(Anthropic() if llm_name == "loopback" else nullcontext())
        if llm is not None:
            for answer in _ANSWERS:
                llm.answers(answer)
        speech = stack.enter_context(SpeechService())
        speech.hears = lambda _: _SPOKEN
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        configuration = _configuration(folder, llm_name, llm) | {
            "N8N_ROUTER_URL": url,
            "STT_BASE_URL": speech.base_url,
            "STT_API_KEY": "stt-loopback-needs-none",
        }
        if with_n8n:
            configuration |= stack.enter_context(_n8n(configuration))
        asyncio.run(_perform(configuration, listener, evolution, llm_name))


@contextmanager
def _n8n(configuration: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Start an n8n of the demo's own, and yield the variables with which a router uses it."""
    added = {"N8N_PORT": str(free_port()), "N8N_API_KEY": _SECRET}
    settings = load_settings({**configuration, **added}, env_file=None)
    with running_n8n(settings, lambda text: print(text, flush=True)) as server:
        yield {**added, "N8N_ENABLED": "true", "N8N_WEBHOOK_URL": f"{server.home.url}/webhook"}


async def _perform(
    configuration: Mapping[str, str], listener: socket.socket, evolution: Evolution, llm_name: str
) -> None:
    llm = "a loopback LLM" if llm_name == "loopback" else llm_name
    parts = f"PostgreSQL, the router, a loopback Evolution API and {llm}"
    print(f"Starting {parts} … ", end="", flush=True)
    async with _router(configuration, listener) as url:
        shop = await _open_shop(evolution, url, llm_name)
        print(f"ready: {url}\n")
        await _converse(shop, shop.customer("5511955550001", name="Maria"), url)


@contextmanager
def _fleeting_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hybridflow-demo-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        yield folder


def _configuration(folder: Path, llm_name: str, llm: Anthropic | None) -> dict[str, str]:
    configuration = {
        "HYBRIDFLOW_DATA": str(folder),
        "EVOLUTION_WEBHOOK_SHARED_SECRET": _SECRET,
        "CRON_SECRET": _SECRET,
        "API_KEYS": f"demo:{_SECRET}",
        "RESUME_AFTER_HOURS": str(_PAUSE_SECONDS / 3600),
        "LOG_LEVEL": "error",
        "MEDIA_WAIT_SECONDS": str(_PATIENCE),  # a slow machine takes long to load the SDK
    }
    if llm is not None:
        return configuration | {
            "ANTHROPIC_API_KEY": "sk-ant-loopback-needs-none",
            "ANTHROPIC_BASE_URL": llm.url,
        }
    given = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("ANTHROPIC_", "OPENAI_"))
    }
    return configuration | given | {"LLM_PROVIDER": llm_name, "LLM_TIMEOUT": "30"}


@asynccontextmanager
async def _router(configuration: Mapping[str, str], listener: socket.socket) -> AsyncIterator[str]:
    settings = load_settings(configuration, env_file=None)
    configure_logging(settings, sys.stderr)
    server = Server(server_config(create_app(settings), settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        if serving.done():
            raise WentWrong("the router did not start: see above")
        await asyncio.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def _open_shop(evolution: Evolution, url: str, llm_name: str) -> Business:
    shop = evolution.instance("padaria-sol", profile="Padaria Sol")
    shop.sends_webhooks_to(
        f"{url}/webhook/padaria-sol",
        headers={"X-Webhook-Secret": _SECRET},
        events=SUBSCRIBED_EVENTS,
    )
    tenant = {
        "instance_name": "padaria-sol",
        "evo_server_url": evolution.url,
        "evo_api_key": shop.token,
        "system_prompt": _PROMPT,
        "llm_provider": "anthropic" if llm_name == "loopback" else llm_name,
    }
    await _post(f"{url}/api/tenants", tenant)
    return shop


async def _converse(shop: Business, maria: Customer, url: str) -> None:
    screen = Screen(maria)
    _heading("Maria writes three quick messages; she gets one reply.")
    for text in ("Oi!", "Vocês têm bolo?", "Quanto custa o de cenoura?"):
        await maria.writes(text)
        screen.show()
    await maria.answered(within=_PATIENCE)
    screen.show()
    await _expect(maria, replies=1)

    _heading("Maria sends a voice note; it is heard, and answered like a text.")
    await _speaks(shop, maria)
    await maria.answered(2, within=_PATIENCE)
    screen.show(heard=await _heard(url))
    await _expect(maria, replies=2)

    _heading("The owner writes by hand; the AI falls silent.")
    await shop.owner.writes(maria, "Oi Maria, aqui é a Ana. Separo um de cenoura para você!")
    screen.show()
    await maria.writes("Obrigada, Ana! Passo às 5.")
    screen.show()
    await _expect(maria, replies=2)

    _heading(f"The pause runs out (here after {_PAUSE_SECONDS} seconds); the AI is back.")
    await asyncio.sleep(_PAUSE_SECONDS)
    await maria.writes("E a que horas vocês abrem amanhã?")
    screen.show()
    await maria.answered(3, within=_PATIENCE)
    screen.show()
    await _expect(maria, replies=3)

    found = await _get(f"{url}/api/sessions?tenant_id=1")
    if len(found["items"]) != 1:
        raise WentWrong(f"one customer has {len(found['items'])} sessions")
    print("\n  ✓ Three replies, one conversation, and nobody was talked over.")


async def _speaks(shop: Business, maria: Customer) -> None:
    """Have her send a voice note: in the real format, with a tone in place of her voice."""
    sound, seconds = await asyncio.to_thread(voice_note, tone(3.0))
    sent = maria.sends(contents.voice(round(seconds)))
    shop.received[sent.wa_id] = sound
    await sent


async def _heard(url: str) -> str:
    """Return the voice note's transcript. Raises WentWrong."""
    found = await _get(f"{url}/api/messages?tenant_id=1")
    words = [each["transcript"] for each in found["items"] if each["transcript"]]
    if words != [_SPOKEN]:
        raise WentWrong(f"the voice note's transcript is {words}, not {_SPOKEN!r}")
    return _SPOKEN


_NAMES = {"customer": "Maria", "owner": "Ana (owner)", "api": "HybridFlow"}


class Screen:
    """Prints the new messages on the customer's phone."""

    def __init__(self, customer: Customer) -> None:
        self._customer = customer
        self._shown = 0

    def show(self, heard: str = "") -> None:
        """Print the messages since the last call; a voice note with its transcript."""
        for message in self._customer.transcript[self._shown :]:
            name = _NAMES.get(message.author, message.author)
            text = f"(voice note) “{heard}”" if message.text == "<audio>" else message.text
            first, *rest = text.splitlines()
            print(f"  {time.strftime('%H:%M:%S')}  {name:>11}  {first}")
            for line in rest:
                print(" " * 25 + line)
            self._shown += 1


async def _expect(maria: Customer, *, replies: int) -> None:
    """Check the number of replies, after a wait in which an unwanted one would come."""
    await asyncio.sleep(3)
    if len(maria.replies) != replies:
        raise WentWrong(f"{len(maria.replies)} replies are on the phone, not {replies}")


async def _post(url: str, body: Mapping[str, object]) -> None:
    async with httpx.AsyncClient(headers={"X-API-Key": _SECRET}, timeout=_PATIENCE) as client:
        answer = await client.post(url, json=body)
    if answer.status_code >= 300:
        raise WentWrong(f"{url}: {answer.text}")


async def _get(url: str) -> dict[str, list[dict[str, object]]]:
    async with httpx.AsyncClient(headers={"X-API-Key": _SECRET}, timeout=_PATIENCE) as client:
        answered: dict[str, list[dict[str, object]]] = (await client.get(url)).json()
    return answered


def _heading(text: str) -> None:
    print(f"\n{text}\n")


if __name__ == "__main__":
    sys.exit(main())
