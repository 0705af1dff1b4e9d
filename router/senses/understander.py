"""Claims media jobs and starts an attempt for each, several at a time (see `router.running`)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from router.running.claims import ClaimTerms, Look, TenantsClaimant
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


class Understander(TenantsClaimant[MediaAttempt]):
    """The loop between the state and the attempts."""

    def __init__(
        self,
        database: Database,
        limits: JobLimits,
        begin: Callable[[ClaimedMediaJob], MediaAttempt],
    ) -> None:
        terms = ClaimTerms(limits.poll, limits.poll, "media jobs could not be claimed")
        super().__init__(limits.parallel, terms)
        self._database = database
        self._limits = limits
        self._begin = begin

    async def _claim(self, free: int) -> Look:
        asked = ClaimMediaJobs(
            limit=free,
            lease_seconds=self._limits.lease,
            max_attempts=self._limits.max_attempts,
            after_tenant=self._after_tenant,
            own=self._own(),
            own_times=TENANT,
        )
        claimed = await claim_media_jobs(self._database, asked)
        for job in claimed.jobs:
            self._claims.begin(f"media job {job.name}", partial(self._begin_one, job))
        return self._seen(claimed, some=bool(claimed.jobs))

    def _begin_one(self, job: ClaimedMediaJob | NotRead) -> MediaAttempt:
        return self._begin(readable(job))
