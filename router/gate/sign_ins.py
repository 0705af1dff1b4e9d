"""Sign-ins of browsers: a key of the API, sealed in a cookie that no script can read.

Nothing is stored here. The cookie contains the key and an expiry, sealed, so that every router of a
deployment can read it. Revoking a key ends all its sign-ins, because it is looked up at each call
like any other.
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
    """How browsers store it; `__Host-` makes them refuse it from other hosts and without TLS."""

    is_https: bool

    @property
    def name(self) -> str:
        """What it is called."""
        return "__Host-hybridflow" if self.is_https else "hybridflow"

    def kept(self, sealed: str) -> str:
        """Return the header that makes a browser store it."""
        return f"{self.name}={sealed}; Max-Age={LIFE}; {self._terms}"

    @property
    def dropped(self) -> str:
        """The header that makes a browser delete it."""
        return f"{self.name}=; Max-Age=0; {self._terms}"

    @property
    def _terms(self) -> str:
        return "Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if self.is_https else "")


@dataclass(frozen=True, slots=True)
class Cookies:
    """Which of the two cookies a browser gets and may send.

    If PUBLIC_URL is https, only the one for TLS. Elsewhere a server that ends TLS may stand before
    us, which only the page of a sign-in shows.
    """

    are_https: bool

    @property
    def read(self) -> tuple[Cookie, ...]:
        """Those that count, first the one that nobody on the way can set."""
        return (FOR_TLS,) if self.are_https else (FOR_TLS, WITHOUT_TLS)

    def of_page(self, origin: str | None) -> Cookie:
        """Return the one for who signs in on a page of this origin."""
        is_https = self.are_https or (origin or "").lower().startswith("https://")
        return FOR_TLS if is_https else WITHOUT_TLS


FOR_TLS = Cookie(is_https=True)
WITHOUT_TLS = Cookie(is_https=False)


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a browser sends: a key, until `ends_at` (seconds since 1970). `mark` stands for it."""

    key: str = field(repr=False)
    ends_at: float
    mark: str


class SignIns:
    """Makes and reads what a cookie holds."""

    def __init__(self, secrets: Sequence[SecretStr]) -> None:
        """Take SECRETS_KEY: other people know what else routers share, and could seal with it."""
        self._vault = Vault(secrets)

    @property
    def are_possible(self) -> bool:
        """Whether there is a key to seal with."""
        return self._vault.has_key

    def make(self, key: str, *, now: float | None = None) -> str:
        """Return the key with its end, sealed."""
        if not self.are_possible:
            raise ValueError("no key to seal with: set SECRETS_KEY")
        ends = int((time.time() if now is None else now) + LIFE)
        return self._vault.seal(f"{ends}:{key}", _PLACE)

    def opened(self, sealed: str, *, now: float | None = None) -> SignIn | None:
        """Return the sign-in, or None if it is over, or not one of ours."""
        if not self.are_possible or not is_sealed(sealed):
            return None
        try:
            ends, _, key = self._vault.open(sealed, _PLACE).get_secret_value().partition(":")
        except CannotOpen:
            return None
        if int(ends) <= (time.time() if now is None else now):
            return None
        return SignIn(key, float(ends), hashlib.sha256(sealed.encode()).hexdigest())
