"""What the endpoints take from the app, and who may call them."""

from typing import Annotated, Protocol

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from router.evolution.client import EvolutionClient
from router.http_errors import Unauthorised
from router.operators.keys import caller_of
from router.operators.queries import LARGEST_ID
from router.settings import Settings
from router.state.database import Database

_key_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key of API_KEYS")
_bearer = HTTPBearer(auto_error=False, description="A key of API_KEYS")


class Wake(Protocol):
    """Tells the dispatcher that there is a turn to claim, now or in `due_in` seconds."""

    def __call__(self, due_in: float = 0.0) -> None:
        """Return at once."""


def _database(request: Request) -> Database:
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


def _wake(request: Request) -> Wake:
    wake: Wake = request.app.state.wake
    return wake


TheDatabase = Annotated[Database, Depends(_database)]
TheSettings = Annotated[Settings, Depends(_settings)]
TheEvolution = Annotated[EvolutionClient, Depends(_evolution)]
TheAbandon = Annotated[Abandon, Depends(_abandon)]
TheWake = Annotated[Wake, Depends(_wake)]


def authenticate(
    settings: TheSettings,
    header: Annotated[str | None, Security(_key_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> str:
    """Return the name of the caller's key. Raises Unauthorised."""
    if not settings.api_keys:
        raise Unauthorised(
            "API_KEYS is not configured, so the API is closed: set API_KEYS=name:key",
            code="no_api_keys_configured",
        )
    shown = header or (bearer.credentials if bearer else None)
    if not shown:
        raise Unauthorised("an API key is needed, as X-API-Key or as Authorization: Bearer")
    caller = caller_of(shown, settings.api_keys)
    if caller is None:
        raise Unauthorised("this API key is not one of API_KEYS")
    return caller


Caller = Annotated[str, Depends(authenticate)]
TenantId = Annotated[int, Query(ge=1, le=LARGEST_ID, description="Another's is not found")]
PathId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
