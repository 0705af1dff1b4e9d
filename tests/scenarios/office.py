"""The operators' API over the real state, called over HTTP in the process: a desk to work at."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from router.configuration.settings import Settings, load_settings
from router.evolution.client import EvolutionClient
from router.gate.user_tokens import UserTokens, token_rules
from router.http.errors import install_error_handlers
from router.outbound.client import open_tenant_http
from router.people.hashing import ContactHashes
from router.routes import OPERATORS_ROUTES
from router.sharing.at_once import AtOnce
from router.state.database import Connected
from router.state.direct import DirectDatabase
from router.state.entrances import Entrances
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
}


class Office:
    """One tenant, `shop` (id 1); `api` shows a right key, `talk` is the conversation behind it."""

    def __init__(self, app: FastAPI, http: httpx.AsyncClient, talk: Conversation) -> None:
        self.app = app
        self.api = http
        self.talk = talk
        self.wakes = 0
        app.state.wake = self._wake
        app.state.abandon = lambda _: None
        app.state.wake_eraser = lambda: None

    def _wake(self, due_in: float = 0.0) -> None:
        self.wakes += 1

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
    async with open_tenant_http(settings, timeout=5) as out:
        app = build_app(database, EvolutionClient(out), settings)
        app.state.user_tokens = UserTokens(out, token_rules(settings))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://router", headers={"X-API-Key": KEY}
        ) as http:
            office = Office(app, http, Conversation(database))
            await office.talk.open_shop()
            yield office
    await database.close()


def build_app(database: Connected, evolution: EvolutionClient, settings: Settings) -> FastAPI:
    """The part of the application that operators use."""
    app = FastAPI()
    app.state.database = database
    app.state.entrances = Entrances(database)
    app.state.instance_tests = AtOnce(2)
    app.state.evolution = evolution
    app.state.settings = settings
    app.state.contact_hashes = ContactHashes.of(settings.secrets_key, settings.webhook_secrets)
    install_error_handlers(app)
    app.router.routes.extend(OPERATORS_ROUTES)
    return app
