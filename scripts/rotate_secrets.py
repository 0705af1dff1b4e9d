"""Encrypt the tenants' keys again: `python -m scripts.rotate_secrets`.

All of them are encrypted with the first key of SECRETS_KEY, also those that are still plain text.
Run this after SECRETS_KEY was set for the first time, and after a new key was put in front of the
old one. Remove the old key when this reports that nothing is left. Routers may run meanwhile, and
running this twice does no harm. Exit code 0: every key is encrypted with the first key; 1: some
could not be read, with the reason.
"""

import sys

from router.configuration.settings import Settings
from router.state.calls.sealed import ListSealed, Reseal, SealedKey, list_sealed, reseal
from router.state.database import Database
from router.tenants.sealing import CannotOpen, Vault, place_of_key
from scripts.running import CannotGoOn, run, takes_no_arguments


async def rotate(settings: Settings, database: Database) -> int:
    """Return the exit code."""
    vault = Vault(settings.secrets_key)
    if not vault.has_key:
        raise CannotGoOn(
            "SECRETS_KEY is not set, so there is nothing to encrypt with:"
            " set it for the router and here (openssl rand -hex 32 makes one)"
        )
    after = resealed = current = failed = 0
    while items := (await list_sealed(database, ListSealed(after=after))).items:
        for item in items:
            after = item.tenant_id
            if vault.is_current(item.value.get_secret_value()):
                current += 1
                continue
            try:
                is_resealed = await _reseal(database, vault, item)
            except CannotOpen as error:
                failed += 1
                print(f"tenant {after}, {item.column}: {error}", file=sys.stderr)
            else:
                resealed += is_resealed
    print(f"{resealed} keys encrypted again, {current} were already, {failed} cannot be read")
    return 1 if failed else 0


async def _reseal(database: Database, vault: Vault, item: SealedKey) -> bool:
    """Return false if the tenant got another key meanwhile: that one is already encrypted."""
    place, old = place_of_key(item.column, item.tenant_id), item.value.get_secret_value()
    new = vault.seal(vault.open(old, place).get_secret_value(), place)
    asked = Reseal(tenant_id=item.tenant_id, column=item.column, old=old, new=new)
    return (await reseal(database, asked)).changed


if __name__ == "__main__":
    takes_no_arguments("rotate_secrets", __doc__)
    sys.exit(run(rotate))
