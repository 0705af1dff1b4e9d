"""Sign-ins of browsers: a key of the API, sealed in a cookie that no script can read.

Nothing is stored on the server. The cookie contains the sealed key and its expiry, so every router
of a deployment can read it. Revoking the key ends all its sign-ins, because the key is looked up at
each call like any other.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from router.tenants.sealing import CannotOpen, Vault, is_sealed

LIFE = 12 * 3600
"""Seconds from a sign-in to its end."""
_PLACE = "sign-in of a browser"


@dataclass(frozen=True, slots=True)
class Cookie:
    """How browsers store the cookie; `__Host-` means: only from this host, and only over TLS."""

    is_https: bool

    @property
    def name(self) -> str:
        """The cookie's name."""
        return "__Host-hybridflow" if self.is_https else "hybridflow"

    def kept(self, sealed: str) -> str:
        """Return the header that makes a browser store the cookie."""
        return f"{self.name}={sealed}; Max-Age={LIFE}; {self._terms}"

    @property
    def dropped(self) -> str:
        """The header that makes a browser delete the cookie."""
        return f"{self.name}=; Max-Age=0; {self._terms}"

    @property
    def _terms(self) -> str:
        return "Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if self.is_https else "")


@dataclass(frozen=True, slots=True)
class Cookies:
    """Which of the two cookies a browser gets and may send.

    If PUBLIC_URL is https, only the cookie for TLS counts. Otherwise a proxy may terminate TLS, and
    only the origin of the sign-in's page shows whether it does.
    """

    are_https: bool

    @property
    def read(self) -> tuple[Cookie, ...]:
        """The cookies that count, first the one that an attacker on the network cannot set."""
        return (FOR_TLS,) if self.are_https else (FOR_TLS, WITHOUT_TLS)

    def of_page(self, origin: str | None) -> Cookie:
        """Return the cookie for a sign-in on a page of this origin."""
        is_https = self.are_https or (origin or "").lower().startswith("https://")
        return FOR_TLS if is_https else WITHOUT_TLS


FOR_TLS = Cookie(is_https=True)
WITHOUT_TLS = Cookie(is_https=False)


@dataclass(frozen=True, slots=True)
class SignIn:
    """A key that is valid until `ends_at` (seconds since 1970). `mark` identifies the sign-in."""

    key: str = field(repr=False)
    ends_at: float
    mark: str


class SignIns:
    """Makes and reads the content of the cookies."""

    def __init__(self, secrets: Sequence[SecretStr]) -> None:
        """`secrets` is SECRETS_KEY: other secrets that routers share are known to other people."""
        self._vault = Vault(secrets)

    @property
    def are_possible(self) -> bool:
        """Whether there is a key to seal with."""
        return self._vault.has_key

    def make(self, key: str, *, now: float | None = None) -> str:
        """Return the key with its expiry, sealed."""
        if not self.are_possible:
            raise ValueError("no key to seal with: set SECRETS_KEY")
        ends = int((time.time() if now is None else now) + LIFE)
        return self._vault.seal(f"{ends}:{key}", _PLACE)

    def opened(self, sealed: str, *, now: float | None = None) -> SignIn | None:
        """Return the sign-in, or None if it has expired or is not one of ours."""
        if not self.are_possible or not is_sealed(sealed):
            return None
        try:
            ends, _, key = self._vault.open(sealed, _PLACE).get_secret_value().partition(":")
        except CannotOpen:
            return None
        if int(ends) <= (time.time() if now is None else now):
            return None
        return SignIn(key, float(ends), hashlib.sha256(sealed.encode()).hexdigest())
