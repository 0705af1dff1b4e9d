"""The operators' API, put together: every `/api` call needs a key, cron has a secret of its own.

A tenant's id has one place, by one rule:

- `/api/tenants/{tenant_id}/…` is about the tenant itself: settings, members, secrets, spending.
- Everything that happens inside a tenant (sessions, messages, contacts, turns) takes `?tenant_id=`,
  and needs it. The audit log takes it, too; an admin of all tenants may leave it out.
- It is never in a body. An API key is for several tenants and has `tenant_ids`; an instance is
  found by its name, which names its tenant.

A function's name is its operation id, a verb and a noun (`list_turns`), and the name of a model is
its schema's name; what is sent is a `…Request`. `tests/unit/test_openapi_names.py` checks all this.
"""

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
        403: {"model": ErrorBody, "description": "The caller's role is too low for this"},
        404: {"model": ErrorBody, "description": "Not found, or it belongs to another tenant"},
        409: {"model": ErrorBody, "description": "The current state does not allow this"},
        413: {"model": ErrorBody, "description": "The body is too large"},
        422: {"model": ErrorBody, "description": "A value is invalid"},
        429: {"model": ErrorBody, "description": "Too many calls; Retry-After says when to retry"},
        503: {
            "model": ErrorBody,
            "description": "The database or Supabase Auth is away; retry",
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
        503: {"model": ErrorBody, "description": "The database is away; retry soon"},
    },
)
