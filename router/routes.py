"""The routes of the API, assembled once per process: all applications use the same objects."""

from router.api.routes import ROUTES as OPERATORS_ROUTES
from router.console.pages import router as console
from router.console.trying import router as trying
from router.http import health
from router.intake.routes import router as webhook
from router.n8n.callbacks import router as callbacks
from router.n8n.dry_turns import router as dry_turns
from router.n8n.gateway import router as gateway
from router.n8n.notice_routes import router as notices

# Webhooks come first, because routes are searched in order for each call.
ROUTES = (
    *webhook.routes,
    *OPERATORS_ROUTES,
    *health.router.routes,
    *console.routes,
    *trying.routes,
)
FLOWS_ROUTES = (*gateway.routes, *callbacks.routes, *notices.routes, *dry_turns.routes)
