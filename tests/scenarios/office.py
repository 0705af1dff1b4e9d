"""The operators' API over the real state, called over HTTP in the process: a desk to work at."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
from fastapi import FastAPI

from router.api.dependencies import ApiServices
from router.api.routes import ROUTES as OPERATORS_ROUTES
from router.configuration.settings import Settings, load_settings
from router.evolution.client import EvolutionClient
from router.feed.opening import Hearing, make_streams
from router.gate.user_tokens import UserTokens, token_rules
from router.http.errors import install_error_handlers
from router.http.services import provide
from router.llm.looks import Looks
from router.outbound.client import open_tenant_http
from router.replies.opening import open_providers
from router.state.direct import DirectDatabase
from tests.services import api_services
from tests.state.conversation import Conversation

KEY = "key-of-the-office-000000000001"
OTHER_KEY = "key-of-the-night-shift-0000002"
CRON_SECRET = "cron-secret-0000000000000003"
WEBHOOK_SECRET = "webhook-secret-0000000000004"
CONFIGURATION = {
    "API_KEYS": f"office:{KEY},night:{OTHER_KEY}",
    "CRON_SECRET": CRON_SECRET,
    "EVOLUTION_WEBHOOK_SHARED_SECRET": WEBHOOK_SECRET,
    "ALLOWED_NETWORKS": "127.0.0.0/8",
    "ANTHROPIC_API_KEY": "sk-ant-made-up-for-tests",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",  # nobody is there
}


class Office:
    """One tenant, `shop` (id 1); `api` shows a right key, `talk` is the conversation behind it."""

    def __init__(self, app: FastAPI, services: ApiServices, talk: Conversation) -> None:
        self.app = app
        self.services = services
        self.talk = talk
        self.wakes = 0
        self.api = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://router",
            headers={"X-API-Key": KEY},
        )
        self.change(wake=self._wake)

    def _wake(self, due_in: float = 0.0) -> None:
        self.wakes += 1

    def change(self, **changes: Any) -> None:
        """Have the office work with other services from now on."""
        self.services = replace(self.services, **changes)
        provide(self.app, self.services)

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        answer = await self.api.get(path, params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(self, path: str, status: int = 200, *, json: object = None, **query: Any) -> Any:
        answer = await self.api.post(path, params=query, json=json)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def patch(self, path: str, status: int = 200, *, json: object = None) -> Any:
        answer = await self.api.patch(path, json=json)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def cron(self, secret: str | None = CRON_SECRET) -> httpx.Response:
        headers = {} if secret is None else {"X-Cron-Secret": secret}
        return await self.api.post("/cron/auto-resume", headers=headers)


def settings_with(changes: Mapping[str, str | None]) -> Settings:
    """Settings for tests; None takes a variable away."""
    given = {**CONFIGURATION, **changes}
    return load_settings({name: text for name, text in given.items() if text}, env_file=None)


@asynccontextmanager
async def open_office(database_url: str, **changes: str | None) -> AsyncIterator[Office]:
    """Open an office over a fresh database, with the configuration changed as said."""
    database = await DirectDatabase.connect(database_url)
    settings = settings_with(changes)
    async with open_tenant_http(settings, timeout=5) as out, open_looks(settings) as looks:
        tokens = UserTokens(out, token_rules(settings))
        services = api_services(settings, database, EvolutionClient(out), tokens, looks=looks)
        office = Office(build_app(services), services, Conversation(database))
        async with office.api:
            await office.talk.open_shop()
            yield office
    await database.close()


@asynccontextmanager
async def open_looks(settings: Settings) -> AsyncIterator[Looks]:
    """Look at the accounts of the LLM providers."""
    providers = open_providers(settings)
    looks = Looks(providers)
    yield looks
    await looks.close()
    for provider in providers.values():
        await provider.close()


def build_app(services: ApiServices) -> FastAPI:
    """The part of the application that operators use."""
    app = FastAPI()
    provide(app, services)
    hearing = Hearing("office", can_listen=True, called=lambda: None)
    provide(app, make_streams(services.entrances, hearing, 2000))
    install_error_handlers(app)
    app.router.routes.extend(OPERATORS_ROUTES)
    return app
