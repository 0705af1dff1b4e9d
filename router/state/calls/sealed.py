"""Tenants' keys in their stored form, to encrypt them again: database/schema/0820_secrets.sql."""

from typing import Literal

from pydantic import Field, SecretStr

from router.state.calls.model import Answer, Asked, Items, call
from router.state.database import Database

KeyColumn = Literal["evo_api_key", "llm_api_key"]


class ListSealed(Asked):
    """After which tenant to go on, and how many tenants to read."""

    after: int | None = None
    limit: int | None = None


class SealedKey(Answer):
    """A key in its stored form."""

    tenant_id: int
    column: KeyColumn
    value: SecretStr


class SealedKeys(Answer):
    """A page of keys, in the order of the tenants."""

    items: Items[SealedKey]


class Reseal(Asked):
    """The old and the new stored form of a key."""

    tenant_id: int
    column: KeyColumn
    old: str = Field(repr=False)
    new: str = Field(repr=False)


class Resealed(Answer):
    """Whether the old value was still stored."""

    changed: bool


async def list_sealed(database: Database, asked: ListSealed) -> SealedKeys:
    """Return a page of keys; empty: there are no more."""
    return await call(database, "list_sealed", asked, SealedKeys)


async def reseal(database: Database, asked: Reseal) -> Resealed:
    """Replace the stored form of a key, if it has not changed."""
    return await call(database, "reseal", asked, Resealed)
