"""Claims due notices and has each told, several at a time; the loop is `router.running.claims`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from router.notices.delivery import Delivery
from router.running.claims import Claimant, Look, seconds_until
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


class Notifier(Claimant[Delivery]):
    """The loop between the state and the deliveries."""

    def __init__(
        self,
        database: Database,
        limits: NoticeLimits,
        begin: Callable[[ClaimedNotice], Delivery],
    ) -> None:
        super().__init__(limits.parallel, limits.poll, "notices could not be claimed")
        self._database = database
        self._limits = limits
        self._begin = begin
        self._after_tenant = 0

    async def _claim(self, free: int) -> Look:
        """Claim what is due and begin to tell it."""
        asked = ClaimNotices(
            limit=free,
            lease_seconds=self._limits.lease,
            max_attempts=self._limits.max_attempts,
            after_tenant=self._after_tenant,
            # A tenant whose webhook hangs is being told as long as it does.
            own=Counter(str(each.tenant_id) for each in self._claims.under_way.values()),
            own_times=TENANT,
        )
        claimed = await claim_notices(self._database, asked)
        self._after_tenant = claimed.after_tenant
        for notice in claimed.notices:
            self._claims.begin(f"notice {notice.name}", partial(self._begin_one, notice))
        if claimed.more:  # where none could be had, others look at them
            return Look(more=bool(claimed.notices), due_in=0.0)
        return Look(more=False, due_in=seconds_until(claimed.next_due_at, claimed.now))

    def _begin_one(self, notice: ClaimedNotice | NotRead) -> Delivery:
        return self._begin(readable(notice))
