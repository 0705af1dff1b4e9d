"""How an LLM's account is looked at for no token: what answers mean, and how seldom it is asked."""

import asyncio
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from loopback.anthropic import Anthropic
from loopback.faults import Fault, cut, hang, wrong_answer
from loopback.llm import LlmServer
from loopback.openai import OpenAI
from router.http.accounts import judge_accounts
from router.llm import sdk
from router.llm.anthropic import AnthropicProvider
from router.llm.errors import LlmAccountRefused
from router.llm.looks import Looks
from router.llm.openai import OpenAiProvider
from router.llm.provider import LlmProvider, Prompt, PromptMessage
from router.llm.sdk import SdkProvider
from router.llm.standing import Known, judge_list, newest

KEY = SecretStr("sk-made-up-000000000001")
PROMPT = Prompt("Você atende a Loja.", (PromptMessage("user", "Oi"),))
PAGE = ("<html><title>Not Found</title></html>", {"content-type": "text/html"})


def provider_of(server: LlmServer, key: SecretStr = KEY) -> SdkProvider:
    made = AnthropicProvider if isinstance(server, Anthropic) else OpenAiProvider
    return made(key, base_url=server.base_url, model="made-up", timeout=20)


BAD: dict[str, tuple[Callable[[LlmServer], Fault], str]] = {
    "401": (lambda llm: llm.bad_key(), "account_refused"),
    "a key that may only answer": (lambda _: OpenAI().may_only_answer(), "unknown"),
    "403 of a proxy": (lambda _: wrong_answer(403, {"error": "no"}), "unknown"),
    "402": (lambda _: wrong_answer(402, {}), "account_empty"),
    "no credit": (lambda llm: llm.no_credit(), "account_empty"),
    "429": (lambda llm: llm.rate_limited(), "unknown"),
    "404": (lambda _: wrong_answer(404, {"detail": "Not Found"}), "unknown"),
    "405": (lambda _: wrong_answer(405, {}), "unknown"),
    "501": (lambda _: wrong_answer(501, {}), "unknown"),
    "no JSON": (lambda _: wrong_answer(200, *PAGE), "unknown"),
    "500": (lambda llm: llm.broken(), "away"),
    "overloaded": (lambda llm: llm.overloaded(), "away"),
    "cut": (lambda _: cut(), "away"),
    "hangs": (lambda _: hang(), "unknown"),
}


async def test_what_the_providers_answer_to_a_look(monkeypatch: pytest.MonkeyPatch):
    """Only a refused or empty account is one; a server without such a list is never down."""
    monkeypatch.setattr(sdk, "_LOOK_SECONDS", 0.5)
    for server in (Anthropic(key=KEY.get_secret_value()), OpenAI(key=KEY.get_secret_value())):
        with server as llm:
            provider = provider_of(llm)
            await provider.load()
            await provider.look()
            assert provider.known is not None
            assert (provider.known.standing, provider.known.by) == ("works", "look")
            for name, (fault, standing) in BAD.items():
                llm.fail_list(fault(llm))
                fresh = provider.with_key(SecretStr(f"{KEY.get_secret_value()}-{name}"))
                await fresh.look()
                assert fresh.known is not None
                assert fresh.known.standing == standing, name
                judged = judge_accounts(fresh.name, {fresh.name: fresh.known})
                is_refused = standing.startswith("account")
                assert judged.status == ("error" if is_refused else "ok"), name
                assert KEY.get_secret_value() not in judged.message
                llm.heal()
            assert llm.requests == []  # and no token was spent
            await provider.close()


async def test_a_turn_tells_more_than_a_look_and_the_newer_one_holds():
    with Anthropic() as llm:
        provider = provider_of(llm)
        await provider.look()
        llm.fail(llm.no_credit())
        with pytest.raises(LlmAccountRefused):
            await provider.complete(PROMPT, model=None, max_tokens=100)
        await provider.look()  # the list is shown to an account without credit, too
        assert provider.known is not None
        assert provider.known.standing == "account_empty"
        await provider.complete(PROMPT, model=None, max_tokens=100)
        assert (provider.known.standing, provider.known.by) == ("works", "turn")
        llm.fail_list(llm.bad_key())
        await provider.look()
        assert provider.known.standing == "account_refused"
        assert provider.with_key(SecretStr("another")).known is None
        await provider.close()


def test_what_a_look_cannot_see_takes_nothing_back():
    def known(standing: object, by: object = "look") -> Known:
        return Known(standing, "", 0.0, by)  # type: ignore[arg-type]

    refused, works = known("account_refused", "turn"), known("works", "turn")
    assert newest(refused, known("unknown")) is refused
    assert newest(refused, known("away")) is refused
    assert newest(refused, known("works")).standing == "works"
    assert newest(works, known("unknown")) is works
    assert newest(works, known("away")).standing == "away"
    assert newest(known("account_empty", "turn"), known("account_refused")).is_refused
    assert judge_list(400, "", "Your credit balance is too low")[0] == "account_empty"


class Counted:
    """A provider of which it is counted how often each key is looked at."""

    name = "openai"
    has_key = True

    def __init__(self, account: str = "ours") -> None:
        self.account = account
        self.known: Known | None = None
        self.looks: list[str] = []
        self.gate = asyncio.Event()

    def with_key(self, key: SecretStr) -> "Counted":
        other = Counted(key.get_secret_value())
        other.looks, other.gate = self.looks, self.gate
        return other

    async def look(self) -> None:
        self.looks.append(self.account)
        await self.gate.wait()


def looks_of(provider: object, clock: Callable[[], float]) -> Looks:
    given: dict[str, LlmProvider] = {"openai": provider}  # type: ignore[dict-item]
    return Looks(given, clock=clock)


async def test_nobody_waits_for_a_look_at_the_deployments_key_and_it_is_asked_seldom():
    now = 0.0
    ours = Counted()
    looks = looks_of(ours, lambda: now)
    for _ in range(100):
        assert looks.of_deployment() == {"openai": None}  # at once, though it hangs
    await asyncio.sleep(0)
    assert ours.looks == ["ours"]
    ours.known = Known("works", "", 0.0, "look")
    ours.gate.set()
    await looks.of_account("openai", None)
    for now, count in ((200.0, 1), (301.0, 2), (310.0, 2)):
        looks.of_deployment()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(ours.looks) == count, now
    ours.known = Known("works", "", 600.0, "turn")
    now = 700.0
    looks.of_deployment()
    await asyncio.sleep(0)
    assert len(ours.looks) == 2  # a turn has told
    await looks.close()


async def test_a_refusal_is_logged_once_until_the_key_has_worked(
    caplog: pytest.LogCaptureFixture,
):
    now = 0.0
    ours = Counted()
    ours.gate.set()
    looks = looks_of(ours, lambda: now)
    told: list[int] = []
    met = (("account_refused", "look"), ("account_refused", "look"), ("works", "turn"))
    for standing, by in (*met, ("account_refused", "look"), ("account_refused", "turn")):
        now += 1000.0
        ours.known = Known(standing, "", 0.0, by)  # type: ignore[arg-type]
        await looks.of_account("openai", None)
        told.append(sum("refuses the key" in each.getMessage() for each in caplog.records))
    assert told == [1, 1, 1, 2, 2]


async def test_a_thousand_tenants_do_not_hammer_the_provider():
    ours = Counted()
    ours.gate.set()
    looks = looks_of(ours, lambda: 0.0)
    keys = [SecretStr(f"key {number}") for number in range(1000)]
    for key in keys * 2:
        await looks.of_account("openai", key)
    assert ours.looks == [f"key {number}" for number in range(30)]
    await looks.of_account("openai", None)
    assert ours.looks[-1] == "ours"  # the deployment's own does not stand behind them
    assert await looks.of_account("nobody", None) is None
