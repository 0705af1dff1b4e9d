"""The simulated programs: Evolution with its phones and, without a real LLM key, the LLM."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from loopback.anthropic import Anthropic
from loopback.evolution import Business, Evolution
from router.configuration.demo import Demo
from router.configuration.settings import Settings
from router.evolution.subscription import SUBSCRIBED_EVENTS
from router.state.database import Database
from router.tenants.demo import TENANT_ID, begin_demo
from scripts.demo_business import baker
from scripts.demo_business.wanted import has_llm_key, played_llm

INSTANCE = "demo-padaria-aurora"
_PROFILE = "Padaria Aurora"
_NUMBER = "5511900000001"
_THINKS = 3.0  # seconds: time for a person to write as the owner


@dataclass(frozen=True, slots=True)
class Stage:
    """The simulated programs, and the business with its phones."""

    evolution: Evolution
    llm: Anthropic | None
    shop: Business

    @property
    def demo(self) -> Demo:
        """What the router needs to know about the demo."""
        llm_url = None if self.llm is None else self.llm.url
        return Demo(TENANT_ID, INSTANCE, self.evolution.url, llm_url)

    @property
    def variables(self) -> dict[str, str]:
        """The variables that the demo adds to the router's configuration."""
        return {} if self.llm is None else played_llm(self.llm.url)

    async def open_shop(self, database: Database, settings: Settings) -> None:
        """Create the tenant, without any messages. Raises Conflict if there is a real one."""
        values = {
            "instance_name": INSTANCE,
            "evo_server_url": self.evolution.url,
            "evo_api_key": self.shop.token,
            "system_prompt": baker.PROMPT,
            "llm_provider": settings.llm_provider if self.llm is None else "anthropic",
            "loop_replies": 0,  # people who try it may write as quickly as a bot
        }
        await begin_demo(database, settings, values)


@contextmanager
def stage(settings: Settings) -> Iterator[Stage]:
    """Run the simulated programs; webhooks go to the router with this configuration."""
    with (
        Evolution(key=secrets.token_urlsafe(24), delay_scale=1.0) as evolution,
        nullcontext() if has_llm_key(settings) else Anthropic() as llm,
    ):
        shop = evolution.instance(
            INSTANCE, token=secrets.token_urlsafe(24), number=_NUMBER, profile=_PROFILE
        )
        secret = settings.webhook_secrets[0].get_secret_value()
        shop.sends_webhooks_to(
            f"http://127.0.0.1:{settings.api_port}/webhook/{INSTANCE}",
            headers={"X-Webhook-Secret": secret},
            events=SUBSCRIBED_EVENTS,
        )
        if llm is not None:
            llm.answers_always(baker.answer)
            llm.fail(llm.is_late(_THINKS), times=None)
        yield Stage(evolution, llm, shop)
