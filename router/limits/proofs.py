"""Whether a caller shows a right credential, found out before its body is read.

So junk costs no parsing, no memory and no place, and what it uses up is its own: a right key is
never shut out by the wrong ones that come from the same address.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from fastapi.security.utils import get_authorization_scheme_param
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from router.errors import UnknownCaller
from router.http_errors import SignInAway, Unauthorised
from router.operators.identity import CallerIdentity, identify
from router.operators.keys import same_secret
from router.operators.user_tokens import UserTokens
from router.state.database import Database

_MOST_KNOWN = 10_000
_LIFE = 60.0  # seconds that a key of the state's is not asked for again

CRON = "cron"
"""The name of whoever shows CRON_SECRET."""


class Proofs:
    """Who has shown a right credential. Two spellings of one credential are one caller."""

    def __init__(
        self,
        keys: Mapping[str, SecretStr],
        cron_secret: SecretStr | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._cron_secret = cron_secret
        self._clock = clock
        self._known: OrderedDict[str, float] = OrderedDict()

    def of_cron(self, scope: Scope) -> str | None:
        """Return CRON, or None where CRON_SECRET is not shown."""
        shown = Headers(scope=scope).get("x-cron-secret")
        right = self._cron_secret
        return CRON if right is not None and shown and same_secret(shown, right) else None

    async def of_caller(self, scope: Scope, tokens: UserTokens, database: Database) -> str | None:
        """Return a name for the caller of the API, or None. Raises DatabaseAway."""
        try:
            identity = await identify(shown_by(scope), self._keys, tokens)
            return await self._proven(identity, database)
        except (Unauthorised, SignInAway, UnknownCaller):
            return None  # the endpoint says what is wrong

    def forget(self, caller: str) -> None:
        """Ask anew when this caller comes again: it was refused."""
        self._known.pop(caller, None)

    async def _proven(self, identity: CallerIdentity, database: Database) -> str:
        claim = identity.claim
        shown = claim.get("key_hash") or claim.get("user_id") or claim["name"]
        caller = f"{claim['kind']} {shown}"
        if claim["kind"] == "key" and self._known.get(caller, 0.0) <= self._clock():
            await database.call("prove_caller", {"caller": claim})
            self._known[caller] = self._clock() + _LIFE
            self._known.move_to_end(caller)
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return caller


def shown_by(scope: Scope) -> str | None:
    """Return the key or token that a call of the API shows, as its endpoints read it."""
    headers = Headers(scope=scope)
    if key := headers.get("x-api-key"):
        return key
    scheme, shown = get_authorization_scheme_param(headers.get("authorization"))
    return shown if scheme.lower() == "bearer" else None
