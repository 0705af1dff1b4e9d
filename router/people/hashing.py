"""Keyed hashes of JIDs, which stand for erased contacts, and for contacts in the log.

They are HMAC-SHA-256 with a key that is derived (HKDF-SHA-256) from SECRETS_KEY or, if that is not
set, from EVOLUTION_WEBHOOK_SHARED_SECRET. There are so few phone numbers that all can be tried; but
without the key, the table of erased contacts reveals nothing about them.

Both variables have several entries while they are being changed. When a contact is erased, it is
hashed with every entry of the one variable that is used. When a contact writes, it is hashed with
every entry of both. So one common entry is enough to recognise the erased contact, also after
SECRETS_KEY was set for the first time. If all entries that were used at the erasure are gone, the
contact is no longer recognised.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from router.errors import Invalid
from router.whatsapp.clean import JsonObject

_KEY_BYTES = 32
_DIGITS_IN_LOG = 12
_RECENT = 4_096  # a contact who has just written will soon write again


class ContactHashes:
    """Makes the hashes of contacts; without an entry there are none."""

    def __init__(self, entries: Sequence[SecretStr], former: Sequence[SecretStr] = ()) -> None:
        """Take the entries for erasing, and others that may have been used to erase before."""
        self._keys = tuple(_derive(entry) for entry in entries)
        self._all_keys = (*self._keys, *(_derive(entry) for entry in former))

    @classmethod
    def of(
        cls, secrets_key: Sequence[SecretStr], webhook_secrets: Sequence[SecretStr]
    ) -> "ContactHashes":
        """Return the hashes for a deployment with these entries."""
        if not secrets_key:
            return cls(webhook_secrets)
        return cls(secrets_key, webhook_secrets)

    def added_to(self, event: JsonObject) -> JsonObject:
        """Return the event of a webhook with the `hashes` of its contact, if it has one."""
        jids = event.get("jids")
        if not isinstance(jids, list):
            return event
        return event | {"hashes": [_hash(key, str(jid)) for jid in jids for key in self._all_keys]}

    def in_log(self, jids: object) -> str | None:
        """Return what log lines show for a contact with these JIDs: the start of a hash.

        It is the hash of the phone number, if there is one. None without a key, or if none is a
        JID.
        """
        if not self._all_keys or not isinstance(jids, Sequence) or not jids:
            return None
        by_number = next((jid for jid in jids if not str(jid).endswith("@lid")), jids[0])
        return _hash(self._all_keys[0], str(by_number))[:_DIGITS_IN_LOG]

    def by_jid(self, jids: Iterable[str]) -> dict[str, list[str]]:
        """Return the hashes of each JID, by JID. Raises Invalid if nothing can be hashed."""
        if not self._keys:
            raise Invalid("erasing needs a key: set SECRETS_KEY (openssl rand -hex 32 makes one)")
        return {jid: [_hash(key, jid) for key in self._keys] for jid in jids}


def _derive(entry: SecretStr) -> bytes:
    text = entry.get_secret_value().encode()
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"hybridflow erased contacts").derive(text)


@lru_cache(maxsize=_RECENT)
def _hash(key: bytes, jid: str) -> str:
    return hmac.digest(key, jid.encode("utf-8", "backslashreplace"), hashlib.sha256).hex()
