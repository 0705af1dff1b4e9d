"""Tenants' own webhook secrets: to list, make and retire them."""

import logging
from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from pydantic import BaseModel, Field

from router.api.dependencies import Caller, PathId, TheDatabase
from router.api.queries import LARGEST_ID
from router.intake.own_secrets import make_secret
from router.logs.events import Action, log_event
from router.state.calls import webhook_secrets
from router.state.calls.webhook_secrets import WebhookSecret, WebhookSecrets

router = APIRouter(prefix="/tenants/{tenant_id}/webhook-secrets", tags=["tenants"])
_log = logging.getLogger(__name__)
_Hours = Annotated[float, Field(ge=0, le=8760, allow_inf_nan=False, strict=True)]
_SecretId = Annotated[int, Path(ge=1, le=LARGEST_ID)]


class NewWebhookSecret(WebhookSecret):
    """A secret that was just made."""

    secret: str = Field(description="Shown this once: it is kept as a hash only")


class Making(BaseModel, extra="forbid"):
    """How a secret is made."""

    retire_others_after_hours: _Hours | None = Field(
        default=None, description="How long the others go on being accepted; null: until retired"
    )


class Retiring(BaseModel, extra="forbid"):
    """When a secret ends."""

    after_hours: _Hours = Field(default=0, description="0: at once")


@router.get("", summary="List a tenant's webhook secrets")
async def list_webhook_secrets(tenant_id: PathId, database: TheDatabase) -> WebhookSecrets:
    """Say which there are and until when they hold, never what they are."""
    asked = webhook_secrets.ListWebhookSecrets(tenant_id=tenant_id)
    return await webhook_secrets.list_webhook_secrets(database, asked)


@router.post("", status_code=201, summary="Make a webhook secret")
async def make_webhook_secret(
    tenant_id: PathId,
    database: TheDatabase,
    caller: Caller,
    response: Response,
    making: Annotated[Making | None, Body()] = None,
) -> NewWebhookSecret:
    """It holds at once, and so do those that there are already, until they are retired."""
    new = make_secret()
    asked = webhook_secrets.AddWebhookSecret(
        tenant_id=tenant_id,
        secret_hash=new.secret_hash,
        ends_with=new.ends_with,
        created_by=caller,
        **(making or Making()).model_dump(),
    )
    kept = (await webhook_secrets.add_webhook_secret(database, asked)).webhook_secret
    log_event(
        _log, Action.WEBHOOK_SECRET_MADE, "webhook secret made",
        tenant_id=tenant_id, webhook_secret_id=kept.id, caller=caller,
    )  # fmt: skip
    response.headers["Cache-Control"] = "no-store"
    return NewWebhookSecret(**kept.model_dump(), secret=new.secret.get_secret_value())


@router.post("/{webhook_secret_id}/retire", summary="Retire a webhook secret")
async def retire_webhook_secret(
    tenant_id: PathId,
    webhook_secret_id: _SecretId,
    database: TheDatabase,
    caller: Caller,
    retiring: Annotated[Retiring | None, Body()] = None,
) -> WebhookSecret:
    """Refuse it from then on (within ten seconds). 409: every webhook would be refused."""
    asked = webhook_secrets.RetireWebhookSecret(
        tenant_id=tenant_id,
        webhook_secret_id=webhook_secret_id,
        **(retiring or Retiring()).model_dump(),
    )
    retired = (await webhook_secrets.retire_webhook_secret(database, asked)).webhook_secret
    log_event(
        _log, Action.WEBHOOK_SECRET_RETIRED, "webhook secret retired",
        tenant_id=tenant_id, webhook_secret_id=webhook_secret_id, caller=caller,
    )  # fmt: skip
    return retired
