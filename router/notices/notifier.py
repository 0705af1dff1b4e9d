"""Claims due notices and delivers each, several at a time; the loop is `router.running.claims`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from router.notices.delivery import Delivery
from router.running.claims import ClaimTerms, Look, TenantsClaimant
from router.sharing.shares import TENANT
from router.state.calls.model import NotRead, readable
from router.state.calls.notices import ClaimedNotice, ClaimNotices, claim_notices
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class NoticeLimits:
    """How notices are claimed; times in seconds."""

    parallel: int
    lease: float
    max_attempts: int
    poll: float


class Notifier(TenantsClaimant[Delivery]):
    """The loop between the state and the deliveries."""

    def __init__(
        self,
        database: Database,
        limits: NoticeLimits,
        begin: Callable[[ClaimedNotice, float], Delivery],
    ) -> None:
        """`begin` gets a claimed notice, and when its lease ends (monotonic)."""
        terms = ClaimTerms(limits.poll, limits.poll, "notices could not be claimed")
        super().__init__(limits.parallel, terms)
        self._database = database
        self._limits = limits
        self._begin = begin

    async def _claim(self, free: int) -> Look:
        """Claim due notices and begin to deliver them."""
        asked = ClaimNotices(
            limit=free,
            lease_seconds=self._limits.lease,
            max_attempts=self._limits.max_attempts,
            after_tenant=self._after_tenant,
            own=self._own(),  # a delivery to a webhook that hangs counts as long as it hangs
            own_times=TENANT,
        )
        lease_ends = monotonic() + self._limits.lease  # the state counts from later on
        claimed = await claim_notices(self._database, asked)
        for notice in claimed.notices:
            self._claims.begin(
                f"notice {notice.name}", partial(self._begin_one, notice, lease_ends)
            )
        return self._seen(claimed, some=bool(claimed.notices))

    def _begin_one(self, notice: ClaimedNotice | NotRead, lease_ends: float) -> Delivery:
        return self._begin(readable(notice), lease_ends)
