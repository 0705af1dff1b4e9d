"""One attempt at a media job: fetch the media, identify it by its bytes, put it into words."""

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypedDict

from router.errors import StateError
from router.evolution.client import EvolutionClient
from router.evolution.errors import AnswerTooLarge, EvolutionAway, EvolutionError
from router.http.bodies import Bodies, TooMuch
from router.kept.keeping import Keeping
from router.logs.events import Action, bind_correlation, log_event
from router.senses.decoding import As, Decoder, Opened
from router.senses.hearing import Listener, Need, NeedAway, NoRoom, NotUnderstood, Sound
from router.senses.seeing import Describer, words_of
from router.senses.transcriptions import TOKENS_A_SECOND
from router.state.calls.media_jobs import (
    BeginMediaJob,
    ClaimedMediaJob,
    FailMediaJob,
    FinishMediaJob,
    MediaJobFailed,
    MediaJobFinished,
    ReadMedia,
    RenewMediaJob,
    begin_media_job,
    fail_media_job,
    finish_media_job,
    read_media,
    renew_media_job,
)
from router.state.calls.model import Refusal
from router.state.database import Database, Json
from router.state.entrances import on_behalf_of
from router.tenants.instance import InstanceKeys
from router.tenants.policy import HEARD
from router.whatsapp.clean import clean

_log = logging.getLogger(__name__)
_TIMES_IN_MEMORY = 4  # copies of media: Evolution's answer, while it is read, its bytes, as sent
_BEATS = 3  # renewals in each lease
_SLACK = 64 * 1024  # bytes by which media may be larger than WhatsApp said
_KEEP_TRYING = 86_400.0  # seconds that media waits for an away service; pictures are kept as long
_NO_ROOM_FOR = 3.0  # seconds until media for which there was no room is tried again


class Understood(TypedDict, total=False):
    """The recorded result of a media job: `FinishMediaJob(**held, **understood)`."""

    transcript: str | None
    description: str | None
    pictures: tuple[str, ...]


class _Away(TypedDict, total=False):
    away: Need
    retry_after: float | None
    keep_trying_seconds: float


@dataclass(frozen=True, slots=True)
class Senses:
    """The services of every attempt. `wake_turns` gets the seconds until a turn is due.

    `describer` is set only if the LLM that answers does not get pictures, `keeping` only if files
    are kept.
    """

    database: Database
    evolution: EvolutionClient
    keys: InstanceKeys
    listener: Listener | None
    decoder: Decoder
    describer: Describer | None
    keeping: Keeping | None
    bodies: Bodies
    budgets: Mapping[str, int]
    policy: Json
    most_bytes: int
    lease: float
    max_attempts: int
    retry_base: float
    wake_turns: Callable[[float], None]


class MediaAttempt:
    """An attempt in progress; see `run`."""

    def __init__(self, job: ClaimedMediaJob, senses: Senses) -> None:
        self._job = job
        self._senses = senses
        self._stopped = False
        self._used: set[Need] = set()
        self._spent = 0
        """The tokens that this attempt has cost; they are counted even if it fails."""

    @property
    def tenant_id(self) -> int:
        """The job's tenant."""
        return self._job.tenant_id

    def stop(self) -> bool:
        """Give the job back. True: the task may be cancelled, because all of it can be repeated."""
        was_stopped, self._stopped = self._stopped, True
        return not was_stopped

    async def run(self) -> None:
        """Work on the job, and tell the state how it ended; interrupted work is done again."""
        with (
            bind_correlation(f"media-{self._job.job_id}", None),
            on_behalf_of(f"tenant {self._job.tenant_id}"),
        ):
            renewing = asyncio.create_task(
                self._renew(), name=f"lease of media job {self._job.name}"
            )
            try:
                await self._work()
            except asyncio.CancelledError:
                await asyncio.shield(self._give_back())
                raise
            except StateError as error:
                self._log_failure(f"the result was not recorded: {error}")
            finally:
                renewing.cancel()

    async def _renew(self) -> None:
        """Renew the lease while this process lives, so that it can be short."""
        asked = RenewMediaJob(**self._job.held, lease_seconds=self._senses.lease)
        while True:
            await asyncio.sleep(self._senses.lease / _BEATS)
            with suppress(StateError):
                await renew_media_job(self._senses.database, asked)

    async def _work(self) -> None:
        if self._stopped:
            await self._give_back()
            return
        try:
            understood = await self._understand()
        except NoRoom as error:
            await self._give_back(str(error), _NO_ROOM_FOR)
            return
        except NotUnderstood as error:
            await self._fail(error)
            return
        if understood is None:
            return
        asked = FinishMediaJob(
            **self._job.held,
            **_storable(understood),
            tokens=self._spent,
            used=tuple(sorted(self._used)) or None,
            policy=self._senses.policy,
        )
        self._told(await finish_media_job(self._senses.database, asked))

    async def _understand(self) -> Understood | None:
        """Return what the media says and shows; None if the state no longer wants the result.

        Raises NotUnderstood.
        """
        senses, job = self._senses, self._job
        most = senses.most_bytes
        if job.bytes and job.bytes > most:
            raise NotUnderstood(f"it has {job.bytes} bytes, more than {most}", final=True)
        if job.bytes:
            most = min(most, job.bytes + _SLACK)
        try:
            with senses.bodies.keeping_more(str(job.tenant_id)) as keep:
                keep(_TIMES_IN_MEMORY * most)
                content = await self._fetch(most)
                if senses.keeping is None:
                    return await self._read(content)
                async with senses.keeping.beside(job, content):
                    return await self._read(content)
        except TooMuch as error:
            raise NoRoom(str(error)) from error

    async def _read(self, content: bytes) -> Understood | None:
        if self._job.keep_only:
            return {}
        way = self._hear if self._job.kind in HEARD else self._see
        return await (self._watch if self._job.kind == "video" else way)(content)

    async def _open(self, content: bytes, way: As) -> Opened:
        return await self._senses.decoder.open(content, way, tenant=self._job.tenant_id)

    async def _hear(self, content: bytes) -> Understood | None:
        if self._senses.listener is None:
            raise NotUnderstood("speech recognition is switched off now", final=True)
        return await self._words_in(await self._open(content, "sound"))

    async def _words_in(self, opened: Opened) -> Understood | None:
        """Return what is said. Silence is not transcribed, because models invent words for it."""
        if opened.is_silent or self._senses.listener is None or opened.sound is None:
            return {"transcript": "" if opened.is_silent else None}
        if not await self._may_spend():
            return None
        sound = Sound(opened.sound)
        try:
            heard = await self._senses.listener.hear(sound, self._job.language, self._job.tenant_id)
        except NotUnderstood as error:
            if error.may_have_cost:
                self._spent += round(TOKENS_A_SECOND * opened.seconds)
            raise
        self._used.add("speech")
        self._spent += heard.tokens or round(TOKENS_A_SECOND * opened.seconds)
        words = f"{heard.words} […]" if opened.is_cut and heard.words else heard.words
        return {"transcript": words}

    async def _watch(self, content: bytes) -> Understood | None:
        opened = await self._open(content, "video")
        try:
            heard = await self._words_in(opened)
        except NotUnderstood as error:
            if not error.final or not opened.pictures:
                raise
            heard = {"transcript": None}  # its frames are still shown
        if heard is None:
            return None
        seen = await self._shown(opened)
        if seen is None:
            return None
        return {**heard, **seen}

    async def _see(self, content: bytes) -> Understood | None:
        return await self._shown(await self._open(content, "file"))

    async def _shown(self, opened: Opened) -> Understood | None:
        words = words_of(opened)
        describer = self._senses.describer
        if describer is None or not opened.pictures:
            return {"description": words, "pictures": opened.pictures}
        if not await self._may_spend():
            return None
        shown, tokens = await describer.describe(opened.pictures)
        self._used.add("describer")
        self._spent += tokens
        return {"description": shown if words is None else f"{words}: {shown}"}

    async def _may_spend(self) -> bool:
        asked = BeginMediaJob(
            **self._job.held, policy=self._senses.budgets, tokens=self._spent or None
        )
        begun = await begin_media_job(self._senses.database, asked)
        if isinstance(begun, Refusal):
            self._log_failure(f"not put into words: {begun.refused}")
        return not isinstance(begun, Refusal)

    async def _fetch(self, most: int) -> bytes:
        """Return the media's bytes. Raises NotUnderstood."""
        job = self._job
        if job.has_content:
            return await self._given()
        if job.wa_id is None:
            raise NotUnderstood("its message has no id", final=True)
        try:
            instance = self._senses.keys.instance(job)
            media = await self._senses.evolution.media(instance, job.wa_id, most)
        except AnswerTooLarge as error:
            raise NotUnderstood(str(error), final=True) from error
        except EvolutionAway as error:
            raise NeedAway(str(error), "line", error.retry_after) from error
        except EvolutionError as error:
            raise NotUnderstood(str(error), final=True) from error
        self._used.add("line")
        try:
            return await asyncio.to_thread(base64.b64decode, media.base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise NotUnderstood("what Evolution gave is not base64", final=True) from error

    async def _given(self) -> bytes:
        """Return the media that came inside the webhook. Raises NotUnderstood."""
        found = await read_media(self._senses.database, ReadMedia(**self._job.held))
        if isinstance(found, Refusal) or found.content is None:
            raise NotUnderstood("what came with it is gone", final=True)
        return await asyncio.to_thread(base64.b64decode, found.content)

    async def _fail(self, error: NotUnderstood) -> None:
        asked = FailMediaJob(
            **self._job.held,
            error=clean(str(error)),
            final=error.final,
            max_attempts=self._senses.max_attempts,
            base_seconds=self._senses.retry_base,
            tokens=(self._spent + error.tokens) or None,
            **_away(error),
        )
        answer = await fail_media_job(self._senses.database, asked)
        self._told(answer)
        self._log_failure(f"not put into words: {error}")

    async def _give_back(
        self, why: str = "the router was stopped before it was understood", wait: float = 0
    ) -> None:
        asked = FailMediaJob(
            **self._job.held,
            error=why,
            final=False,
            max_attempts=self._senses.max_attempts,
            base_seconds=0,
            given_back=True,
            wait_seconds=wait or None,
            tokens=self._spent or None,
        )
        try:
            await fail_media_job(self._senses.database, asked)
        except StateError as error:
            self._log_failure(f"the lease will bring it back: {error}")

    def _told(self, answer: MediaJobFinished | MediaJobFailed | Refusal) -> None:
        if not isinstance(answer, Refusal) and answer.due_in is not None:
            self._senses.wake_turns(answer.due_in)

    def _log_failure(self, text: str) -> None:
        log_event(
            _log,
            Action.MEDIA_NOT_UNDERSTOOD,
            text,
            level=logging.WARNING,
            tenant_id=self._job.tenant_id,
            session_id=self._job.session_id,
            job_id=self._job.job_id,
        )


def _away(error: NotUnderstood) -> _Away:
    if not isinstance(error, NeedAway):
        return {}
    return {
        "away": error.need,
        "retry_after": error.retry_after,
        "keep_trying_seconds": _KEEP_TRYING,
    }


def _storable(understood: Understood) -> Understood:
    """Return the result with texts that can be stored: a document may contain any character."""
    words, shown = understood.get("transcript"), understood.get("description")
    return {
        **understood,
        "transcript": None if words is None else clean(words),
        "description": None if shown is None else clean(shown),
    }
