"""The application. `router.serving` serves it; `router.main:app` is it for another ASGI server.

Everything that lives longer than a request is made in `_lifespan` and closed there, in the reverse
order: what feeds the state stops before the state does.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import httpx
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic import SecretStr

from router import __version__
from router.configuration.settings import ConfigurationError, Settings, load_settings
from router.evolution.client import EvolutionClient
from router.evolution.sends import EvolutionSends
from router.gate.gate import SHORT_FLOW, CallGate, CallLimits, Memory
from router.gate.proofs import Proofs
from router.gate.user_tokens import UserTokens, token_rules
from router.http.bodies import Bodies, BodyLimits
from router.http.callers import Callers
from router.http.errors import UnexpectedErrors, install_error_handlers
from router.http.headers import ResponseHeaders
from router.http.health import shared_checks
from router.http.reference import add_reference
from router.intake.gap_repairs import GapRepairs
from router.intake.guards import Guards
from router.intake.ingester import Ingester
from router.intake.reactions import Reactions
from router.intake.rejections import Rejections
from router.llm.anthropic import AnthropicProvider
from router.llm.openai import OpenAiProvider
from router.llm.provider import LlmProvider
from router.llm.reach import Reach
from router.logs import Action, configure_logging, log_event
from router.n8n.executions import ExecutionEraser, ExecutionsApi
from router.n8n.gateway import AT_ONCE as FLOW_AT_ONCE
from router.n8n.handler import TURN_WEBHOOK, FlowRules, N8nHandler
from router.n8n.notice_flows import NoticeFlows, NoticeTerms
from router.n8n.payload import FlowTerms
from router.notices.opening import LEASE, make_notifier
from router.outbound.media import MediaSource
from router.outbound.own import open_own_http
from router.outbound.pools import TenantPools
from router.people.hashing import ContactHashes
from router.replies.fallback import FallbackHandler, FallbackRules
from router.replies.llm_keys import LlmKeys
from router.replies.making import ReplyMaker
from router.replies.prompt import NOTES, PromptRules
from router.routes import FLOWS_ROUTES, ROUTES
from router.running.loops import safely
from router.running.stopping import ENDING_SECONDS, STOP_SECONDS, end_tasks, within
from router.safety.budget import Budget
from router.safety.guard import ReplyGuard
from router.safety.moderation import Moderation, ModerationRules
from router.safety.rules import ReplyDefaults
from router.sending.courtesy import Courtesy
from router.sending.opening import Sending, open_sending
from router.sending.presence import Presence
from router.sharing.at_once import AtOnce
from router.sharing.bench import Bench
from router.sharing.places import SendPlaces
from router.sharing.rates import Rates
from router.sharing.shares import Shares
from router.state.database import Database
from router.state.entrances import Entrances
from router.state.listening import Listening
from router.state.opening import open_database
from router.tenants.instance import InstanceKeys
from router.tenants.lost_servers import LostServers
from router.tenants.policy import budgets, policy
from router.tenants.sealing import Vault
from router.turns.attempt import AttemptRules, TurnAttempt, Workshop
from router.turns.dispatcher import ClaimLimits, Dispatcher
from router.turns.line import Line
from router.turns.settling import Settling

_log = logging.getLogger(__name__)
_BODIES = 5  # of the largest size, that may be in memory at once: of webhooks, and of flows
_MEDIA = 8  # the same of media that are being sent
_CALLS = 50  # the same of calls, which are small
_SHORT = 500  # and of what flows send that is short
_LEAST_HELD = 50_000_000  # bytes, of webhooks: half is for what may be made of one of many values
_LOOPS_GRACE = 0.5
_TESTS = 2  # of one instance's way, at once
_SENDS = 100  # at once, at least: turns, flows and notices have them in common


def create_app(settings: Settings) -> FastAPI:
    """Return the router, ready to be served; it connects to nothing before it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stack = AsyncExitStack()
        try:
            await _start(app, settings, stack)
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
    app.state.media_bodies = Bodies(_media_limits(settings), callers)
    app.state.webhook_bodies = Bodies(_webhook_limits(settings), callers)
    app.state.checks = shared_checks(app.state)
    app.state.rejections = Rejections()
    app.state.instance_tests = AtOnce(_TESTS)
    app.state.contact_hashes = ContactHashes.of(settings.secrets_key, settings.webhook_secrets)
    app.add_middleware(
        CallGate,
        limits=_call_limits(settings),
        rates=app.state.rates,
        callers=callers,
        memory=_memory(settings, callers),
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


async def _start(app: FastAPI, settings: Settings, stack: AsyncExitStack) -> None:
    entrances = app.state.entrances = Entrances(
        await stack.enter_async_context(open_database(settings))
    )
    database = entrances.turns
    http = await stack.enter_async_context(open_own_http(settings.send_timeout))
    places = SendPlaces(max(_SENDS, settings.max_concurrent_turns))
    app.state.send_places = places
    pools = app.state.pools = TenantPools(settings, places.count)
    stack.push_async_callback(pools.close)
    evolution = EvolutionClient(pools.lookups, settings.max_media_bytes)
    providers = _providers(settings)
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    maker: ReplyMaker = _fallback(settings, providers)
    n8n: N8nHandler | None = None
    if settings.n8n_enabled:
        maker = n8n = app.state.n8n = _n8n_handler(settings, http, database, maker)
    sending = open_sending(settings, database, evolution, EvolutionSends(pools.sends), places)
    outbox = app.state.outbox = sending.outbox
    flows = None if n8n is None else _notice_flows(settings, http, n8n)
    notifier = make_notifier(settings, database, pools.services, outbox, flows)
    guard = app.state.guard = ReplyGuard(
        database,
        _moderation(settings, http, pools.services),
        ReplyDefaults(
            max_characters=settings.max_reply_characters,
            leak_characters=settings.leak_characters,
            system_prompt=settings.default_system_prompt,
            notes=NOTES,
        ),
        wake_notices=notifier.wake,
    )
    budget = Budget(database, budgets(settings))
    keys = InstanceKeys.of(settings)
    courtesy = Courtesy(
        EvolutionSends(pools.courtesy),
        lambda turn: keys.instance(turn.tenant.line),
        settings.typing_seconds,
    )
    whatsapp = Line(evolution, keys)
    dispatcher = _dispatcher(settings, database, sending, maker, guard, budget, courtesy, whatsapp)
    history = EvolutionClient(pools.repairs, most_media=settings.max_media_bytes)
    repairs = GapRepairs(entrances.repairs, history, settings, wake=dispatcher.wake)
    ingester = Ingester(
        entrances.webhooks,
        policy(settings),
        Reactions(dispatcher, repairs.begin, notifier.wake, app.state.contact_hashes),
    )

    stack.callback(app.state.rejections.tell)
    app.state.database = database
    app.state.user_tokens = UserTokens(http, token_rules(settings))
    app.state.evolution = evolution
    _serve_flows(app, settings, pools)
    app.state.ingester = ingester
    app.state.guards = Guards(entrances.webhooks)
    app.state.wake = dispatcher.wake
    app.state.abandon = dispatcher.abandon
    app.state.wake_notices = notifier.wake

    eraser = _execution_eraser(settings, entrances.upkeep, http)
    app.state.wake_eraser = eraser.wake
    lost = app.state.lost_servers = LostServers(entrances.upkeep, settings)
    loading = asyncio.create_task(_load(settings, providers), name="loading")
    until = None if settings.n8n_enabled else loading
    app.state.loops = [
        loading,
        asyncio.create_task(lost.warn(), name="lost servers"),
        asyncio.create_task(_dispatch(dispatcher, until), name="dispatcher"),
        *(
            asyncio.create_task(loop.run(), name=type(loop).__name__.lower())
            for loop in (
                Listening(database.database, dispatcher.help),
                *(dispatcher.heartbeat, sending.settler, notifier, eraser),
            )
        ),
    ]
    stack.push_async_callback(end_tasks, app.state.loops, _LOOPS_GRACE)
    stops = {
        "what flows in": ingester.drain,
        "gap repair": repairs.stop,
        "courtesy": courtesy.stop,
        "erasing": eraser.stop,
        "notices": notifier.stop,
        "turns": dispatcher.stop,
        "doubts": sending.settler.stop,
        "sends": outbox.stop,
        "leases": dispatcher.heartbeat.stop,
    }
    stack.push_async_callback(_stop, stops)
    repairs.begin_all()
    for line in settings.warnings():
        log_event(_log, Action.STARTED, line, level=logging.WARNING)
    log_event(
        _log, Action.STARTED, f"HybridFlow {__version__} is ready", configuration=settings.summary()
    )


def _serve_flows(app: FastAPI, settings: Settings, pools: TenantPools) -> None:
    app.state.presence = Presence(EvolutionSends(pools.courtesy))
    app.state.media = MediaSource(pools.media, settings.max_media_bytes)
    app.state.flows_at_once = AtOnce(FLOW_AT_ONCE)
    app.state.flow_bench = Bench()
    app.state.flow_places = Shares(max(1, settings.max_concurrent_requests // 2))


def _call_limits(settings: Settings) -> CallLimits:
    return CallLimits(
        calls_per_minute=settings.api_calls_per_minute,
        address_calls_per_minute=settings.address_calls_per_minute,
        at_once=settings.max_concurrent_requests,
        max_bytes=settings.max_request_bytes,
        flow_bytes=settings.max_webhook_bytes,
        max_depth=settings.max_json_depth,
    )


def _body_limits(settings: Settings, largest: int, count: int = _BODIES) -> BodyLimits:
    return BodyLimits(
        arriving=max(1, settings.max_concurrent_requests // 2), held_bytes=count * largest
    )


def _webhook_limits(settings: Settings) -> BodyLimits:
    limits = _body_limits(settings, settings.max_webhook_bytes)
    return replace(limits, held_bytes=max(limits.held_bytes, _LEAST_HELD))


def _media_limits(settings: Settings) -> BodyLimits:
    # Of one tenant, half: one of the largest media (in base64, twice) is less.
    return _body_limits(settings, settings.max_media_bytes, _MEDIA)


def _memory(settings: Settings, callers: Callers) -> Memory:
    return Memory(
        calls=Bodies(_body_limits(settings, settings.max_request_bytes, _CALLS), callers),
        flows=Bodies(_body_limits(settings, settings.max_webhook_bytes), callers),
        short=Bodies(_body_limits(settings, SHORT_FLOW, _SHORT), callers),
    )


async def _load(settings: Settings, providers: Mapping[str, LlmProvider]) -> None:
    """Load the SDKs of the providers that have a key, the one that is asked first before others."""
    others = [name for name in providers if name != settings.llm_provider]
    for name in (settings.llm_provider, *others):
        if providers[name].has_key:
            await safely(providers[name].load, f"the SDK of {name} could not be loaded")


async def _dispatch(dispatcher: Dispatcher, until: "asyncio.Task[None] | None") -> None:
    """Claim no turn before the SDK is there: it would wait for that within its lease."""
    if until is not None:
        await asyncio.wait([until])
    await dispatcher.run()


async def _stop(stops: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    await asyncio.gather(*(within(stop, STOP_SECONDS, name) for name, stop in stops.items()))


def _providers(settings: Settings) -> dict[str, LlmProvider]:
    """Return the providers by name; their SDKs are not loaded yet."""
    return {
        "anthropic": AnthropicProvider(
            settings.anthropic_api_key,
            base_url=settings.anthropic_base_url,
            model=settings.anthropic_model,
            timeout=settings.llm_timeout,
        ),
        "openai": OpenAiProvider(
            settings.openai_api_key,
            base_url=settings.openai_base_url,
            model=settings.openai_model,
            timeout=settings.llm_timeout,
        ),
    }


def _fallback(settings: Settings, providers: dict[str, LlmProvider]) -> FallbackHandler:
    rules = FallbackRules(
        max_tokens=settings.llm_max_tokens,
        second_provider=settings.llm_fallback_provider,
        llm_attempts=settings.llm_attempts,
    )
    return FallbackHandler(providers, rules, LlmKeys(Vault(settings.secrets_key)))


def _execution_eraser(
    settings: Settings, database: Database, http: httpx.AsyncClient
) -> ExecutionEraser:
    webhooks = settings.n8n_webhook_url or f"http://localhost:{settings.n8n_port}/webhook"
    url = settings.n8n_public_api_url or f"{webhooks.partition('/webhook')[0]}/api/v1"
    return ExecutionEraser(database, http, ExecutionsApi(url, settings.n8n_public_api_key))


def _n8n_handler(
    settings: Settings,
    http: httpx.AsyncClient,
    database: Database,
    fallback: ReplyMaker,
) -> N8nHandler:
    own_url = f"http://localhost:{settings.api_port}"
    rules = FlowRules(
        webhook_url=f"{settings.n8n_webhook_url}/{TURN_WEBHOOK}",
        api_key=settings.n8n_api_key or SecretStr(""),
        terms=FlowTerms(
            base_url=settings.n8n_router_url or settings.public_url or own_url,
            lease=settings.n8n_lease_seconds,
            models={"anthropic": settings.anthropic_model, "openai": settings.openai_model},
            max_tokens=settings.llm_max_tokens,
        ),
        wait_for_n8n=settings.n8n_fallback == "queue",
        probe_seconds=settings.n8n_probe_seconds,
    )
    return N8nHandler(http, database, rules, fallback)


def _notice_flows(settings: Settings, http: httpx.AsyncClient, n8n: N8nHandler) -> NoticeFlows:
    own_url = f"http://localhost:{settings.api_port}"
    terms = NoticeTerms(
        webhooks_url=settings.n8n_webhook_url or "",
        api_key=settings.n8n_api_key or SecretStr(""),
        router_url=settings.n8n_router_url or settings.public_url or own_url,
        lease=LEASE,
    )
    return NoticeFlows(http, n8n, terms)


def _moderation(
    settings: Settings, http: httpx.AsyncClient, tenant_http: httpx.AsyncClient
) -> Moderation:
    rules = ModerationRules(
        url=settings.moderation_url,
        key=settings.moderation_api_key,
        timeout=settings.moderation_timeout,
        fail_open=settings.moderation_fail == "open",
    )
    return Moderation(http, tenant_http, rules)


def _dispatcher(
    settings: Settings,
    database: Database,
    sending: Sending,
    maker: ReplyMaker,
    guard: ReplyGuard,
    budget: Budget,
    courtesy: Courtesy,
    line: Line,
) -> Dispatcher:
    workshop = Workshop(
        database=database,
        maker=maker,
        courtesy=courtesy,
        guard=guard,
        budget=budget,
        outbox=sending.outbox,
        line=line,
        settling=Settling(
            database,
            sending.looking,
            InstanceKeys.of(settings),
            sending.late,
            policy(settings),
        ),
        hashes=ContactHashes.of(settings.secrets_key, settings.webhook_secrets),
        reach=Reach(),
        rules=AttemptRules(
            prompt=PromptRules(settings.default_system_prompt, settings.prompt_token_budget),
            max_tokens=settings.llm_max_tokens,
            make_timeout=settings.making_seconds,
            max_attempts=settings.turn_max_attempts,
            retry_base=settings.retry_base_seconds,
            answer_within_minutes=settings.answer_within_minutes,
        ),
    )
    limits = ClaimLimits(
        parallel=settings.max_concurrent_turns,
        lease=settings.turn_lease_seconds,
        max_attempts=settings.turn_max_attempts,
        history=settings.history_messages,
        poll=settings.poll_seconds,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        tenant_share=settings.tenant_share,
        flows=settings.n8n_max_in_flight if settings.n8n_enabled else None,
        answer_within_minutes=settings.answer_within_minutes,
    )
    return Dispatcher(database, limits, lambda turn, seat: TurnAttempt(turn, workshop, seat))


def __getattr__(name: str) -> FastAPI:
    """Make `app` when a server asks for it: importing this module needs no configuration."""
    if name != "app":
        raise AttributeError(name)
    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.exit(str(error))
    configure_logging(settings)
    return create_app(settings)
