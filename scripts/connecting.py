"""`scripts.tenant connect`: sets Evolution's webhook, then connects the phone by QR code.

The secret is sent as the header X-Webhook-Secret, not as Evolution's `jwt_key`: Evolution makes a
JWT once, before its retries, and the JWT expires after ten minutes. So the router would have to
tolerate late retries and wrong clocks. The header is the same at every try. Both ways need https.
For a tenant with secrets of its own, see `scripts.own_secret`.
"""

import asyncio
import io
import time
from dataclasses import dataclass

import segno

from router.api.webhook_check import webhook_url
from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.evolution.errors import (
    AddressNotAllowed,
    EvolutionError,
    EvolutionRefused,
)
from router.evolution.exchange import Instance
from router.outbound.client import open_tenant_http
from router.state.database import Database
from router.tenants.instance import InstanceKeys, find_instance
from scripts.own_secret import SECRET_HEADER, Way, set_own_secret
from scripts.running import CannotGoOn, this_python


@dataclass(frozen=True, slots=True)
class Connection:
    """What to connect: the instance, the router's URL, and how long to wait for the phone."""

    name: str
    url: str | None
    timeout_seconds: float
    poll_seconds: float = 3.0
    rotate: bool = False


async def connect(settings: Settings, database: Database, wanted: Connection) -> int:
    """Connect the phone and return 0. Raises CannotGoOn, StateError and EvolutionError."""
    name = wanted.name
    tenant = await find_instance(database, name, InstanceKeys.of(settings))
    target = webhook_url(_public_url(settings, wanted.url), name)
    instance = tenant.reachable()
    async with open_tenant_http(settings, settings.send_timeout) as http:
        evolution = EvolutionClient(http)
        way = Way(database, evolution, tenant, target)
        try:
            if wanted.rotate or tenant.webhook_hashes or not tenant.shared_webhook_secret:
                await set_own_secret(way, rotate=wanted.rotate)
            else:
                await evolution.set_webhook(instance, target, {SECRET_HEADER: _secret(settings)})
        except EvolutionError as error:
            raise CannotGoOn(_told(error, instance)) from error
        print(f"Evolution sends the events of {name} to {target} from now on.")
        return await _connect_phone(evolution, instance, wanted)


def _told(error: EvolutionError, instance: Instance) -> str:
    """Return the error of the first call to Evolution in words, with the fix."""
    if isinstance(error, AddressNotAllowed):
        return str(error)
    name, server = instance.name, instance.server_url
    if isinstance(error, EvolutionRefused):
        return (
            f"{name}: Evolution at {server} refuses: {error}. Is there an instance of this name,"
            " and is the tenant's key right?"
            f" {this_python()} -m scripts.tenant set {name} evo_api_key=-"
        )
    return (
        f"{name}: Evolution at {server} is away: {error}. Start it, or correct the URL:"
        f" {this_python()} -m scripts.tenant set {name} evo_server_url=https://… evo_api_key=-"
    )


async def _connect_phone(evolution: EvolutionClient, instance: Instance, wanted: Connection) -> int:
    deadline = time.monotonic() + wanted.timeout_seconds
    shown = None
    while (state := await evolution.connection_state(instance)) != "open":
        code = (await evolution.connect(instance)).code
        if code is not None and code != shown:
            shown = code
            print(
                f"\nThe phone is not connected ({state}). On the phone: WhatsApp, Linked devices,"
            )
            print("Link a device, and scan:\n")
            print(drawn(code))
        if time.monotonic() + wanted.poll_seconds > deadline:
            raise CannotGoOn(
                f"{wanted.name}: the phone was not connected within"
                f" {wanted.timeout_seconds:.0f} seconds; the webhook is set:"
                " run this again to get a new QR code"
            )
        await asyncio.sleep(wanted.poll_seconds)
    print(f"The phone of {instance.name} is connected. Look at the whole way with")
    print(f"  GET /api/instances/{instance.name}/test-webhook")
    return 0


def drawn(code: str) -> str:
    """Return the QR code as text for a terminal."""
    drawing = io.StringIO()
    segno.make_qr(code).terminal(out=drawing, compact=True)
    return drawing.getvalue()


def _public_url(settings: Settings, url: str | None) -> str:
    base = url or settings.public_url
    if base is None:
        raise CannotGoOn(
            "Evolution must know where to send the events: set PUBLIC_URL to this router's URL"
            " as Evolution reaches it, or give --url https://..."
        )
    if not base.startswith(("http://", "https://")):
        raise CannotGoOn(f"{base!r} is not a URL: write https://your-router.example")
    return base


def _secret(settings: Settings) -> str:
    if not settings.webhook_secrets:
        raise CannotGoOn(
            "EVOLUTION_WEBHOOK_SHARED_SECRET is not set, so the router would refuse every event:"
            " set it for the router and here (openssl rand -hex 32 makes one)"
        )
    return settings.webhook_secrets[0].get_secret_value()
