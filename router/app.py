"""The FastAPI application: its state, what every call passes, its routes."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from router import __version__
from router.configuration.settings import Settings
from router.gate.gate import CallGate
from router.gate.opening import call_limits, media_limits, memory_of_calls, webhook_limits
from router.gate.proofs import Proofs
from router.http.bodies import Bodies
from router.http.callers import Callers
from router.http.errors import UnexpectedErrors, install_error_handlers
from router.http.headers import ResponseHeaders
from router.http.health import shared_checks
from router.http.reference import add_reference
from router.intake.rejections import Rejections
from router.logs.events import Action, log_event
from router.people.hashing import ContactHashes
from router.routes import FLOWS_ROUTES, ROUTES
from router.running.stopping import ENDING_SECONDS, within
from router.sharing.at_once import AtOnce
from router.sharing.rates import Rates
from router.wiring import start

_log = logging.getLogger(__name__)
_TESTS = 2  # of one instance's way, at once


def create_app(settings: Settings) -> FastAPI:
    """Return the router, ready to be served; it connects to nothing before it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stack = AsyncExitStack()
        try:
            await start(app, settings, stack)
            yield
            log_event(_log, Action.STOPPED, "stopping: finishing what is being sent")
        finally:
            await within(stack.aclose, ENDING_SECONDS, "the ending")

    app = FastAPI(
        title="HybridFlow",
        version=__version__,
        summary="AI-answered WhatsApp with humans in charge",
        lifespan=lifespan,
        openapi_url=None,  # add_reference serves it, where it is asked for
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever host the caller names
    )
    app.state.settings = settings
    app.state.rates = Rates()
    callers = app.state.callers = Callers(settings.trusted_proxies)
    app.state.media_bodies = Bodies(media_limits(settings), callers)
    app.state.webhook_bodies = Bodies(webhook_limits(settings), callers)
    app.state.checks = shared_checks(app.state)
    app.state.rejections = Rejections()
    app.state.instance_tests = AtOnce(_TESTS)
    app.state.contact_hashes = ContactHashes.of(settings.secrets_key, settings.webhook_secrets)
    app.add_middleware(
        CallGate,
        limits=call_limits(settings),
        rates=app.state.rates,
        callers=callers,
        memory=memory_of_calls(settings, callers),
        proofs=Proofs(settings.api_keys, settings.cron_secret),
        has_flows=settings.n8n_enabled,
    )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key"],
    )
    install_error_handlers(app)
    app.add_middleware(UnexpectedErrors)
    is_https = (settings.public_url or "").startswith("https://")
    app.add_middleware(ResponseHeaders, is_https=is_https)
    app.router.routes.extend(ROUTES)
    if settings.shows_docs:
        add_reference(app)
    if settings.n8n_enabled:
        app.router.routes.extend(FLOWS_ROUTES)
    return app
