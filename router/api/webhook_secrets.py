"""Tenants' own webhook secrets: to list, make and retire them."""

import logging
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from pydantic import BaseModel, Field

from router.api.dependencies import Caller, PathId, TheDatabase
from router.api.queries import LARGEST_ID
from router.intake.own_secrets import make_secret
from router.logs.events import Action, log_event

router = APIRouter(prefix="/tenants/{tenant_id}/webhook-secrets", tags=["tenants"])
_log = logging.getLogger(__name__)
_Hours = Annotated[float, Field(ge=0, le=8760, allow_inf_nan=False, strict=True)]
_SecretId = Annotated[int, Path(ge=1, le=LARGEST_ID)]


class WebhookSecret(BaseModel):
    """What is known of a secret that Evolution shows with a tenant's webhooks."""

    id: int
    tenant_id: int
    ends_with: str = Field(description="Its last characters, to know it by")
    created_by: str | None
    created_at: datetime
    retires_at: datetime | None = Field(description="From when on it is refused; null: never")
    is_active: bool


class NewWebhookSecret(WebhookSecret):
    """A secret that was just made."""

    secret: str = Field(description="Shown this once: it is kept as a hash only")


class WebhookSecrets(BaseModel):
    """A tenant's secrets, the newest first."""

    items: list[WebhookSecret]


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
    answer = await database.call("list_webhook_secrets", {"tenant_id": tenant_id})
    return WebhookSecrets.model_validate(answer)


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
    argument = {
        "tenant_id": tenant_id,
        "secret_hash": new.secret_hash,
        "ends_with": new.ends_with,
        "created_by": caller,
        **(making or Making()).model_dump(),
    }
    kept = (await database.call("add_webhook_secret", argument))["webhook_secret"]
    log_event(
        _log, Action.WEBHOOK_SECRET_MADE, "webhook secret made",
        tenant_id=tenant_id, webhook_secret_id=kept["id"], caller=caller,
    )  # fmt: skip
    response.headers["Cache-Control"] = "no-store"
    return NewWebhookSecret(**kept, secret=new.secret.get_secret_value())


@router.post("/{webhook_secret_id}/retire", summary="Retire a webhook secret")
async def retire_webhook_secret(
    tenant_id: PathId,
    webhook_secret_id: _SecretId,
    database: TheDatabase,
    caller: Caller,
    retiring: Annotated[Retiring | None, Body()] = None,
) -> WebhookSecret:
    """Refuse it from then on (within ten seconds). 409: every webhook would be refused."""
    argument = {
        "tenant_id": tenant_id,
        "webhook_secret_id": webhook_secret_id,
        **(retiring or Retiring()).model_dump(),
    }
    retired = (await database.call("retire_webhook_secret", argument))["webhook_secret"]
    log_event(
        _log, Action.WEBHOOK_SECRET_RETIRED, "webhook secret retired",
        tenant_id=tenant_id, webhook_secret_id=webhook_secret_id, caller=caller,
    )  # fmt: skip
    return WebhookSecret.model_validate(retired)
