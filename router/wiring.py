"""Everything that lives longer than a request, put together.

It is made in `start` and closed in the reverse order: what feeds the state stops before the state
does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from fastapi import FastAPI

from router import __version__
from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.evolution.sends import EvolutionSends
from router.gate.user_tokens import UserTokens, token_rules
from router.intake.gap_repairs import GapRepairs
from router.intake.guards import Guards
from router.intake.ingester import Ingester
from router.intake.reactions import Reactions
from router.llm.provider import LlmProvider
from router.logs.events import Action, log_event
from router.n8n.gateway import AT_ONCE as FLOW_AT_ONCE
from router.n8n.handler import N8nHandler
from router.n8n.opening import make_eraser, make_handler, make_notice_flows
from router.notices.opening import make_notifier
from router.outbound.media import MediaSource
from router.outbound.own import open_own_http
from router.outbound.pools import TenantPools
from router.replies.making import ReplyMaker
from router.replies.opening import make_fallback, open_providers
from router.replies.prompt import NOTES
from router.running.loops import safely
from router.running.stopping import STOP_SECONDS, end_tasks, within
from router.safety.budget import Budget
from router.safety.opening import make_guard
from router.sending.courtesy import Courtesy
from router.sending.opening import open_sending
from router.sending.presence import Presence
from router.sharing.at_once import AtOnce
from router.sharing.bench import Bench
from router.sharing.places import SendPlaces
from router.sharing.shares import Shares
from router.state.entrances import Entrances
from router.state.listening import Listening
from router.state.opening import open_database
from router.tenants.instance import InstanceKeys
from router.tenants.lost_servers import LostServers
from router.tenants.policy import budgets, policy
from router.turns.dispatcher import Dispatcher
from router.turns.line import Line
from router.turns.opening import make_dispatcher

_log = logging.getLogger(__name__)
_LOOPS_GRACE = 0.5
_SENDS = 100  # at once, at least: turns, flows and notices have them in common


async def start(app: FastAPI, settings: Settings, stack: AsyncExitStack) -> None:
    """Put everything together and let it run; `stack` ends it, in the reverse order."""
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
    providers = open_providers(settings)
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    maker: ReplyMaker = make_fallback(settings, providers)
    n8n: N8nHandler | None = None
    if settings.n8n_enabled:
        maker = n8n = app.state.n8n = make_handler(settings, http, database, maker)
    sending = open_sending(settings, database, evolution, EvolutionSends(pools.sends), places)
    outbox = app.state.outbox = sending.outbox
    flows = None if n8n is None else make_notice_flows(settings, http, n8n)
    notifier = make_notifier(settings, database, pools.services, outbox, flows)
    guard = app.state.guard = make_guard(
        settings, database, http, pools.services, NOTES, notifier.wake
    )
    budget = Budget(database, budgets(settings))
    keys = InstanceKeys.of(settings)
    courtesy = Courtesy(
        EvolutionSends(pools.courtesy),
        lambda turn: keys.instance(turn.tenant),
        settings.typing_seconds,
    )
    whatsapp = Line(evolution, keys)
    dispatcher = make_dispatcher(
        settings, database, sending, maker, guard, budget, courtesy, whatsapp
    )
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

    eraser = make_eraser(settings, entrances.upkeep, http)
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
