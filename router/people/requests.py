"""What is done with all of one contact's data: found, exported, erased."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.errors import Conflict
from router.operators.numbers import contact_jids
from router.people.hashing import ContactHashes
from router.state.database import Database, Json
from router.webhook.jids import is_group, normalise_jid

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who asks for their data: a contact of a tenant (or a whole group)."""

    tenant_id: int
    jids: tuple[str, ...]

    @classmethod
    def known_as(cls, tenant_id: int, contact: str) -> "Person":
        """Take a number in any spelling, or a JID. Raises Invalid for what is neither."""
        jid = normalise_jid(contact)
        return cls(tenant_id, (jid,) if is_group(jid) else contact_jids(contact))

    @property
    def named(self) -> Json:
        """What the SQL functions are told of whom it is about."""
        return {"tenant_id": self.tenant_id, "jids": self.jids}


async def export_contact(database: Database, person: Person) -> Json:
    """Return all that is stored of the person. Raises NotFound."""
    contact: Json = (await database.call("export_contact", person.named))["contact"]
    return contact


async def erase_contact(database: Database, hashes: ContactHashes, person: Person) -> Json:
    """Erase the person for good; return what was erased. Raises NotFound, Invalid and Conflict.

    The hashes are made here, for identities that only the state knows; a contact who becomes known
    under another between the two calls is looked up again.
    """
    for last_try in [False] * (_TRIES - 1) + [True]:
        found = await database.call("find_contact", person.named)
        known: Sequence[str] = found["identities"]
        by_jid = hashes.by_jid({*person.jids, *known})
        try:
            return await database.call("erase_contact", {**person.named, "hashes": by_jid})
        except Conflict:
            if last_try:
                raise
    raise AssertionError
