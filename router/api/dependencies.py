"""The endpoints' dependencies: their services, and the caller."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

from fastapi import Depends, Path, Query, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from router.api.bound_database import Brief, CallersDatabase
from router.api.queries import LARGEST_ID
from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.gate.identity import CallerIdentity, identify
from router.gate.sign_ins import Cookies, SignIns
from router.gate.user_tokens import UserTokens
from router.http.bodies import Bodies
from router.http.services import given
from router.kept.store import FileStore
from router.llm.looks import Looks
from router.n8n.trial import FlowTrial
from router.outbound.media import MediaSource
from router.people.hashing import ContactHashes
from router.senses.sounds import Sounds
from router.sharing.at_once import AtOnce
from router.sharing.shares import Shares
from router.state.database import Database
from router.state.entrances import Entrance, Entrances

key_shown = APIKeyHeader(
    name="X-API-Key", scheme_name="ApiKey", auto_error=False, description="A key of the API"
)
bearer_shown = HTTPBearer(
    scheme_name="Bearer",
    auto_error=False,
    description="A key of the API, or a token of Supabase Auth",
)


class Wake(Protocol):
    """Tells the dispatcher that a turn is due, now or in `due_in` seconds."""

    def __call__(self, due_in: float = 0.0) -> None:
        """Return at once."""


class Abandon(Protocol):
    """Stops making a session's reply, which the fence would refuse."""

    def __call__(self, session_id: int) -> None:
        """Stop the reply of this session."""


@dataclass(frozen=True, slots=True)
class Relays:
    """What is needed to send people's messages to contacts; `wake` wakes the sending loop.

    `media` fetches media of at most `most_media` bytes; `sounds` checks voice messages. `bodies`
    limits how much media is in memory.
    """

    wake: Callable[[], None]
    media: MediaSource
    sounds: Sounds
    most_media: int
    bodies: Bodies


@dataclass(frozen=True, slots=True)
class ReceivedFiles:
    """The store of files from contacts, or None if none are kept. Reading a file needs a place."""

    store: FileStore | None
    places: Shares


@dataclass(frozen=True, slots=True)
class ApiServices:
    """The services of the endpoints of /api and cron. `tests` counts running instance tests."""

    settings: Settings
    entrances: Entrances
    user_tokens: UserTokens
    evolution: EvolutionClient
    hashes: ContactHashes
    tests: AtOnce
    looks: Looks
    wake: Wake
    abandon: Abandon
    wake_eraser: Callable[[], None]
    sign_ins: SignIns
    cookies: Cookies
    trial: FlowTrial
    relays: Relays
    received_files: ReceivedFiles


_Services = Annotated[ApiServices, Depends(given(ApiServices))]


async def _upkeep(services: _Services) -> Database:
    return services.entrances.upkeep


async def _settings(services: _Services) -> Settings:
    return services.settings


async def _tests(services: _Services) -> AtOnce:
    return services.tests


async def _looks(services: _Services) -> Looks:
    return services.looks


async def _trial(services: _Services) -> FlowTrial:
    return services.trial


async def _evolution(services: _Services) -> EvolutionClient:
    return services.evolution


async def _abandon(services: _Services) -> Abandon:
    return services.abandon


async def _wake(services: _Services) -> Wake:
    return services.wake


async def _wake_eraser(services: _Services) -> Callable[[], None]:
    return services.wake_eraser


async def _relays(services: _Services) -> Relays:
    return services.relays


async def _received_files(services: _Services) -> ReceivedFiles:
    return services.received_files


async def _hashes(services: _Services) -> ContactHashes:
    return services.hashes


TheUpkeep = Annotated[Database, Depends(_upkeep)]
TheSettings = Annotated[Settings, Depends(_settings)]
TheTests = Annotated[AtOnce, Depends(_tests)]
"""Counts the tests of each instance that are under way."""

TheLooks = Annotated[Looks, Depends(_looks)]
"""The state of the LLM accounts."""

TheTrial = Annotated[FlowTrial, Depends(_trial)]

TheEvolution = Annotated[EvolutionClient, Depends(_evolution)]
TheAbandon = Annotated[Abandon, Depends(_abandon)]
TheWake = Annotated[Wake, Depends(_wake)]
TheEraser = Annotated[Callable[[], None], Depends(_wake_eraser)]
"""Wakes the loops that erase people in n8n and in the store of files."""

TheRelays = Annotated[Relays, Depends(_relays)]
"""Sends people's messages."""

TheFiles = Annotated[ReceivedFiles, Depends(_received_files)]
"""Where files that contacts sent are kept."""

TheHashes = Annotated[ContactHashes, Depends(_hashes)]


async def authenticate(
    services: _Services,
    header: Annotated[str | None, Security(key_shown)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_shown)],
) -> CallerIdentity:
    """Return the caller. Raises Unauthorised and SignInAway."""
    shown = header or (bearer.credentials if bearer else None)
    return await identify(shown, services.settings.api_keys, services.user_tokens)


Identity = Annotated[CallerIdentity, Depends(authenticate)]


async def _entrance(services: _Services, caller: Identity) -> Entrance:
    is_ours = caller.claim["kind"] == "deployment"
    return services.entrances.deployment if is_ours else services.entrances.tenants


_TheEntrance = Annotated[Entrance, Depends(_entrance)]


async def _callers_database(entrance: _TheEntrance, caller: Identity) -> Database:
    return CallersDatabase(entrance, caller)


async def _lists(entrance: _TheEntrance, caller: Identity) -> Database:
    return CallersDatabase(replace(entrance, database=Brief(entrance.database)), caller)


async def _name(caller: Identity) -> str:
    return caller.name


TheDatabase = Annotated[Database, Depends(_callers_database)]
"""The state as the caller sees it; the endpoints of /api use it."""

TheLists = Annotated[Database, Depends(_lists)]
"""The same for lists: a search has a few seconds."""

Caller = Annotated[str, Depends(_name)]
"""The caller's name, for the log."""

TenantId = Annotated[
    int, Query(ge=1, le=LARGEST_ID, description="The tenant that it belongs to; else 404")
]
PathId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
