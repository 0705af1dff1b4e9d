"""Assembles the parts of a router: the background workers, and the services that answer requests.

`start` makes them, and they are closed in reverse order, so that everything that uses the state
stops before the state does.
"""

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

from router import __version__
from router.api.dependencies import ApiServices, ReceivedFiles, Relays
from router.configuration.demo import Demo
from router.configuration.settings import Settings
from router.console.dependencies import ConsoleServices
from router.feed.opening import Streams
from router.gate.opening import cookies, media_limits, sign_ins, webhook_limits
from router.gate.services import GateServices
from router.gate.user_tokens import UserTokens, token_rules
from router.http.bodies import Bodies
from router.http.callers import Callers
from router.http.health import HealthChecks, LookedAt
from router.intake.dependencies import IntakeServices
from router.intake.rejections import Rejections
from router.intake.webhook_access import AccessCache
from router.logs.events import Action, log_event
from router.n8n.dependencies import FlowServices
from router.n8n.gateway import AT_ONCE as FLOW_AT_ONCE
from router.n8n.opening import make_trial
from router.n8n.received_media import ReceivedMedia
from router.n8n.trial import FlowTrial
from router.outbound.media import MediaSource
from router.running.stopping import end_tasks
from router.senses.sounds import Sounds
from router.sharing.at_once import AtOnce
from router.sharing.bench import Bench
from router.sharing.rates import Rates
from router.sharing.shares import Shares
from router.tenants.demo import refuse_beside_demo
from router.tenants.instance import InstanceKeys
from router.tenants.policy import policy
from router.workers import Outside, Workers, begin, connect, put_together, stop

_log = logging.getLogger(__name__)
_LOOPS_GRACE = 0.5
_DOWNLOADS = 8  # downloads of kept files at once: each is in memory until the client has read it
_TESTS = 2  # tests of one instance at once


@dataclass(frozen=True, slots=True)
class Services:
    """The services that answer requests: one part per room, found by its type.

    `flows` is None if n8n is not used.
    """

    gate: GateServices
    health: HealthChecks
    intake: IntakeServices
    api: ApiServices
    console: ConsoleServices
    streams: Streams
    flows: FlowServices | None

    @property
    def parts(self) -> tuple[object, ...]:
        """All parts, for `router.http.services.provide`."""
        parts = (self.gate, self.health, self.intake, self.api, self.console, self.streams)
        return parts if self.flows is None else (*parts, self.flows)


async def start(settings: Settings, stack: AsyncExitStack, demo: Demo | None = None) -> Services:
    """Assemble everything and start it; `stack` stops it in reverse order."""
    outside = await connect(settings, stack)
    if demo is None:
        await refuse_beside_demo(outside.entrances.upkeep, settings)
    workers = put_together(settings, outside, demo)
    services = _services(settings, outside, workers, demo)
    stack.callback(services.intake.rejections.tell)
    stack.push_async_callback(end_tasks, begin(settings, outside, workers), _LOOPS_GRACE)
    stack.push_async_callback(stop, workers)
    workers.intake.repairs.begin_all()
    for line in (*settings.warnings(), *([] if demo is None else [demo.told])):
        log_event(_log, Action.STARTED, line, level=logging.WARNING)
    log_event(
        _log, Action.STARTED, f"HybridFlow {__version__} is ready", configuration=settings.summary()
    )
    return services


def _services(
    settings: Settings, outside: Outside, workers: Workers, demo: Demo | None
) -> Services:
    entrances = outside.entrances
    tokens = UserTokens(outside.http, token_rules(settings))
    callers = Callers(settings.trusted_proxies)
    looked_at = LookedAt(
        settings,
        entrances.upkeep,
        outside.pools,
        workers.lost,
        outside.looks,
        workers.n8n,
        demo,
    )
    return Services(
        gate=GateServices(tokens, entrances.look_ups, entrances.turns),
        health=HealthChecks(looked_at),
        intake=IntakeServices(
            settings=settings,
            callers=callers,
            access=AccessCache(entrances.webhooks),
            rates=Rates(),
            bodies=Bodies(webhook_limits(settings), callers),
            hashes=workers.hashes,
            ingester=workers.intake.ingester,
            rejections=Rejections(),
            database=entrances.webhooks,
            media_came=None if workers.understander is None else workers.understander.wake,
        ),
        api=ApiServices(
            settings=settings,
            entrances=entrances,
            user_tokens=tokens,
            evolution=outside.evolution,
            hashes=workers.hashes,
            tests=AtOnce(_TESTS),
            looks=outside.looks,
            wake=workers.dispatcher.wake,
            abandon=workers.dispatcher.abandon,
            wake_eraser=workers.wake_erasing,
            sign_ins=sign_ins(settings),
            cookies=cookies(settings),
            trial=_trial(settings, outside, workers.sounds),
            relays=Relays(
                workers.relayer.wake,
                MediaSource(outside.pools.media, settings.max_media_bytes),
                workers.sounds,
                settings.max_media_bytes,
                Bodies(media_limits(settings), callers),
            ),
            received_files=ReceivedFiles(outside.store, Shares(_DOWNLOADS)),
        ),
        console=ConsoleServices(
            demo=demo,
            callers=callers,
            http=outside.http,
            database=entrances.deployment,
            policy=policy(settings),
            wake=workers.dispatcher.wake,
            only_handler=None if settings.n8n_enabled else "fallback",
        ),
        streams=workers.streams,
        flows=_for_flows(settings, outside, workers, callers),
    )


def _trial(settings: Settings, outside: Outside, sounds: Sounds) -> FlowTrial:
    if not settings.n8n_enabled:  # its configuration is not used
        settings = settings.model_copy(update={"n8n_webhook_url": None})
    return make_trial(settings, outside.trials, sounds)


def _for_flows(
    settings: Settings, outside: Outside, workers: Workers, callers: Callers
) -> FlowServices | None:
    if workers.n8n is None:
        return None
    return FlowServices(
        settings=settings,
        database=outside.entrances.turns,
        outbox=workers.sending.outbox,
        guard=workers.guard,
        presence=workers.presence,
        courtesy=workers.courtesy,
        media=MediaSource(outside.pools.media, settings.max_media_bytes),
        sounds=workers.sounds,
        received=ReceivedMedia(
            outside.entrances.turns,
            outside.evolution,
            outside.store,
            settings.max_media_bytes,
        ),
        media_bodies=Bodies(media_limits(settings), callers),
        keys=InstanceKeys.of(settings),
        hashes=workers.hashes,
        failing=workers.n8n.failing,
        places=Shares(max(1, settings.max_concurrent_requests // 2)),
        at_once=AtOnce(FLOW_AT_ONCE),
        bench=Bench(),
        wake=workers.dispatcher.wake,
        wake_notices=workers.notifier.wake,
    )
