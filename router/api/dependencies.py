"""What the endpoints take from the app, and who may call them."""

from dataclasses import replace
from typing import Annotated, Protocol

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from router.api.bound_database import Brief, CallersDatabase
from router.api.queries import LARGEST_ID
from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.gate.identity import CallerIdentity, identify
from router.gate.user_tokens import UserTokens
from router.people.hashing import ContactHashes
from router.sharing.at_once import AtOnce
from router.state.database import Database
from router.state.entrances import Entrance, Entrances

_key_header = APIKeyHeader(
    name="X-API-Key", scheme_name="ApiKey", auto_error=False, description="A key of the API"
)
_bearer = HTTPBearer(
    scheme_name="Bearer",
    auto_error=False,
    description="A key of the API, or a token of Supabase Auth",
)


class Wake(Protocol):
    """Tells the dispatcher that there is a turn to claim, now or in `due_in` seconds."""

    def __call__(self, due_in: float = 0.0) -> None:
        """Return at once."""


def _entrances(request: Request) -> Entrances:
    entrances: Entrances = request.app.state.entrances
    return entrances


def _upkeep(entrances: "TheEntrances") -> Database:
    return entrances.upkeep


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _evolution(request: Request) -> EvolutionClient:
    evolution: EvolutionClient = request.app.state.evolution
    return evolution


class Abandon(Protocol):
    """Stops making a reply for a session, which the fence would refuse."""

    def __call__(self, session_id: int) -> None:
        """Take the session's id."""


def _abandon(request: Request) -> Abandon:
    abandon: Abandon = request.app.state.abandon
    return abandon


def _hashes(request: Request) -> ContactHashes:
    hashes: ContactHashes = request.app.state.contact_hashes
    return hashes


def _wake(request: Request) -> Wake:
    wake: Wake = request.app.state.wake
    return wake


TheEntrances = Annotated[Entrances, Depends(_entrances)]
TheUpkeep = Annotated[Database, Depends(_upkeep)]
TheSettings = Annotated[Settings, Depends(_settings)]


def _tests(request: Request) -> AtOnce:
    tests: AtOnce = request.app.state.instance_tests
    return tests


TheTests = Annotated[AtOnce, Depends(_tests)]
"""Counts the tests of each instance that are under way."""

TheEvolution = Annotated[EvolutionClient, Depends(_evolution)]
TheAbandon = Annotated[Abandon, Depends(_abandon)]
TheWake = Annotated[Wake, Depends(_wake)]
TheHashes = Annotated[ContactHashes, Depends(_hashes)]


async def authenticate(
    request: Request,
    settings: TheSettings,
    header: Annotated[str | None, Security(_key_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> CallerIdentity:
    """Return who calls. Raises Unauthorised and SignInAway."""
    tokens: UserTokens = request.app.state.user_tokens
    shown = header or (bearer.credentials if bearer else None)
    return await identify(shown, settings.api_keys, tokens)


_Identity = Annotated[CallerIdentity, Depends(authenticate)]


def _entrance(entrances: TheEntrances, caller: _Identity) -> Entrance:
    is_ours = caller.claim["kind"] == "deployment"
    return entrances.deployment if is_ours else entrances.tenants


_TheEntrance = Annotated[Entrance, Depends(_entrance)]


def _callers_database(entrance: _TheEntrance, caller: _Identity) -> Database:
    return CallersDatabase(entrance, caller)


def _lists(entrance: _TheEntrance, caller: _Identity) -> Database:
    return CallersDatabase(replace(entrance, database=Brief(entrance.database)), caller)


def _name(caller: _Identity) -> str:
    return caller.name


TheDatabase = Annotated[Database, Depends(_callers_database)]
"""The state as the caller sees it: what the endpoints of /api work on."""

TheLists = Annotated[Database, Depends(_lists)]
"""The same for lists: what is looked for has a few seconds."""

Caller = Annotated[str, Depends(_name)]
"""The caller's name, for the log."""

TenantId = Annotated[int, Query(ge=1, le=LARGEST_ID, description="Another's is not found")]
PathId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
