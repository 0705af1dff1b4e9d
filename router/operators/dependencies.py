"""What the endpoints take from the app, and who may call them."""

from typing import Annotated, Protocol

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from router.evolution.client import EvolutionClient
from router.operators.bound_database import CallersDatabase
from router.operators.identity import CallerIdentity, identify
from router.operators.queries import LARGEST_ID
from router.operators.user_tokens import UserTokens
from router.people.hashing import ContactHashes
from router.settings import Settings
from router.state.database import Database

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


def _state(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


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


TheState = Annotated[Database, Depends(_state)]
TheSettings = Annotated[Settings, Depends(_settings)]
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


def _callers_database(state: TheState, caller: _Identity) -> Database:
    return CallersDatabase(state, caller)


def _name(caller: _Identity) -> str:
    return caller.name


TheDatabase = Annotated[Database, Depends(_callers_database)]
"""The state as the caller sees it: what the endpoints of /api work on."""

Caller = Annotated[str, Depends(_name)]
"""The caller's name, for the log."""

TenantId = Annotated[int, Query(ge=1, le=LARGEST_ID, description="Another's is not found")]
PathId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
