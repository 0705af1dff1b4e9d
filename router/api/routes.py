"""The operators' API: every `/api` call needs a key, cron has its own secret.

Only signing out needs none: it just makes the browser forget.

A tenant's id has one place, by one rule:

- `/api/tenants/{tenant_id}/…` is about the tenant itself: settings, members, secrets, spending.
- Everything that happens inside a tenant (sessions, messages, contacts, turns) takes `?tenant_id=`,
  and requires it. The audit log takes it, too; an admin of all tenants may leave it out.
- It is never in a body. An API key is for several tenants and has `tenant_ids`; an instance is
  found by its name, which names its tenant.

A function's name is its operation id, a verb and a noun (`list_turns`), and the name of a model is
its schema's name; a request body is a `…Request`. `tests/unit/test_openapi_names.py` checks all
this.
"""

from router.api import (
    api_keys,
    audit,
    cron,
    files,
    handoffs,
    instances,
    keeping,
    members,
    messages,
    pauses,
    people,
    received_files,
    sessions,
    sign_in,
    stories,
    stream,
    tenants,
    trying_flows,
    turns,
    webhook_secrets,
)

ROUTES = tuple(
    route
    for router in (
        tenants.router, files.router, webhook_secrets.router, members.router, sessions.router,
        messages.router, received_files.router, keeping.router, handoffs.router, pauses.router,
        people.router, turns.router, stories.router, stream.router, instances.router,
        trying_flows.router, api_keys.router, audit.router, sign_in.router, sign_in.out,
        cron.router,
    )
    for route in router.routes
)  # fmt: skip
