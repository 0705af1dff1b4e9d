"""Endpoints to list, create and revoke keys of the API."""

import logging
from typing import Annotated

from fastapi import Query, Response
from pydantic import BaseModel, Field

from router.api.dependencies import Caller, PathId, TheDatabase, TheLists
from router.api.keyed import keyed
from router.api.moments import Moment
from router.api.queries import LARGEST_ID, ListQuery
from router.gate.identity import make_api_key
from router.logs.events import Action, log_event
from router.state.calls import api_keys
from router.state.calls.api_keys import ApiKey, ApiKeyPage, Role

router = keyed("access", prefix="/api-keys")
_log = logging.getLogger(__name__)
_TenantIds = Annotated[
    list[Annotated[int, Field(ge=1, le=LARGEST_ID)]], Field(min_length=1, max_length=1000)
]


class NewApiKey(ApiKey):
    """A new key."""

    key: str = Field(description="Shown only once: only its hash is stored")


class ApiKeyRequest(BaseModel, extra="forbid"):
    """The name, role and tenants of a new key."""

    name: str = Field(min_length=1, max_length=100, description="Who or what uses the key")
    role: Role
    tenant_ids: _TenantIds | None = Field(
        description="The tenants that the key is for; null: all tenants, also future ones"
    )
    expires_at: Moment | None = None


@router.get("", summary="List API keys")
async def list_api_keys(query: Annotated[ListQuery, Query()], database: TheLists) -> ApiKeyPage:
    """The keys of tenants where you are admin, newest first; never their secret text."""
    return await api_keys.list_api_keys(database, api_keys.ListApiKeys(**query.model_dump()))


@router.post("", status_code=201, summary="Create an API key")
async def create_api_key(
    wanted: ApiKeyRequest, database: TheDatabase, caller: Caller, response: Response
) -> NewApiKey:
    """You must be admin of every tenant that the key is for."""
    new = make_api_key()
    asked = api_keys.CreateApiKey(
        **wanted.model_dump(), key_hash=new.key_hash, starts_with=new.starts_with
    )
    kept = (await api_keys.create_api_key(database, asked)).api_key
    log_event(
        _log, Action.API_KEY_MADE, "key of the API made",
        api_key_id=kept.id, role=wanted.role, tenant_ids=wanted.tenant_ids, caller=caller,
    )  # fmt: skip
    response.headers["Cache-Control"] = "no-store"
    return NewApiKey(**kept.model_dump(), key=new.key.get_secret_value())


@router.post("/{api_key_id}/revoke", summary="Revoke an API key")
async def revoke_api_key(api_key_id: PathId, database: TheDatabase, caller: Caller) -> ApiKey:
    """The key is refused from now on. This cannot be undone."""
    asked = api_keys.RevokeApiKey(api_key_id=api_key_id)
    revoked = (await api_keys.revoke_api_key(database, asked)).api_key
    log_event(
        _log, Action.API_KEY_REVOKED, "key of the API revoked", api_key_id=api_key_id, caller=caller
    )
    return revoked
