"""Keys of the API: to list, make and revoke them."""

import logging
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from router.api.dependencies import Caller, PathId, TheDatabase, TheLists
from router.api.models import Page
from router.api.moments import Moment
from router.api.queries import LARGEST_ID, ListQuery
from router.gate.identity import make_api_key
from router.logs.events import Action, log_event

router = APIRouter(prefix="/api-keys", tags=["access"])
_log = logging.getLogger(__name__)
Role = Literal["viewer", "operator", "admin"]
_TenantIds = Annotated[
    list[Annotated[int, Field(ge=1, le=LARGEST_ID)]], Field(min_length=1, max_length=1000)
]


class ApiKey(BaseModel):
    """What is known of a key."""

    id: int
    name: str
    starts_with: str = Field(description="Its first characters, to know it by")
    role: Role
    every_tenant: bool
    tenant_ids: list[int] | None = Field(description="null: every tenant")
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute")
    is_active: bool


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
    return Page[ApiKey].model_validate(await database.call("list_api_keys", query.argument()))


@router.post("", status_code=201, summary="Make a key of the API")
async def make_key(
    making: Making, database: TheDatabase, caller: Caller, response: Response
) -> NewApiKey:
    """You must be admin wherever it is to hold."""
    new = make_api_key()
    argument = {
        **making.model_dump(mode="json"),
        "key_hash": new.key_hash,
        "starts_with": new.starts_with,
    }
    kept = (await database.call("create_api_key", argument))["api_key"]
    log_event(
        _log, Action.API_KEY_MADE, "key of the API made",
        api_key_id=kept["id"], role=making.role, tenant_ids=making.tenant_ids, caller=caller,
    )  # fmt: skip
    response.headers["Cache-Control"] = "no-store"
    return NewApiKey(**kept, key=new.key.get_secret_value())


@router.post("/{api_key_id}/revoke", summary="Revoke a key of the API")
async def revoke_key(api_key_id: PathId, database: TheDatabase, caller: Caller) -> ApiKey:
    """Refuse it from now on, for good."""
    answer = await database.call("revoke_api_key", {"api_key_id": api_key_id})
    log_event(
        _log, Action.API_KEY_REVOKED, "key of the API revoked", api_key_id=api_key_id, caller=caller
    )
    return ApiKey.model_validate(answer["api_key"])
