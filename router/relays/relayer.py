"""Claims due relays and has each carried out, several at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from router.relays.delivery import Delivery
from router.running.claims import Claimant, ClaimTerms, Look, seconds_until
from router.state.calls.model import NotRead, readable
from router.state.calls.relays import ClaimedRelay, ClaimRelays, claim_relays
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """How relays are claimed; times in seconds."""

    parallel: int
    lease: float
    poll: float


class Relayer(Claimant[Delivery]):
    """The loop between the state and the deliveries."""

    def __init__(
        self, database: Database, limits: RelayLimits, begin: Callable[[ClaimedRelay], Delivery]
    ) -> None:
        terms = ClaimTerms(limits.poll, limits.poll, "relays could not be claimed")
        super().__init__(limits.parallel, terms)
        self._database = database
        self._limits = limits
        self._begin = begin

    async def _claim(self, free: int) -> Look:
        asked = ClaimRelays(limit=free, lease_seconds=self._limits.lease)
        claimed = await claim_relays(self._database, asked)
        for relay in claimed.relays:
            self._claims.begin(f"relay {relay.name}", partial(self._begin_one, relay))
        more = bool(claimed.relays)  # later relays of the same chats, and new ones
        return Look(more=more, due_in=seconds_until(claimed.next_due_at, claimed.now))

    def _begin_one(self, relay: ClaimedRelay | NotRead) -> Delivery:
        return self._begin(readable(relay))
