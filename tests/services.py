"""What a router answers requests with, for tests that serve some of its routes alone."""

from collections.abc import Callable
from typing import Any

import httpx

from router.api.dependencies import ApiServices, ReceivedFiles, Relays, Wake
from router.configuration.demo import Demo
from router.configuration.settings import Settings
from router.console.dependencies import ConsoleServices
from router.evolution.client import EvolutionClient
from router.gate.opening import cookies, sign_ins
from router.gate.user_tokens import UserTokens
from router.http.bodies import Bodies, BodyLimits
from router.http.callers import Callers
from router.intake.dependencies import IntakeServices
from router.intake.ingester import Ingester
from router.intake.marks import Marks
from router.intake.rejections import Rejections
from router.intake.webhook_access import AccessCache
from router.kept.opening import make_store
from router.llm.looks import Looks
from router.n8n.opening import make_trial
from router.people.hashing import ContactHashes
from router.senses.sounds import Sounds
from router.sharing.at_once import AtOnce
from router.sharing.rates import Rates
from router.sharing.shares import Shares
from router.state.database import Connected, Database
from router.state.entrances import Entrances


def nothing(*_: object, **__: object) -> None:
    """Nobody is told."""


def intake_services(
    settings: Settings, database: Database, bodies: Bodies | None = None
) -> IntakeServices:
    """Take webhooks into `database`; nothing is done about what is decided."""
    callers = Callers(settings.trusted_proxies)
    hashes = ContactHashes.of(settings.secrets_key, settings.webhook_secrets)
    marks = Marks(hashes, Rates(), settings.contact_messages_per_minute)
    return IntakeServices(
        settings=settings,
        callers=callers,
        access=AccessCache(database),
        rates=Rates(),
        bodies=bodies or Bodies(BodyLimits(), callers),
        hashes=hashes,
        ingester=Ingester(database, {}, marks, nothing),
        rejections=Rejections(),
        database=database,
        media_came=None,
    )


def console_services(
    demo: Demo | None, database: Database | None = None, http: httpx.AsyncClient | None = None
) -> ConsoleServices:
    """Show the console, on this machine; what is not given is not asked."""
    unasked: Any = None
    return ConsoleServices(
        demo=demo,
        callers=Callers(()),
        http=unasked if http is None else http,
        database=unasked if database is None else database,
        policy={},
        wake=nothing,
        only_handler="fallback",
    )


def api_services(
    settings: Settings,
    database: Connected,
    evolution: EvolutionClient,
    tokens: UserTokens,
    *,
    wake: Wake = nothing,
    wake_eraser: Callable[[], None] = nothing,
    looks: Looks | None = None,
) -> ApiServices:
    """Answer operators out of `database`; `wake` is told of turns. There is no n8n.

    Without `looks` no account is looked at.
    """
    unasked: Any = None
    bodies = Bodies(BodyLimits(), Callers(settings.trusted_proxies))
    return ApiServices(
        settings=settings,
        entrances=Entrances(database),
        user_tokens=tokens,
        evolution=evolution,
        hashes=ContactHashes.of(settings.secrets_key, settings.webhook_secrets),
        tests=AtOnce(2),
        looks=looks or Looks({}),
        wake=wake,
        abandon=nothing,
        wake_eraser=wake_eraser,
        sign_ins=sign_ins(settings),
        cookies=cookies(settings),
        trial=make_trial(settings, unasked, Sounds()),
        relays=Relays(nothing, unasked, Sounds(), settings.max_media_bytes, bodies),
        received_files=ReceivedFiles(make_store(settings, unasked), Shares(4)),
    )
