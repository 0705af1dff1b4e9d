"""Tenants' keys as they are stored, to be encrypted again: database/schema/0820_secrets.sql."""

from typing import Literal

from pydantic import Field, SecretStr

from router.state.calls.model import Answer, Asked, Items, call
from router.state.database import Database

KeyColumn = Literal["evo_api_key", "llm_api_key"]


class ListSealed(Asked):
    """Behind which tenant, and of how many."""

    after: int | None = None
    limit: int | None = None


class SealedKey(Answer):
    """A key as it is stored."""

    tenant_id: int
    column: KeyColumn
    value: SecretStr


class SealedKeys(Answer):
    """Some, in the order of the tenants."""

    items: Items[SealedKey]


class Reseal(Asked):
    """What takes the place of what."""

    tenant_id: int
    column: KeyColumn
    old: str = Field(repr=False)
    new: str = Field(repr=False)


class Resealed(Answer):
    """Whether the old value was still there."""

    changed: bool


async def list_sealed(database: Database, asked: ListSealed) -> SealedKeys:
    """Return some keys; none: there are no more."""
    return await call(database, "list_sealed", asked, SealedKeys)


async def reseal(database: Database, asked: Reseal) -> Resealed:
    """Put a key, encrypted again, into the place of what it was."""
    return await call(database, "reseal", asked, Resealed)
