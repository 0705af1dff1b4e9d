"""`scripts.tenant connect` for a tenant with webhook secrets of its own.

Only hashes of the secrets are stored, so an existing secret cannot be set again: either Evolution
already sends a valid one and keeps it, or a new one is made. With --rotate the other secrets expire
a day after the new one is set. Evolution retries deliveries that use them for about 20 minutes.
"""

from dataclasses import dataclass

from router.evolution.client import EvolutionClient
from router.evolution.errors import EvolutionError
from router.intake.own_secrets import make_secret, secret_hash
from router.state.calls.webhook_secrets import (
    ListWebhookSecrets,
    RetireWebhookSecret,
    list_webhook_secrets,
    retire_webhook_secret,
)
from router.state.database import Database
from router.tenants.instance import TenantInstance
from scripts.tenant_secrets import add_secret

SECRET_HEADER = "X-Webhook-Secret"  # nosec B105  # noqa: S105 - the header's name
_OVERLAP_HOURS = 24


@dataclass(frozen=True, slots=True)
class Way:
    """The way of an instance's webhooks: from Evolution to the router's URL `target`."""

    database: Database
    evolution: EvolutionClient
    tenant: TenantInstance
    target: str


async def set_own_secret(way: Way, *, rotate: bool) -> None:
    """Set the webhook with one of the tenant's secrets. Raises StateError and EvolutionError."""
    shown = None if rotate else await _shown(way)
    if shown is not None:
        await way.evolution.set_webhook(way.tenant.reachable(), way.target, {SECRET_HEADER: shown})
        return
    new = make_secret()
    kept = await add_secret(way.database, way.tenant.tenant_id, new, None)
    try:
        await way.evolution.set_webhook(
            way.tenant.reachable(),
            way.target,
            {SECRET_HEADER: new.secret.get_secret_value()},
        )
    except EvolutionError:
        print(f"Webhook secret {kept.id} was made, but may not be set: run this again.")
        raise
    print(f"Evolution shows the tenant's webhook secret {kept.id} (...{kept.ends_with}).")
    if rotate:
        await _retire_others(way, kept.id)


async def _shown(way: Way) -> str | None:
    """Return the tenant's own secret that Evolution already sends, if it is valid."""
    found = await way.evolution.find_webhook(way.tenant.reachable())
    headers = {} if found is None else {key.lower(): text for key, text in found.headers.items()}
    shown = headers.get(SECRET_HEADER.lower())
    return shown if shown and secret_hash(shown) in way.tenant.webhook_hashes else None


async def _retire_others(way: Way, kept_id: int) -> None:
    tenant_id = way.tenant.tenant_id
    found = await list_webhook_secrets(way.database, ListWebhookSecrets(tenant_id=tenant_id))
    for item in found.items:
        if item.id != kept_id and item.retires_at is None:
            asked = RetireWebhookSecret(
                tenant_id=tenant_id, webhook_secret_id=item.id, after_hours=_OVERLAP_HOURS
            )
            await retire_webhook_secret(way.database, asked)
            print(f"Webhook secret {item.id} holds for another {_OVERLAP_HOURS} hours.")
