"""Secrets at rest: sealed before they are stored, opened when they are used.

AES-256-GCM with a random nonce and a key derived (HKDF-SHA-256) from an entry of SECRETS_KEY. The
place of a value (column and tenant) is authenticated as well: a sealed value that is copied to
another row or column cannot be opened there. The stored form is `sealed:1:<key>:<nonce and
ciphertext in base64>`; <key> says which of several keys was used.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from router.configuration.declaring import named
from router.configuration.tenant_settings import SETTINGS

_PREFIX = "sealed:1:"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class CannotOpen(Exception):
    """A sealed value that cannot be opened: no key fits, or it was made for another place."""


def is_sealed(stored: str) -> bool:
    """Whether a stored value is sealed. Values from before SECRETS_KEY was set are plain text."""
    return stored.startswith(_PREFIX)


class Vault:
    """Seals with the first key, and opens with any of the keys; without a key it can do neither."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        derived = [_derive(key) for key in keys]
        self._keys = {_name(key): AESGCM(key) for key in derived}
        self._current = _name(derived[0]) if derived else None

    @property
    def has_key(self) -> bool:
        """Whether SECRETS_KEY is set."""
        return self._current is not None

    def seal(self, plain: str, place: str) -> str:
        """Return the stored form of the value for `place`; without a key, the value unchanged."""
        if self._current is None:
            return plain
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._keys[self._current].encrypt(
            nonce, plain.encode("utf-8", "surrogatepass"), _bound(self._current, place)
        )
        text = base64.urlsafe_b64encode(nonce + ciphertext).decode()
        return f"{_PREFIX}{self._current}:{text}"

    def open(self, stored: str, place: str) -> SecretStr:
        """Return the value behind the stored form in `place`. Raises CannotOpen."""
        if not is_sealed(stored):
            return SecretStr(stored)
        name, _, text = stored.removeprefix(_PREFIX).partition(":")
        if name not in self._keys:
            has = "lacks the key that it was encrypted with" if self._keys else "is not set"
            raise CannotOpen(f"it is encrypted, and SECRETS_KEY {has}")
        try:
            sealed = base64.urlsafe_b64decode(text)
            plain = self._keys[name].decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(name, place)
            )
        except (InvalidTag, binascii.Error, ValueError):
            raise CannotOpen("it was changed, or encrypted for another place") from None
        return SecretStr(plain.decode("utf-8", "surrogatepass"))

    def is_current(self, stored: str) -> bool:
        """Whether a stored value is sealed with the first key."""
        return self._current is not None and stored.startswith(f"{_PREFIX}{self._current}:")


KEY_COLUMNS = named(SETTINGS, "key")
"""The tenants' columns whose values are sealed."""


def place_of_key(column: str, tenant_id: int) -> str:
    """Return the place of a tenant's key."""
    return f"tenants.{column}:{tenant_id}"


def _bound(key_name: str, place: str) -> bytes:
    return f"{_PREFIX}{key_name}:{place}".encode()


def _derive(key: SecretStr) -> bytes:
    text = key.get_secret_value().encode()
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"hybridflow secrets at rest").derive(text)


def _name(derived: bytes) -> str:
    return hashlib.sha256(b"hybridflow key name" + derived).hexdigest()[:8]
