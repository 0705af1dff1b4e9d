"""Endpoints to list, create and retire tenants' own webhook secrets."""

import logging
from typing import Annotated

from fastapi import Body, Path, Response
from pydantic import BaseModel, Field

from router.api.dependencies import Caller, PathId, TheDatabase
from router.api.keyed import keyed
from router.api.queries import LARGEST_ID
from router.intake.own_secrets import make_secret
from router.logs.events import Action, log_event
from router.state.calls import webhook_secrets
from router.state.calls.webhook_secrets import WebhookSecret, WebhookSecrets

router = keyed("tenants", prefix="/tenants/{tenant_id}/webhook-secrets")
_log = logging.getLogger(__name__)
_Hours = Annotated[float, Field(ge=0, le=8760, allow_inf_nan=False, strict=True)]
_SecretId = Annotated[int, Path(ge=1, le=LARGEST_ID)]


class NewWebhookSecret(WebhookSecret):
    """A new secret."""

    secret: str = Field(description="Shown only once: only its hash is stored")


class WebhookSecretRequest(BaseModel, extra="forbid"):
    """What happens to the other secrets when one is created."""

    retire_others_after_hours: _Hours | None = Field(
        default=None,
        description="Hours that the other secrets stay valid; null: until they are retired",
    )


class RetirementRequest(BaseModel, extra="forbid"):
    """When a secret stops being accepted."""

    after_hours: _Hours = Field(default=0, description="0: at once")


@router.get("", summary="List a tenant's webhook secrets")
async def list_webhook_secrets(tenant_id: PathId, database: TheDatabase) -> WebhookSecrets:
    """Which secrets exist and until when they are valid. The secrets themselves are never shown."""
    asked = webhook_secrets.ListWebhookSecrets(tenant_id=tenant_id)
    return await webhook_secrets.list_webhook_secrets(database, asked)


@router.post("", status_code=201, summary="Create a webhook secret")
async def create_webhook_secret(
    tenant_id: PathId,
    database: TheDatabase,
    caller: Caller,
    response: Response,
    wanted: Annotated[WebhookSecretRequest | None, Body()] = None,
) -> NewWebhookSecret:
    """The new secret is valid at once. The existing ones stay valid until they are retired."""
    new = make_secret()
    asked = webhook_secrets.AddWebhookSecret(
        tenant_id=tenant_id,
        secret_hash=new.secret_hash,
        ends_with=new.ends_with,
        created_by=caller,
        **(wanted or WebhookSecretRequest()).model_dump(),
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
    retiring: Annotated[RetirementRequest | None, Body()] = None,
) -> WebhookSecret:
    """Routers refuse it within ten seconds of its end. 409: then every webhook would be refused."""
    asked = webhook_secrets.RetireWebhookSecret(
        tenant_id=tenant_id,
        webhook_secret_id=webhook_secret_id,
        **(retiring or RetirementRequest()).model_dump(),
    )
    retired = (await webhook_secrets.retire_webhook_secret(database, asked)).webhook_secret
    log_event(
        _log, Action.WEBHOOK_SECRET_RETIRED, "webhook secret retired",
        tenant_id=tenant_id, webhook_secret_id=webhook_secret_id, caller=caller,
    )  # fmt: skip
    return retired
