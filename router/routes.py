"""The routes of the API, put together once for a process.

FastAPI reads the signature of every endpoint again for each app that includes it: a fifth of a
second, in which nothing else is served. What is put together here is shared instead.
"""

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from router.api.routes import api
from router.console.pages import router as console
from router.console.trying import router as trying
from router.http import health
from router.intake.routes import router as webhook
from router.n8n.callbacks import router as callbacks
from router.n8n.gateway import router as gateway
from router.n8n.notice_routes import router as notices


def _operation_id(route: APIRoute) -> str:
    """Return what SDKs call the operation: the name of its function, a verb and a noun."""
    return route.name


def _together(*routers: APIRouter) -> tuple[BaseRoute, ...]:
    whole = APIRouter(generate_unique_id_function=_operation_id)
    for router in routers:
        whole.include_router(router)
    return tuple(whole.routes)


OPERATORS_ROUTES = _together(api)
# Webhooks come first, and as they are: each costs what looking for its route costs.
ROUTES = (*webhook.routes, *OPERATORS_ROUTES, *_together(health.router, console, trying))
FLOWS_ROUTES = _together(gateway, callbacks, notices)
