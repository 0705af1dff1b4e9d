"""`scripts.tenant secrets|new-secret|retire-secret`: a tenant's own webhook secrets."""

import argparse

from router.intake.own_secrets import NewSecret, make_secret
from router.state.calls import webhook_secrets
from router.state.calls.tenants import GetTenant, get_tenant
from router.state.calls.webhook_secrets import WebhookSecret
from router.state.database import Database
from scripts.operators import to_the_minute
from scripts.running import this_python

_MADE_BY = "scripts.tenant"


async def show_secrets(database: Database, name: str) -> int:
    """List an instance's secrets: how long each is valid, never the secret itself."""
    tenant_id = await _tenant_id(database, name)
    asked = webhook_secrets.ListWebhookSecrets(tenant_id=tenant_id)
    items = (await webhook_secrets.list_webhook_secrets(database, asked)).items
    if not items:
        print(
            f"{name} has no webhook secret of its own:"
            f" {this_python()} -m scripts.tenant new-secret {name}"
        )
    for item in items:
        print(
            f"{item.id:>6}  ...{item.ends_with}  made {to_the_minute(item.created_at)}"
            f" by {item.created_by or 'nobody known'}  {_state(item)}"
        )
    return 0


async def new_secret(database: Database, name: str, retire_others_after: float | None) -> int:
    """Create a secret and show it; it is never shown again."""
    tenant_id = await _tenant_id(database, name)
    new = make_secret()
    kept = await add_secret(database, tenant_id, new, retire_others_after)
    print(f"{new.secret.get_secret_value()}")
    print(f"This is webhook secret {kept.id} of {name}. It is not shown again: only its hash is")
    print("kept. Have Evolution send it as the header X-Webhook-Secret (not as jwt_key), or let")
    print(f"  {this_python()} -m scripts.tenant connect {name} --rotate")
    print("make and set one.")
    return 0


async def retire_secret(database: Database, name: str, secret_id: int, after: float) -> int:
    """Retire a secret: it is refused after this many hours."""
    asked = webhook_secrets.RetireWebhookSecret(
        tenant_id=await _tenant_id(database, name), webhook_secret_id=secret_id, after_hours=after
    )
    retired = (await webhook_secrets.retire_webhook_secret(database, asked)).webhook_secret
    print(f"Webhook secret {secret_id} of {name} {_state(retired)}.")
    return 0


async def add_secret(
    database: Database, tenant_id: int, new: NewSecret, retire_others_after: float | None
) -> WebhookSecret:
    """Add a new secret for the tenant. Returns its data."""
    asked = webhook_secrets.AddWebhookSecret(
        tenant_id=tenant_id,
        secret_hash=new.secret_hash,
        ends_with=new.ends_with,
        created_by=_MADE_BY,
        retire_others_after_hours=retire_others_after,
    )
    return (await webhook_secrets.add_webhook_secret(database, asked)).webhook_secret


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add these commands to `scripts.tenant`."""
    listing = commands.add_parser("secrets", help="list an instance's own webhook secrets")
    making = commands.add_parser("new-secret", help="create one, and show it once")
    retiring = commands.add_parser("retire-secret", help="stop accepting one")
    for command in (listing, making, retiring):
        command.add_argument("name", help="Evolution's name of the instance")
    making.add_argument(
        "--retire-others", type=float, metavar="HOURS", help="how long the others stay valid"
    )
    retiring.add_argument("id", type=int, help="its number, as `secrets` shows it")
    retiring.add_argument(
        "--after",
        type=float,
        default=0,
        metavar="HOURS",
        help="how long it stays valid (default: 0)",
    )


async def _tenant_id(database: Database, name: str) -> int:
    return (await get_tenant(database, GetTenant(instance_name=name))).tenant.id


def _state(item: WebhookSecret) -> str:
    if item.retires_at is None:
        return "is accepted"
    until = to_the_minute(item.retires_at)
    return f"is accepted until {until}" if item.is_active else f"is refused since {until}"
