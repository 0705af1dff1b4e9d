"""Decides whether a webhook is admitted, by its secret and the network it comes from.

This is decided before its body is read. For the cost of a refusal see
`router.intake.webhook_access`.
"""

import re
import time
from functools import lru_cache
from ipaddress import ip_network

from fastapi import Request

from router.configuration.addresses import Network
from router.errors import DatabaseAway
from router.http.callers import is_within
from router.intake.auth import Verdict, examine, presents_anything
from router.intake.dependencies import IntakeServices
from router.intake.rejections import Rejected
from router.intake.webhook_access import Access
from router.whatsapp.bounds import LONGEST_INSTANCE
from router.whatsapp.clean import clean

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def named_instance(in_path: str) -> str:
    """Return the instance's name from the path. Raises Rejected.

    This name is used for everything that follows: to find the secrets, to count bodies, places and
    events, and in the records. So it is used unchanged or refused: a cleaned-up name would be a
    second spelling of a tenant's name.
    """
    if len(in_path) > LONGEST_INSTANCE or clean(in_path) != in_path or _CONTROL.search(in_path):
        raise Rejected(404, "not_found", "no instance can have the name that is in the path")
    return in_path


async def admit(request: Request, services: IntakeServices, instance: str) -> None:
    """Raise Rejected unless the tenant's webhooks may come from this address with this secret."""
    cache = services.access
    if not presents_anything(request.headers, request.query_params.get("token")):
        # A webhook without any secret is refused without a query for the tenant's secrets.
        raise _refused_secret(request, services, Access()) or Rejected(
            401, "bad_secret", "no secret"
        )
    try:
        if _refusal(request, services, await cache.of(instance)) is None:
            return
        refusal = _refusal(request, services, await cache.newest_of(instance))
    except DatabaseAway as error:
        raise Rejected(
            503, "database_away", f"nothing was recorded, send it again: {error}"
        ) from error
    if refusal is not None:
        raise refusal


def _refusal(request: Request, services: IntakeServices, access: Access) -> Rejected | None:
    """Check the secret first: without a valid one, the tenant's networks are not searched."""
    return _refused_secret(request, services, access) or _refused_network(request, services, access)


def _refused_secret(request: Request, services: IntakeServices, access: Access) -> Rejected | None:
    shared = services.settings.webhook_secrets if access.shared else ()
    verdict = examine(
        request.headers,
        request.query_params.get("token"),
        [secret.get_secret_value() for secret in shared],
        time.time(),
        access.hashes,
    )
    if verdict is Verdict.ACCEPTED:
        return None
    if verdict is Verdict.NO_SECRET_CONFIGURED:
        return Rejected(
            401,
            "no_secret_configured",
            "EVOLUTION_WEBHOOK_SHARED_SECRET is not set, so no webhook can be accepted",
        )
    return Rejected(401, "bad_secret", str(verdict))


@lru_cache(maxsize=8)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def _refused_network(request: Request, services: IntakeServices, access: Access) -> Rejected | None:
    """Check the address: the deployment's and the tenant's list, if set, must both contain it."""
    everybodys = _networks(services.settings.webhook_networks)
    lists = [networks for networks in (everybodys or None, access.networks) if networks is not None]
    if not lists:
        return None
    address = services.callers.address_of(request.scope)
    if address is not None and all(is_within(address, networks) for networks in lists):
        return None
    return Rejected(
        403,
        "network_not_allowed",
        f"no webhooks are taken from {address or 'an address that is not known'}",
    )
