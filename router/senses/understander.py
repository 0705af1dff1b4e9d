"""Claims media jobs and has each worked on, several at a time; the loop is in `router.running`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from router.running.claims import Claimant, Look, seconds_until
from router.senses.attempt import MediaAttempt
from router.sharing.shares import TENANT
from router.state.calls.media_jobs import ClaimedMediaJob, ClaimMediaJobs, claim_media_jobs
from router.state.calls.model import NotRead, readable
from router.state.database import Database


@dataclass(frozen=True, slots=True)
class JobLimits:
    """How jobs are claimed; times in seconds."""

    parallel: int
    lease: float
    max_attempts: int
    poll: float


class Understander(Claimant[MediaAttempt]):
    """The loop between the state and the attempts."""

    def __init__(
        self,
        database: Database,
        limits: JobLimits,
        begin: Callable[[ClaimedMediaJob], MediaAttempt],
    ) -> None:
        super().__init__(limits.parallel, limits.poll, "media jobs could not be claimed")
        self._database = database
        self._limits = limits
        self._begin = begin
        self._after_tenant = 0

    async def _claim(self, free: int) -> Look:
        asked = ClaimMediaJobs(
            limit=free,
            lease_seconds=self._limits.lease,
            max_attempts=self._limits.max_attempts,
            after_tenant=self._after_tenant,
            own=Counter(str(each.tenant_id) for each in self._claims.under_way.values()),
            own_times=TENANT,
        )
        claimed = await claim_media_jobs(self._database, asked)
        self._after_tenant = claimed.after_tenant
        for job in claimed.jobs:
            self._claims.begin(f"media job {job.name}", partial(self._begin_one, job))
        if claimed.more:  # where none could be had, others look at them
            return Look(more=bool(claimed.jobs), due_in=0.0)
        return Look(more=False, due_in=seconds_until(claimed.next_due_at, claimed.now))

    def _begin_one(self, job: ClaimedMediaJob | NotRead) -> MediaAttempt:
        return self._begin(readable(job))
