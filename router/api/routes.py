"""The operators' API, put together: every `/api` call needs a key, cron has a secret of its own."""

from fastapi import APIRouter, Depends

from router.api import (
    api_keys,
    audit,
    cron,
    instances,
    members,
    pauses,
    people,
    sessions,
    sign_in,
    stories,
    tenants,
    turns,
    webhook_secrets,
)
from router.api.dependencies import authenticate
from router.http.errors import ErrorBody

_KEYED = APIRouter(
    prefix="/api",
    dependencies=[Depends(authenticate)],
    responses={
        401: {"model": ErrorBody, "description": "No key or token, or a wrong one"},
        403: {"model": ErrorBody, "description": "The caller's role does not do for this"},
        404: {"model": ErrorBody, "description": "There is none, or it is another tenant's"},
        409: {"model": ErrorBody, "description": "Its present state does not allow this"},
        413: {"model": ErrorBody, "description": "The body is too large"},
        422: {"model": ErrorBody, "description": "A value cannot be right"},
        429: {"model": ErrorBody, "description": "Too many calls; Retry-After says when again"},
        503: {
            "model": ErrorBody,
            "description": "The database or Supabase Auth is away; try again",
        },
    },
)
for _part in (
    tenants, webhook_secrets, members, sessions, pauses, people, turns, stories, instances,
    api_keys, audit, sign_in,
):  # fmt: skip
    _KEYED.include_router(_part.router)

api = APIRouter()
api.include_router(_KEYED)
api.include_router(
    cron.router,
    responses={
        401: {"model": ErrorBody, "description": "No secret, or a wrong one"},
        503: {"model": ErrorBody, "description": "The database is away; try again soon"},
    },
)
