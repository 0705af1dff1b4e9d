"""Creating and changing tenants.

This comes between a caller and the state. It refuses URLs that obviously lead into the deployment's
own network, or to a server that tenants may not use. It seals secrets, and passes the deployment's
limits on.
"""

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from pydantic import SecretStr, ValidationError

from router.configuration.addresses import Allowed, fault_of
from router.configuration.declaring import named
from router.configuration.opening_hours import OpeningHours
from router.configuration.servers import Servers
from router.configuration.settings import Settings
from router.configuration.tenant_settings import SETTINGS
from router.configuration.zones import zone_of
from router.errors import Invalid
from router.logs.scrubber import shield_secret
from router.state.calls import tenants
from router.state.calls.model import Values
from router.state.calls.tenants import Tenant
from router.state.database import Database, Json
from router.tenants.away import check_away_message
from router.tenants.policy import ceilings, policy
from router.tenants.sealing import KEY_COLUMNS, Vault, place_of_key

_ADDRESSES = named(SETTINGS, "address")
_KEY = re.compile(r"[!#-&(-\[\]-~]{6,500}")


class _Rules(TypedDict):
    ceilings: Values
    policy: Values


async def create_tenant(
    database: Database, settings: Settings, values: Mapping[str, Any]
) -> Tenant:
    """Create a tenant with these values by SQL's create_tenant. Returns the tenant.

    Without an `llm_provider` it gets the deployment's.

    Raises Invalid for a URL that is not allowed, and the errors of create_tenant.
    """
    values = {"llm_provider": settings.llm_provider, **values}
    _check(settings, values)
    vault = Vault(settings.secrets_key)
    tenant_id, stored = None, values
    if vault.has_key and any(values.get(column) for column in KEY_COLUMNS):
        # A sealed value is bound to its row, so the row's id is needed first.
        tenant_id = (await tenants.reserve_tenant(database)).tenant_id
        stored = _sealed(vault, tenant_id, values)
    asked = tenants.CreateTenant(tenant_id=tenant_id, values=stored, **_rules(settings))
    created = (await tenants.create_tenant(database, asked)).tenant
    _shield(values)
    return created


async def change_tenant(
    database: Database, settings: Settings, tenant_id: int, values: Mapping[str, Any]
) -> Tenant:
    """Change these values of a tenant by SQL's change_tenant. Returns the tenant.

    Raises Invalid for a URL that is not allowed, and the errors of change_tenant.
    """
    _check(settings, values)
    sealed = _sealed(Vault(settings.secrets_key), tenant_id, values)
    asked = tenants.ChangeTenant(tenant_id=tenant_id, values=sealed, **_rules(settings))
    changed = (await tenants.change_tenant(database, asked)).tenant
    _shield(values)
    return changed


def _rules(settings: Settings) -> _Rules:
    """Return what the deployment allows, and its defaults for settings that are not set."""
    return {"ceilings": ceilings(settings), "policy": policy(settings)}


def _shield(values: Mapping[str, Any]) -> None:
    """Keep the tenant's keys out of the log, now that the caller was allowed to set them."""
    for column in KEY_COLUMNS:
        if key := values.get(column):
            shield_secret(SecretStr(key))


def _sealed(vault: Vault, tenant_id: int, values: Mapping[str, Any]) -> Json:
    sealed = {
        column: vault.seal(values[column], place_of_key(column, tenant_id))
        for column in KEY_COLUMNS
        if values.get(column)
    }
    return {**values, **sealed}


def _check_hours(values: Mapping[str, Any]) -> None:
    """Refuse opening hours that a later reply could not read."""
    try:
        if (zone := values.get("timezone")) is not None:
            zone_of(str(zone))
    except ValueError as error:
        raise Invalid(f"timezone {error}") from None
    try:
        if (hours := values.get("opening_hours")) is not None:
            OpeningHours.model_validate(hours)
        if (message := values.get("away_message")) is not None:
            check_away_message(str(message))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, ("opening_hours", *fault["loc"])))
        raise Invalid(f"{place}: {fault['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise Invalid(str(error)) from None


def _check(settings: Settings, values: Mapping[str, Any]) -> None:
    """Refuse URLs that could never be used. Each call checks the address behind the name."""
    for column in KEY_COLUMNS:
        if (key := values.get(column)) and not _KEY.fullmatch(key):
            raise Invalid(
                f"{column} is not a key: a key has 6 to 500 letters, digits and signs of ASCII,"
                " without spaces, quotes and backslashes"
            )
    _check_hours(values)
    allowed = Allowed.of(settings.own_networks)
    for name in _ADDRESSES:
        url = values.get(name)
        if isinstance(url, str) and (fault := fault_of(url, allowed)) is not None:
            raise Invalid(f"{name} {fault}")
    server = values.get("evo_server_url")
    if not isinstance(server, str) or not server.lower().startswith(("http://", "https://")):
        return  # the state checks its form
    if (fault := Servers.of(settings.evolution_servers).fault_of(server)) is not None:
        raise Invalid(f"evo_server_url {fault}")
