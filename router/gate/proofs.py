"""Finds out before a body is read whether the caller has a valid credential.

So junk costs no parsing, no memory and no place, and uses up only its own limits: invalid keys
never block a valid one from the same address.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi.security.utils import get_authorization_scheme_param
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from router.errors import UnknownCaller
from router.gate.identity import CallerIdentity, identify
from router.gate.keys import same_secret
from router.gate.lookups import LookUps, Proven, Refused
from router.gate.user_tokens import UserTokens
from router.http.unauthorised import SignInAway, Unauthorised
from router.sharing.lanes import Lanes
from router.state.calls.gate import ProveCaller, ProveFlow, prove_caller, prove_flow
from router.state.calls.model import Refusal
from router.state.database import Database
from router.state.flow_tokens import DryToken, NoticeToken, TurnToken

CRON = "cron"
"""The name of a caller with CRON_SECRET."""


@dataclass(frozen=True, slots=True)
class ProvenCaller:
    """The caller, and the holder for which its bodies, places and connections are counted.

    All keys and users of a tenant are one holder, so many keys give a tenant no more than one key.
    `is_ours`: the caller has a secret of the deployment, which no tenant has.
    """

    name: str
    holder: str
    is_ours: bool = False


class Proofs:
    """Finds who has sent a valid credential. Two spellings of a credential are one caller."""

    def __init__(self, keys: Mapping[str, SecretStr], cron_secret: SecretStr | None) -> None:
        self._keys = keys
        self._cron_secret = cron_secret
        lanes = Lanes()
        self._of_keys = LookUps(lanes)
        self._of_flows = LookUps(lanes)

    def of_cron(self, scope: Scope) -> ProvenCaller | None:
        """Return CRON, or None if CRON_SECRET was not sent."""
        shown = Headers(scope=scope).get("x-cron-secret")
        right = self._cron_secret
        is_right = right is not None and shown and same_secret(shown, right)
        return ProvenCaller(CRON, CRON, is_ours=True) if is_right else None

    async def of_caller(
        self, scope: Scope, block: str, tokens: UserTokens, database: Database
    ) -> ProvenCaller | None:
        """Return the caller of the API, or None if the endpoint will say what is wrong.

        `block` is the address block of the call. Raises Refused for an unknown key (the endpoint
        would look it up again), TooMuch and DatabaseAway.
        """
        try:
            identity = await identify(shown_by(scope), self._keys, tokens)
        except (Unauthorised, SignInAway):
            return None
        claim = identity.claim
        if claim["kind"] not in ("key", "user"):
            name = f"{claim['kind']} {claim['name']}"
            return ProvenCaller(name, name, is_ours=True)
        name = f"{claim['kind']} {claim.get('key_hash') or claim['user_id']}"
        proven = await self._of_keys.prove(name, block, lambda: _look_up_key(identity, database))
        if (tenant := proven.tenant_id) is not None:
            return ProvenCaller(name, f"callers of tenant {tenant}")
        return ProvenCaller(name, name if claim["kind"] == "key" else "users of no tenant")

    async def of_flow(
        self, token: TurnToken | NoticeToken | DryToken, block: str, database: Database
    ) -> int | None:
        """Return the tenant of the token's turn, notice or test turn.

        Raises Refused with the reason, TooMuch and DatabaseAway.
        """
        proven = await self._of_flows.prove(str(token), block, lambda: _look_up(token, database))
        return proven.tenant_id

    def forget(self, caller: str) -> None:
        """Look this caller up again the next time, because it was refused."""
        self._of_keys.forget(caller)


async def _look_up_key(identity: CallerIdentity, database: Database) -> Proven:
    try:
        proven = await prove_caller(database, ProveCaller(caller=identity.claim))
    except UnknownCaller as error:
        raise Refused(str(error)) from error
    return Proven(proven.tenant_id)


async def _look_up(token: TurnToken | NoticeToken | DryToken, database: Database) -> Proven:
    proven = await prove_flow(database, ProveFlow(**token.held))
    if isinstance(proven, Refusal):
        raise Refused(proven.refused)
    return Proven(proven.tenant_id)


def shown_by(scope: Scope) -> str | None:
    """Return the key or token of an API call, as its endpoints read it."""
    headers = Headers(scope=scope)
    if key := headers.get("x-api-key"):
        return key
    scheme, shown = get_authorization_scheme_param(headers.get("authorization"))
    return shown if scheme.lower() == "bearer" else None
