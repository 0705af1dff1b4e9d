"""The FastAPI application: its middleware, its routes, its start and end."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from router import __version__
from router.configuration.demo import Demo
from router.configuration.settings import Settings
from router.gate.cookies import CookieKeys
from router.gate.gate import CallGate
from router.gate.opening import call_limits, cookies, memory_of_calls, sign_ins
from router.gate.proofs import Proofs
from router.http.callers import Callers
from router.http.cutting import CanCut
from router.http.errors import UnexpectedErrors, install_error_handlers
from router.http.headers import ResponseHeaders
from router.http.reference import add_reference
from router.http.services import provide
from router.intake.shortcut import WebhooksFirst
from router.logs.events import Action, log_event
from router.routes import FLOWS_ROUTES, ROUTES
from router.running.stopping import ENDING_SECONDS, within
from router.running.told_to_stop import before_the_server_stops
from router.sharing.rates import Rates
from router.wiring import start

_log = logging.getLogger(__name__)


class _Application(FastAPI):
    """FastAPI's application; webhooks do not pass through its middleware."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        self._is_https = _is_https(settings)
        super().__init__(**options)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the outermost middleware."""
        others = CanCut(super().build_middleware_stack())
        return WebhooksFirst(others, is_https=self._is_https)


def create_app(settings: Settings, demo: Demo | None = None) -> FastAPI:
    """Return the router, ready to be served; it connects to nothing before it starts.

    `demo` is the simulated business of `make run`; None otherwise.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stack = AsyncExitStack()
        try:
            services = await start(settings, stack, demo)
            provide(app, *services.parts)
            with before_the_server_stops(services.streams.end):
                yield
            log_event(_log, Action.STOPPED, "stopping: finishing what is being sent")
        finally:
            await within(stack.aclose, ENDING_SECONDS, "the ending")

    app = _Application(
        settings,
        title="HybridFlow",
        version=__version__,
        summary="AI-answered WhatsApp with humans in charge",
        lifespan=lifespan,
        openapi_url=None,  # add_reference serves it, if it is switched on
        docs_url=None,
        redoc_url=None,
        # Telemetry would read the environment at each call, and show our paths to others.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,  # it would redirect to whatever host the caller names
    )
    install_error_handlers(app)
    _add_middleware(app, settings)
    app.router.routes.extend(ROUTES)
    if settings.shows_docs:
        add_reference(app)
    if settings.n8n_enabled:
        app.router.routes.extend(FLOWS_ROUTES)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Add the middleware that every call except webhooks passes, from the inside out."""
    callers = Callers(settings.trusted_proxies)
    app.add_middleware(
        CallGate,
        limits=call_limits(settings),
        rates=Rates(),
        callers=callers,
        memory=memory_of_calls(settings, callers),
        proofs=Proofs(settings.api_keys, settings.cron_secret),
        has_flows=settings.n8n_enabled,
    )
    app.add_middleware(CookieKeys, sign_ins=sign_ins(settings), cookies=cookies(settings))
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
        allow_headers=[
            *("Authorization", "Content-Type", "X-API-Key", "Last-Event-ID", "Idempotency-Key"),
        ],
    )
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(ResponseHeaders, is_https=_is_https(settings))


def _is_https(settings: Settings) -> bool:
    """Whether the public URL is https."""
    return (settings.public_url or "").startswith("https://")
