"""Assembles and starts the background workers, which live longer than a request."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx

from router.configuration.demo import Demo
from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.evolution.sends import EvolutionSends
from router.feed.opening import Hearing, Streams, make_streams
from router.gate.opening import media_limits
from router.http.bodies import Bodies
from router.http.callers import Callers
from router.intake.opening import Intake, Wakes, open_intake
from router.kept.keeper import Keeper
from router.kept.opening import make_keeper, make_keeping, make_store
from router.kept.store import FileStore
from router.llm.looks import Looks
from router.llm.provider import LlmProvider
from router.n8n.executions import ExecutionEraser
from router.n8n.handler import N8nHandler
from router.n8n.opening import make_eraser, make_handler, make_notice_flows
from router.notices.notifier import Notifier
from router.notices.opening import make_notifier, make_untaken
from router.notices.untaken import UntakenHandoffs
from router.outbound.media import MediaSource
from router.outbound.own import open_flows_http, open_own_http
from router.outbound.pools import TenantPools
from router.people.hashing import ContactHashes
from router.relays.opening import make_relayer
from router.relays.relayer import Relayer
from router.replies.making import ReplyMaker
from router.replies.only_for import OnlyFor
from router.replies.opening import make_fallback, open_providers
from router.replies.prompt import NOTES
from router.running.lasting import lasting
from router.running.loops import safely
from router.running.stopping import STOP_SECONDS, within
from router.safety.budget import Budget
from router.safety.guard import ReplyGuard
from router.safety.opening import make_guard
from router.sending.courtesy import Courtesy
from router.sending.opening import Sending, open_sending
from router.sending.presence import Presence
from router.senses.hearing import Listener
from router.senses.opening import make_describer, make_listener, make_understander
from router.senses.sounds import Sounds
from router.senses.understander import Understander
from router.sharing.connections import connections_for, open_files
from router.sharing.places import SendPlaces
from router.sharing.rates import Rates
from router.speech.opening import open_voice
from router.speech.voice import Voice
from router.state.entrances import Entrances
from router.state.listening import Listening, can_hear
from router.state.opening import open_database, wait_for_schema
from router.tenants.lost_servers import LostServers
from router.tenants.policy import budgets
from router.turns.dispatcher import Dispatcher
from router.turns.line import Lines
from router.turns.media import PartMedia
from router.turns.opening import Tools, make_dispatcher
from router.turns.own_files import OwnFiles
from router.turns.voices import Voices

_TRIALS = 4  # test turns of all tenants at once; they take no connection from real turns
_BESIDE_FLOWS = 10  # connections to n8n for probes, in addition to those that flows hold
_SENDS = 100  # at once, at least; shared by turns, flows and notices


@dataclass(frozen=True, slots=True)
class Outside:
    """The connections to everything outside this process. `places` are for all sends together."""

    entrances: Entrances
    http: httpx.AsyncClient
    flows: httpx.AsyncClient
    trials: httpx.AsyncClient
    pools: TenantPools
    places: SendPlaces
    evolution: EvolutionClient
    providers: dict[str, LlmProvider]
    looks: Looks
    listener: Listener | None
    voice: Voice | None
    store: FileStore | None


@dataclass(frozen=True, slots=True)
class Workers:
    """The background workers, and the services that they share with requests."""

    hashes: ContactHashes
    n8n: N8nHandler | None
    sending: Sending
    notifier: Notifier
    relayer: Relayer
    untaken: UntakenHandoffs
    guard: ReplyGuard
    courtesy: Courtesy
    presence: Presence
    dispatcher: Dispatcher
    intake: Intake
    eraser: ExecutionEraser
    lost: LostServers
    streams: Streams
    understander: Understander | None
    sounds: Sounds
    keeper: Keeper | None

    def wake_erasing(self) -> None:
        """Wake the loops that delete an erased person's data in n8n and in the store of files."""
        self.eraser.wake()
        if self.keeper is not None:
            self.keeper.wake()


async def connect(settings: Settings, stack: AsyncExitStack) -> Outside:
    """Open the outbound connections; `stack` closes them."""
    entrances = Entrances(await stack.enter_async_context(open_database(settings)))
    http = await stack.enter_async_context(open_own_http(settings.send_timeout))
    lines = settings.n8n_max_in_flight + _BESIDE_FLOWS
    flows = await stack.enter_async_context(open_flows_http(settings.n8n_answer_seconds, lines))
    trials = await stack.enter_async_context(open_flows_http(settings.n8n_answer_seconds, _TRIALS))
    places = SendPlaces(max(_SENDS, settings.max_concurrent_turns))
    pools = TenantPools(settings, places.count)
    stack.push_async_callback(pools.close)
    evolution = EvolutionClient(pools.lookups, settings.max_media_bytes)
    providers = open_providers(settings)
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    looks = Looks(providers)
    stack.push_async_callback(looks.close)
    listener = make_listener(settings)
    if listener is not None:
        stack.push_async_callback(listener.close)
    voice = open_voice(settings)
    if voice is not None:
        stack.push_async_callback(voice.close)
    return Outside(
        entrances,
        http,
        flows,
        trials,
        pools,
        places,
        evolution,
        providers,
        looks,
        listener,
        voice,
        make_store(settings, http),
    )


def put_together(settings: Settings, outside: Outside, demo: Demo | None = None) -> Workers:
    """Return the workers; none of them is running yet."""
    entrances, http, pools = outside.entrances, outside.http, outside.pools
    database, evolution = entrances.turns, outside.evolution
    hashes = ContactHashes.of(settings.secrets_key, settings.webhook_secrets)
    fallback = make_fallback(settings, outside.providers)
    maker: ReplyMaker = fallback
    n8n: N8nHandler | None = None
    if settings.n8n_enabled:
        maker = n8n = make_handler(settings, outside.flows, database, fallback)
    if demo is not None and demo.llm_url is not None:
        maker = OnlyFor(maker, demo.tenant_id)
    sends, unhurried = EvolutionSends(pools.sends), EvolutionSends(pools.courtesy)
    sending = open_sending(settings, database, evolution, sends, outside.places)
    flows = None if n8n is None else make_notice_flows(settings, http, n8n)
    notifier = make_notifier(settings, database, pools.services, sending.outbox, flows)
    guard = make_guard(settings, database, http, pools.services, NOTES, notifier.wake)
    budget = Budget(database, budgets(settings))
    courtesy = Courtesy(unhurried, settings.typing_seconds)
    bodies = Bodies(media_limits(settings), Callers(settings.trusted_proxies))
    sounds = Sounds()
    media = PartMedia(MediaSource(pools.media, settings.max_media_bytes), bodies, sounds)
    voices = Voices(outside.voice, courtesy)
    files = OwnFiles(database, outside.store)
    tools = Tools(
        sending,
        maker,
        guard,
        budget,
        courtesy,
        Lines(evolution),
        media,
        files,
        voices,
        notifier.wake,
    )
    name, can_listen = secrets.token_hex(8), can_hear(entrances.turns.database)
    calls_as = None if can_listen else name
    dispatcher = make_dispatcher(
        settings,
        database,
        tools,
        calls_as,
        (lambda _: False) if n8n is None else n8n.fallback.is_making,
    )
    hearing = Hearing(name, can_listen, called=dispatcher.help)
    connections = connections_for(settings.max_connections, open_files())
    history = EvolutionClient(pools.repairs, most_media=settings.max_media_bytes)
    understander = None
    if outside.listener is not None or settings.look_at_media or settings.keeps_files:
        came = EvolutionClient(pools.senses, settings.max_media_bytes)
        describer = make_describer(settings, outside.providers)
        keeping = make_keeping(settings, database, outside.store)
        understander = make_understander(
            settings, database, came, outside.listener, describer, keeping, bodies, dispatcher.wake
        )
    relayer = make_relayer(settings, database, sending.outbox, evolution, dispatcher, bodies)
    wakes = Wakes(notifier.wake, relayer.wake)
    intake = open_intake(settings, entrances, history, dispatcher, wakes, hashes, Rates())
    if understander is not None:
        intake.reactions.media_came = understander.wake
    return Workers(
        hashes=hashes,
        n8n=n8n,
        sending=sending,
        notifier=notifier,
        relayer=relayer,
        untaken=make_untaken(settings, entrances.upkeep, notifier.wake, dispatcher.wake),
        guard=guard,
        courtesy=courtesy,
        presence=Presence(unhurried),
        dispatcher=dispatcher,
        intake=intake,
        eraser=make_eraser(settings, entrances.upkeep, http),
        lost=LostServers(entrances.upkeep, settings),
        streams=make_streams(entrances, hearing, connections),
        understander=understander,
        sounds=sounds,
        keeper=make_keeper(entrances.upkeep, outside.store),
    )


def begin(settings: Settings, outside: Outside, workers: Workers) -> "list[asyncio.Task[None]]":
    """Start each loop in a task, so that a slow start does not delay the others."""
    loading = asyncio.create_task(_load(settings, outside), name="loading")
    serves = asyncio.create_task(_schema_serves(settings, outside.entrances), name="schema")
    dispatcher, notifier = workers.dispatcher, workers.notifier
    # Turns are claimed after the SDK is loaded; otherwise they would wait within their lease.
    before_turns = (serves,) if settings.n8n_enabled else (serves, loading)
    database, streams = outside.entrances.turns.database, workers.streams
    understanding = [] if workers.understander is None else [workers.understander]
    keeping = [] if workers.keeper is None else [workers.keeper]
    return [
        loading,
        serves,
        asyncio.create_task(workers.lost.warn(), name="lost servers"),
        asyncio.create_task(_after(before_turns, dispatcher.run), name="dispatcher"),
        asyncio.create_task(_after((serves,), notifier.run), name="notifier"),
        asyncio.create_task(_after((serves,), workers.relayer.run), name="relayer"),
        asyncio.create_task(_after((serves,), workers.sending.settler.run), name="settler"),
        asyncio.create_task(_after((serves,), workers.eraser.run), name="eraser"),
        asyncio.create_task(_after((serves,), workers.untaken.run), name="untaken handoffs"),
        asyncio.create_task(_after((serves,), streams.forgetting.run), name="forgetting"),
        *(
            asyncio.create_task(_after((serves, loading), each.run), name="understander")
            for each in understanding
        ),
        *(asyncio.create_task(_after((serves,), each.run), name="keeper") for each in keeping),
        *(
            asyncio.create_task(loop.run(), name=type(loop).__name__.lower())
            for loop in (
                Listening(database, dispatcher.help, streams.feed.hear),
                *(streams.feed, streams.rights),
                dispatcher.heartbeat,
            )
        ),
    ]


async def stop(workers: Workers) -> None:
    """Stop all workers at the same time: work under way may end, nothing new begins."""
    stops: Mapping[str, Callable[[], Awaitable[None]]] = {
        "streams": workers.streams.stop,
        "what flows in": workers.intake.ingester.drain,
        "gap repair": workers.intake.repairs.stop,
        "LIDs": workers.intake.pairs.stop,
        "courtesy": workers.courtesy.stop,
        "erasing": workers.eraser.stop,
        "notices": workers.notifier.stop,
        "relays": workers.relayer.stop,
        "untaken handoffs": workers.untaken.stop,
        "turns": workers.dispatcher.stop,
        "doubts": workers.sending.settler.stop,
        "sends": workers.sending.outbox.stop,
        "leases": workers.dispatcher.heartbeat.stop,
    }
    if workers.understander is not None:
        stops = {**stops, "media": workers.understander.stop}
    if workers.keeper is not None:
        stops = {**stops, "kept files": workers.keeper.stop}
    await asyncio.gather(*(within(step, STOP_SECONDS, name) for name, step in stops.items()))


async def _load(settings: Settings, outside: Outside) -> None:
    """Load the SDKs of the providers that have a key, the preferred one first."""
    providers = outside.providers
    others = [name for name in providers if name != settings.llm_provider]
    for name in (settings.llm_provider, *others):
        if providers[name].has_key:
            await safely(providers[name].load, f"the SDK of {name} could not be loaded")
    outside.looks.of_deployment()  # a refused key is reported before a customer writes
    if outside.listener is not None:
        await safely(outside.listener.load, "the SDK of the speech service could not be loaded")
    if outside.voice is not None:
        await safely(outside.voice.load, "the voice could not be loaded")
    lasting.leave_out()


async def _schema_serves(settings: Settings, entrances: Entrances) -> None:
    """Return when the schema is known to serve this program, whatever happens until then."""

    async def look() -> bool:
        await wait_for_schema(entrances.upkeep, settings.poll_seconds)
        return True

    while True:
        if await safely(look, "the schema was not looked at"):
            return
        await asyncio.sleep(settings.poll_seconds)


async def _after(
    before: "Iterable[asyncio.Task[None]]", run: Callable[[], Awaitable[None]]
) -> None:
    """Run a loop when the given tasks have ended, even with an error."""
    await asyncio.wait(before)
    await run()
