"""Claims due notices and has each told, several at a time; the loop is `router.running.claims`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from router.notices.delivery import Delivery
from router.running.claims import ClaimLoop, ClaimTerms, Look, seconds_until
from router.running.stopping import STOP_GRACE
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


class Notifier:
    """The loop between the state and the deliveries."""

    def __init__(
        self,
        database: Database,
        limits: NoticeLimits,
        begin: Callable[[ClaimedNotice], Delivery],
    ) -> None:
        self._database = database
        self._limits = limits
        self._begin = begin
        self._after_tenant = 0
        terms = ClaimTerms(limits.poll, limits.poll, "notices could not be claimed")
        self._claims = ClaimLoop[Delivery](self._claim, self._free, terms)

    def wake(self) -> None:
        """There may be a notice to claim."""
        self._claims.wake()

    async def run(self) -> None:
        """Claim and tell until `stop`."""
        await self._claims.run()

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Claim nothing more; a message that is leaving has `grace` seconds to end."""
        await self._claims.stop(grace)

    def _free(self) -> int:
        return self._limits.parallel - len(self._claims.under_way)

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
