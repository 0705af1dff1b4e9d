"""Keys of the API: to list, make and revoke them."""

import logging
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from router.api.dependencies import Caller, PathId, TheDatabase, TheLists
from router.api.moments import Moment
from router.api.queries import LARGEST_ID, ListQuery
from router.gate.identity import make_api_key
from router.logs.events import Action, log_event
from router.state.calls import api_keys
from router.state.calls.api_keys import ApiKey, Role
from router.state.calls.shown import Page

router = APIRouter(prefix="/api-keys", tags=["access"])
_log = logging.getLogger(__name__)
_TenantIds = Annotated[
    list[Annotated[int, Field(ge=1, le=LARGEST_ID)]], Field(min_length=1, max_length=1000)
]


class NewApiKey(ApiKey):
    """A key that was just made."""

    key: str = Field(description="Shown this once: it is kept as a hash only")


class Making(BaseModel, extra="forbid"):
    """What a key is to be."""

    name: str = Field(min_length=1, max_length=100, description="Who or what uses it")
    role: Role
    tenant_ids: _TenantIds | None = Field(
        description="The tenants that it is for; null: every one, also those yet to come"
    )
    expires_at: Moment | None = None


@router.get("", summary="List the keys of the API")
async def list_api_keys(query: Annotated[ListQuery, Query()], database: TheLists) -> Page[ApiKey]:
    """Those of tenants in which you are admin, newest first; never what they are."""
    return await api_keys.list_api_keys(database, api_keys.ListApiKeys(**query.model_dump()))


@router.post("", status_code=201, summary="Make a key of the API")
async def make_key(
    making: Making, database: TheDatabase, caller: Caller, response: Response
) -> NewApiKey:
    """You must be admin wherever it is to hold."""
    new = make_api_key()
    asked = api_keys.CreateApiKey(
        **making.model_dump(), key_hash=new.key_hash, starts_with=new.starts_with
    )
    kept = (await api_keys.create_api_key(database, asked)).api_key
    log_event(
        _log, Action.API_KEY_MADE, "key of the API made",
        api_key_id=kept.id, role=making.role, tenant_ids=making.tenant_ids, caller=caller,
    )  # fmt: skip
    response.headers["Cache-Control"] = "no-store"
    return NewApiKey(**kept.model_dump(), key=new.key.get_secret_value())


@router.post("/{api_key_id}/revoke", summary="Revoke a key of the API")
async def revoke_key(api_key_id: PathId, database: TheDatabase, caller: Caller) -> ApiKey:
    """Refuse it from now on, for good."""
    asked = api_keys.RevokeApiKey(api_key_id=api_key_id)
    revoked = (await api_keys.revoke_api_key(database, asked)).api_key
    log_event(
        _log, Action.API_KEY_REVOKED, "key of the API revoked", api_key_id=api_key_id, caller=caller
    )
    return revoked
