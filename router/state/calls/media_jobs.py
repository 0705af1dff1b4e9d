"""The jobs that put media into words.

database/schema/0660_media_claims.sql, 0661_media_jobs.sql and 0661_media_read.sql.
"""

from typing import Annotated, TypeAlias, TypedDict

from router.state.calls.model import (
    Answer,
    Asked,
    Done,
    Items,
    Moment,
    NotRead,
    Refusal,
    StoredInstance,
    Text,
    Values,
    call,
    call_or_refused,
    each_by_itself,
)
from router.state.database import Database


class HeldMediaJob(TypedDict):
    """A job's id and token: what every call about an attempt at it contains."""

    job_id: int
    token: str


class ClaimedMediaJob(StoredInstance):
    """One attempt at a job. `seconds` and `bytes` are what WhatsApp reported of the media."""

    job_id: int
    token: str
    attempt: int
    message_id: int
    session_id: int
    wa_id: str | None
    kind: str
    seconds: float | None
    bytes: int | None
    language: str | None
    has_content: bool = False
    keeps: bool = False
    keep_only: bool = False

    @property
    def name(self) -> str:
        """Its name in the log: its id."""
        return str(self.job_id)

    @property
    def held(self) -> HeldMediaJob:
        """What every SQL call about this attempt must contain."""
        return {"job_id": self.job_id, "token": self.token}


class ClaimMediaJobs(Asked):
    """The claiming worker, how many jobs it takes, and each tenant's limits."""

    limit: int
    lease_seconds: float
    max_attempts: int
    after_tenant: int | None = None
    tenant_max: int | None = None
    own: dict[str, int] | None = None
    own_max: int | None = None
    sitting: dict[str, int] | None = None
    own_times: float | None = None


JobOrNot: TypeAlias = ClaimedMediaJob | NotRead


class ClaimedMediaJobs(Answer):
    """The claimed jobs. One that cannot be read does not affect the others."""

    jobs: Annotated[tuple[JobOrNot, ...], each_by_itself(ClaimedMediaJob, "job_id")]
    now: Moment
    after_tenant: int
    more: bool
    next_due_at: Moment | None


async def claim_media_jobs(database: Database, asked: ClaimMediaJobs) -> ClaimedMediaJobs:
    """Claim due jobs, each for one attempt."""
    return await call(database, "claim_media_jobs", asked, ClaimedMediaJobs)


class RenewMediaJob(Asked):
    """The job whose worker is still alive, and its new lease."""

    job_id: int
    token: str
    lease_seconds: float


async def renew_media_job(database: Database, asked: RenewMediaJob) -> Done | Refusal:
    """Renew a job's lease."""
    return await call_or_refused(database, "renew_media_job", asked, Done, Refusal)


class BeginMediaJob(Asked):
    """An attempt that is about to call a paid service."""

    job_id: int
    token: str
    policy: Values
    tokens: int | None = None


async def begin_media_job(database: Database, asked: BeginMediaJob) -> Done | Refusal:
    """Ask whether the budget has room for the attempt."""
    return await call_or_refused(database, "begin_media_job", asked, Done, Refusal)


class FinishMediaJob(Asked):
    """The words for the media; an empty transcript: no words were heard."""

    job_id: int
    token: str
    transcript: Text | None = None
    description: Text | None = None
    pictures: tuple[str, ...] | None = None
    tokens: int | None = None
    used: tuple[str, ...] | None = None
    policy: Values | None = None


class MediaJobFinished(Done):
    """The words are stored; the turn that waited for them is due in `due_in` seconds."""

    due_in: float | None = None


async def finish_media_job(database: Database, asked: FinishMediaJob) -> MediaJobFinished | Refusal:
    """Store the words with the message, and let its turn go on."""
    return await call_or_refused(database, "finish_media_job", asked, MediaJobFinished, Refusal)


class GiveMedia(Asked):
    """Media in base64 that came in the webhook of its message."""

    tenant_id: int
    message_id: int
    content: Text


class MediaGiven(Done):
    """Whether a job took the media."""

    taken: bool


async def give_media(database: Database, asked: GiveMedia) -> MediaGiven:
    """Keep the media for its job. Raises Invalid if it is not base64."""
    return await call(database, "give_media", asked, MediaGiven)


class ReadMedia(Asked):
    """The attempt that wants the media kept for its job."""

    job_id: int
    token: str


class MediaRead(Answer):
    """The media in base64; None: none was kept."""

    content: str | None


async def read_media(database: Database, asked: ReadMedia) -> MediaRead | Refusal:
    """Return the media that was kept for a job."""
    return await call_or_refused(database, "read_media", asked, MediaRead, Refusal)


class ReadPictures(Asked):
    """The attempt at a turn, and how many pictures it can show."""

    turn_id: int
    token: str
    most: int


class StoredPicture(Answer):
    """A message's picture: a JPEG in base64."""

    message_id: int
    kind: str
    jpeg: str


class PicturesRead(Answer):
    """The pictures for the LLM, the oldest first, and how many of the turn's were left out."""

    pictures: Items[StoredPicture]
    left_out: int


async def read_pictures(database: Database, asked: ReadPictures) -> PicturesRead | Refusal:
    """Return the pictures that the LLM is shown for a turn."""
    return await call_or_refused(database, "read_pictures", asked, PicturesRead, Refusal)


class FailMediaJob(Asked):
    """An attempt that produced no words, and when the job may be tried again."""

    job_id: int
    token: str
    error: Text
    final: bool
    max_attempts: int
    base_seconds: float
    given_back: bool | None = None
    wait_seconds: float | None = None
    tokens: int | None = None
    away: str | None = None
    retry_after: float | None = None
    keep_trying_seconds: float | None = None


class MediaJobFailed(Answer):
    """The job's state now; see MediaJobFinished."""

    state: str
    due_in: float | None = None


async def fail_media_job(database: Database, asked: FailMediaJob) -> MediaJobFailed | Refusal:
    """Record that an attempt produced no words."""
    return await call_or_refused(database, "fail_media_job", asked, MediaJobFailed, Refusal)
