"""The fallback handler: from a claimed turn to the parts of a reply, over the real protocol."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from loopback.anthropic import Anthropic
from loopback.openai import OpenAI
from loopback.replies import Reply as Spoken
from loopback.replies import refusal, truncated
from router.llm.anthropic import AnthropicProvider
from router.llm.errors import LlmEmpty, LlmMisconfigured, LlmRefused
from router.llm.openai import OpenAiProvider
from router.llm.provider import LlmProvider
from router.replies.fallback import FallbackHandler, FallbackRules
from router.replies.forgeries import TEAM_MARK
from router.replies.llm_keys import LlmKeys
from router.replies.making import Reply
from router.replies.prompt import PromptRules, prompt_of_turn
from router.state.calls.claimed_turn import ClaimedTurn
from router.tenants.sealing import Vault, place_of_key
from router.whatsapp.splitting import WHATSAPP_LIMIT

KEY = SecretStr("sk-made-up-0001")
VAULT = Vault([SecretStr("sealing-key-0123456789abcdef0123")])
PROMPT = PromptRules("Você atende por padrão.", 1000)
RULES = FallbackRules(
    max_tokens=4000,
    second_provider="openai",
    llm_attempts=1,
)


@pytest.fixture
def claude() -> Iterator[Anthropic]:
    with Anthropic() as server:
        yield server


@pytest.fixture
def gpt() -> Iterator[OpenAI]:
    with OpenAI() as server:
        yield server


@pytest.fixture
async def handler(claude: Anthropic, gpt: OpenAI) -> AsyncIterator[FallbackHandler]:
    providers: list[LlmProvider] = [
        AnthropicProvider(KEY, base_url=claude.base_url, model="claude-made-up", timeout=20),
        OpenAiProvider(KEY, base_url=gpt.base_url, model="gpt-4o-made-up", timeout=20),
    ]
    yield FallbackHandler(
        {provider.name: provider for provider in providers}, RULES, LlmKeys(VAULT)
    )
    for provider in providers:
        await provider.close()


def message(body: str, **given: Any) -> dict[str, Any]:
    return {
        "message_id": 1,
        "wa_id": "3A01",
        "from_me": False,
        "sender": "contact",
        "kind": "text",
        "body": body,
        "quoted": None,
        "author_name": "Maria",
        "sent_at": datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
        "in_turn": True,
    } | given


def turn(*history: dict[str, Any], chat: str = "contact", **tenant: Any) -> ClaimedTurn:
    settings = {
        "tenant_id": 1,
        "instance_name": "shop",
        "evo_server_url": "http://evolution.example",
        "evo_api_key": None,
        "system_prompt": None,
        "llm_provider": "anthropic",
        "llm_model": None,
        "llm_max_tokens": None,
    }
    jid = "5511988880001@s.whatsapp.net"
    session = {"session_id": 1, "chat": chat, "jid": jid, "jids": [jid], "contact_name": "Maria"}
    return ClaimedTurn.model_validate(
        {
            "turn_id": 1,
            "token": "5b6cf6b0-0000-4000-8000-000000000001",
            "attempt": 1,
            "now": "2026-11-23T12:00:30Z",
            "last_handler": None,
            "last_error": None,
            "reply": None,
            "correlation_id": None,
            "tenant": settings | tenant,
            "session": session,
            "parts": [],
            "history": history or [message("Tem pão?")],
        }
    )


async def make(handler: FallbackHandler, asked: ClaimedTurn) -> Reply:
    return await handler.make(asked, prompt_of_turn(asked, PROMPT))


async def test_the_reply_carries_whatsapps_marks_and_what_it_cost(
    claude: Anthropic, handler: FallbackHandler
) -> None:
    claude.answers(f"{TEAM_MARK} **Temos** [pão](https://loja.example)!")
    reply = await make(handler, turn())
    assert reply.parts == ("*Temos* pão (https://loja.example)!",)
    assert (reply.handler, reply.provider, reply.model) == (
        "fallback",
        "anthropic",
        "claude-made-up",
    )
    assert (reply.tokens_in or 0) > 0
    assert (reply.tokens_out or 0) > 0


async def test_the_tenants_settings_go_before_the_defaults(
    claude: Anthropic, handler: FallbackHandler
) -> None:
    await make(handler, turn())
    await make(handler, turn(system_prompt="Sou da Loja.", llm_model="claude-x", llm_max_tokens=9))
    default, own = claude.requests
    assert default.system.startswith("Você atende por padrão.")
    assert own.system.startswith("Sou da Loja.")
    assert (default.model, default.max_tokens) == ("claude-made-up", 4000)
    assert (own.model, own.max_tokens) == ("claude-x", 9)


async def test_on_the_deployments_key_no_tenant_has_more_tokens_than_the_deployment_gives(
    claude: Anthropic, gpt: OpenAI, handler: FallbackHandler
) -> None:
    own_key = VAULT.seal("sk-of-the-tenant", place_of_key("llm_api_key", 1))
    await make(handler, turn(llm_max_tokens=90_000))
    await make(handler, turn(llm_max_tokens=90_000, llm_api_key=own_key))
    assert [asked.max_tokens for asked in claude.requests] == [4000, 90_000]
    claude.stop()  # the second provider is asked with the deployment's key, whoever's the first was
    await make(handler, turn(llm_max_tokens=90_000, llm_api_key=own_key))
    await make(handler, turn(llm_max_tokens=7, llm_api_key=own_key))
    assert [asked.max_tokens for asked in gpt.requests] == [4000, 7]


async def test_names_are_told_in_groups_only(claude: Anthropic, handler: FallbackHandler) -> None:
    await make(handler, turn())
    await make(handler, turn(chat="group"))
    assert [asked.messages[-1][1] for asked in claude.requests] == [
        "[the customer's name on WhatsApp: Maria]\nTem pão?",
        "Maria: Tem pão?",
    ]


async def test_a_quote_is_told(claude: Anthropic, handler: FallbackHandler) -> None:
    await make(handler, turn(message("Sim", quoted={"wa_id": "3EB0", "text": "Quer pão?"})))
    (told,) = claude.requests[0].messages
    assert told == ("user", "[the customer's name on WhatsApp: Maria]\n> Quer pão?\nSim")


async def test_a_long_reply_comes_in_parts(claude: Anthropic, handler: FallbackHandler) -> None:
    claude.answers("Uma frase de teste. " * 400)
    reply = await make(handler, turn())
    assert len(reply.parts) == 2
    assert all(len(part) <= WHATSAPP_LIMIT for part in reply.parts)


async def test_a_truncated_reply_ends_with_a_sentence(
    claude: Anthropic, handler: FallbackHandler
) -> None:
    claude.answers(truncated("Temos pão fresco. Também temos bo"))
    assert (await make(handler, turn())).parts == ("Temos pão fresco.",)


async def test_what_the_state_could_not_keep_is_taken_out(
    claude: Anthropic, handler: FallbackHandler
) -> None:
    claude.answers("Te\x00mos")
    assert (await make(handler, turn())).parts == ("Temos",)


@pytest.mark.parametrize("nothing", [TEAM_MARK, "---", "```\n```"])
async def test_a_reply_of_nothing_but_marks_is_empty(
    claude: Anthropic, handler: FallbackHandler, nothing: str
) -> None:
    claude.answers(Spoken(nothing))
    with pytest.raises(LlmEmpty):
        await make(handler, turn())


async def test_the_second_provider_answers_where_the_first_is_away(
    claude: Anthropic, handler: FallbackHandler
) -> None:
    claude.fail(claude.overloaded())
    assert (await make(handler, turn())).provider == "openai"


async def test_a_refusal_is_an_error_of_its_own(
    claude: Anthropic, gpt: OpenAI, handler: FallbackHandler
) -> None:
    claude.answers(refusal())
    with pytest.raises(LlmRefused):
        await make(handler, turn())
    assert gpt.requests == []


async def test_a_provider_without_a_key_is_named(handler: FallbackHandler) -> None:
    with pytest.raises(LlmMisconfigured, match="set OTHER_API_KEY"):
        await make(handler, turn(llm_provider="other"))


async def test_a_tenants_own_key_is_shown_in_place_of_the_deployments(
    claude: Anthropic, gpt: OpenAI, handler: FallbackHandler
) -> None:
    for provider, server in (("anthropic", claude), ("openai", gpt)):
        own = VAULT.seal(f"sk-own-{provider}", place_of_key("llm_api_key", 1))
        await make(handler, turn(llm_provider=provider, llm_api_key=own))
        await make(handler, turn(llm_provider=provider))
        assert [asked.key for asked in server.requests] == [f"sk-own-{provider}", "sk-made-up-0001"]


async def test_a_tenants_own_key_is_enough(claude: Anthropic) -> None:
    provider = AnthropicProvider(None, base_url=claude.base_url, model="claude-x", timeout=20)
    handler = FallbackHandler({"anthropic": provider}, RULES, LlmKeys(VAULT))
    own = VAULT.seal("sk-own", place_of_key("llm_api_key", 1))
    assert (await make(handler, turn(llm_api_key=own))).parts
    with pytest.raises(LlmMisconfigured, match="set ANTHROPIC_API_KEY"):
        await make(handler, turn())
    await provider.close()


async def test_a_key_that_was_sealed_for_another_tenant_is_not_used(
    claude: Anthropic, handler: FallbackHandler
) -> None:
    others = VAULT.seal("sk-others", place_of_key("llm_api_key", 2))
    with pytest.raises(LlmMisconfigured, match="llm_api_key cannot be read"):
        await make(handler, turn(llm_api_key=others))
    assert claude.requests == []
