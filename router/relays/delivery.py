"""One attempt at a relay: send its message or carry out its command, then send the word back."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from typing import Protocol

from router.configuration.zones import zone_of
from router.errors import StateError
from router.logs.events import Action, log_event
from router.relays.staff_media import NoStaffMedia, StaffMedia
from router.relays.wording import word_back
from router.sending.by_hand import text_by_hand
from router.sending.outbox import Outbox
from router.sending.outcomes import InDoubt, SendFailed, SendStopped, Sent
from router.sending.outgoing import Outgoing
from router.sending.speakers import Speaker, relayed, word_to_staff
from router.state.calls.model import Refusal
from router.state.calls.relays import (
    ClaimedRelay,
    HeldRelay,
    ObeyStaff,
    RelayFacts,
    RelayOutcome,
    SettleRelay,
    StaffWords,
    obey_staff,
    read_relay,
    settle_relay,
)
from router.state.database import Database
from router.whatsapp.commands import Command, read_command
from router.whatsapp.languages import language_or_english

_log = logging.getLogger(__name__)
_LOOK_AGAIN = 5.0  # seconds until a send in doubt is looked at again
_DOUBTED_FOR = timedelta(minutes=10)  # after this the staff are told that nobody knows the result
_LONGEST_PAUSE = 60.0


class Turns(Protocol):
    """The worker on turns, as it is told of people's acts."""

    def wake(self, due_in: float = 0.0) -> None:
        """Claim now: a turn may be due."""

    def abandon(self, session_id: int) -> None:
        """Stop making a session's reply, because a human has taken over."""


@dataclass(frozen=True, slots=True)
class RelayServices:
    """The services of an attempt; `policy` is the deployment's."""

    database: Database
    outbox: Outbox
    media: StaffMedia
    turns: Turns
    policy: Mapping[str, float]
    default_zone: str


class PutOff(Exception):
    """The relay cannot be done now; it is tried again in `seconds`."""

    def __init__(self, seconds: float, error: str | None = None) -> None:
        super().__init__(error)
        self.seconds = seconds
        self.error = error


class Gone(Exception):
    """Another router has the relay, or it is over or erased: nothing is left to do here."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The result, the word back about it, and why the message was not sent."""

    outcome: RelayOutcome
    facts: RelayFacts
    error: str | None = None


class Delivery:
    """One attempt; see `run`."""

    def __init__(self, relay: ClaimedRelay, services: RelayServices) -> None:
        self._relay = relay
        self._services = services
        self._sending = False
        self._stopped = False

    @property
    def tenant_id(self) -> int:
        """The relay's tenant."""
        return self._relay.tenant_id

    def stop(self) -> bool:
        """Begin nothing more. True: nothing is being sent, so the task may be cancelled."""
        was_stopped, self._stopped = self._stopped, True
        return not self._sending and not was_stopped

    async def run(self) -> None:
        """Carry the relay out, and tell the state how it ended; interrupted work is given back."""
        try:
            await (self._put_off(PutOff(0.0)) if self._stopped else self._run())
        except PutOff as put_off:
            await self._put_off(put_off)
        except Gone:
            pass
        except StateError as error:
            self._log_failure(f"a relay was not recorded: {error}")
        except asyncio.CancelledError:
            await asyncio.shield(self._put_off(PutOff(0.0)))
            raise
        except Exception as error:  # noqa: BLE001 - one relay must not end the others
            self._log_failure(f"a relay could not be carried out: {error!r}", error)

    async def _run(self) -> None:
        relay = self._relay
        if relay.outcome is None:
            ended = await self._carried_out()
            await self._settle(
                outcome=ended.outcome, error=ended.error, over=relay.source == "operator"
            )
        else:
            ended = self._ended(relay.outcome, relay.error)
        log_event(
            _log, Action.RELAYED, f"a human's message: {ended.outcome}", outcome=ended.outcome,
            relay_id=relay.relay_id, tenant_id=relay.tenant_id, session_id=relay.session_id,
        )  # fmt: skip
        if relay.source == "staff":
            await self._say(ended)

    async def _carried_out(self) -> Ended:
        """Carry the relay out. Raises PutOff and Gone."""
        relay = self._relay
        match relay.send_state:
            case "sent":
                return self._ended("sent")
            case "sending" | "unknown":
                if relay.source == "staff" and self._age > _DOUBTED_FOR:
                    return self._ended("in_doubt")
                raise PutOff(_LOOK_AGAIN if self._age < _DOUBTED_FOR else _LONGEST_PAUSE)
            case _:
                pass
        words = relay.words
        if words is None:
            return self._too_old() or await self._send_asked()
        if relay.send_state is None and words.kind == "text":
            command = read_command(words.text, words.sent_at, self._zone)
            if command is not None:
                return await self._obey(command)
        return self._too_old() or await self._pass_on(words)

    def _too_old(self) -> Ended | None:
        """Return the result if the message is too old to be sent, otherwise None."""
        if self._age <= self._tried_for:
            return None
        minutes = round(self._tried_for / timedelta(minutes=1))
        why = f"it could not be sent within {minutes} minutes (answer_within_minutes)"
        return self._ended("too_old" if self._relay.source == "staff" else "failed", why)

    async def _send_asked(self) -> Ended:
        """Send an operator's message, which may be large."""
        relay = self._relay
        try:
            with self._services.media.room(relay.tenant_id, relay.facts.bytes):
                held = HeldRelay(relay_id=relay.relay_id, token=relay.token)
                read = await read_relay(self._services.database, held)
                if isinstance(read, Refusal) or read.said is None:
                    raise Gone
                return await self._send(Outgoing.of(read.said["path"], read.said["body"]))
        except NoStaffMedia as error:
            if not error.is_away:
                return self._ended("failed", str(error))
            raise PutOff(self._pause, str(error)) from error

    async def _obey(self, command: Command) -> Ended:
        asked = ObeyStaff(
            relay_id=self._relay.relay_id,
            token=self._relay.token,
            command=command.verb,
            until=command.until,
            policy=self._services.policy,
        )
        obeyed = await obey_staff(self._services.database, asked)
        if isinstance(obeyed, Refusal):
            return self._refused(obeyed.refused)
        if obeyed.turn_id is not None:
            self._services.turns.wake()
        if self._relay.session_id is not None and obeyed.outcome in ("taken", "until"):
            self._services.turns.abandon(self._relay.session_id)
        return Ended(obeyed.outcome, obeyed.facts)

    async def _pass_on(self, words: StaffWords) -> Ended:
        if words.kind == "text":
            return await self._send(Outgoing.of(*text_by_hand(words.text)))
        media = self._services.media
        try:
            told = (words.media or {}).get("bytes")
            size = told if isinstance(told, int) else None
            with media.room(self._relay.tenant_id, size):
                return await self._send(await media.fetch(self._relay, words))
        except NoStaffMedia as error:
            if error.is_away and self._age < self._tried_for:
                raise PutOff(self._pause, str(error)) from error
            return self._ended("no_media", str(error))

    async def _send(self, message: Outgoing) -> Ended:
        relay = self._relay
        if relay.session_id is not None:
            self._services.turns.abandon(relay.session_id)
        try:
            sent = await self._leave(relayed(relay), message)
        except SendStopped as stopped:
            return self._refused(stopped.reason)
        except SendFailed as failed:
            if failed.is_away and self._age < self._tried_for:
                raise PutOff(self._pause, str(failed)) from failed
            return self._ended("failed", str(failed))
        if isinstance(sent, InDoubt):
            raise PutOff(_LOOK_AGAIN)
        return self._ended("sent")

    async def _say(self, ended: Ended) -> None:
        """Send the word back, at most once. Raises PutOff."""
        language = language_or_english(self._relay.language)
        word = word_back(ended.outcome, ended.facts, self._zone, ended.error, language=language)
        try:
            await self._leave(word_to_staff(self._relay), Outgoing.plain(word))
        except SendStopped as stopped:
            if stopped.reason not in ("erased", "in_doubt"):
                raise Gone from stopped
        except SendFailed as failed:
            if failed.is_away and self._age < self._tried_for:
                raise PutOff(self._pause) from failed
            self._log_failure(f"the word back could not be sent: {failed}")
        await self._settle(over=True)

    async def _leave(self, speaker: Speaker, message: Outgoing) -> Sent | InDoubt:
        self._sending = True
        try:
            return await self._services.outbox.send(speaker, message)
        finally:
            self._sending = False

    def _refused(self, reason: str) -> Ended:
        """Return the result of a refusal, if it is told: the conversation was erased.

        Raises Gone for others, and PutOff if another person answered: their name is stored, and the
        next attempt tells it.
        """
        if reason == "answered":
            raise PutOff(0.0)
        if reason != "erased":
            raise Gone
        return self._ended("erased")

    def _ended(self, outcome: RelayOutcome, error: str | None = None) -> Ended:
        return Ended(outcome, self._relay.facts, error)

    async def _put_off(self, put_off: PutOff) -> None:
        try:
            await self._settle(again_in=put_off.seconds, error=put_off.error)
        except Gone:
            return
        except StateError as error:
            self._log_failure(f"a relay was not recorded: {error}")
            return
        if put_off.error is not None:
            self._log_failure(f"{put_off.error} (tried again)")

    async def _settle(
        self,
        *,
        outcome: RelayOutcome | None = None,
        error: str | None = None,
        again_in: float | None = None,
        over: bool | None = None,
    ) -> None:
        asked = SettleRelay(
            relay_id=self._relay.relay_id,
            token=self._relay.token,
            outcome=outcome,
            error=error,
            again_in=again_in,
            over=over or None,
        )
        if isinstance(await settle_relay(self._services.database, asked), Refusal):
            raise Gone

    @property
    def _zone(self) -> tzinfo:
        try:
            return zone_of(self._relay.timezone or self._services.default_zone)
        except ValueError:
            return UTC

    @property
    def _age(self) -> timedelta:
        return self._relay.now - self._relay.created_at

    @property
    def _tried_for(self) -> timedelta:
        """Return how old a person's message may be to be sent: the limit of the AI's answers."""
        minutes = self._relay.answer_within_minutes
        if minutes is None:
            minutes = self._services.policy["answer_within_minutes"]
        return timedelta(minutes=minutes)

    @property
    def _pause(self) -> float:
        """Return the pause after so many attempts, in seconds."""
        return min(2.0 ** min(self._relay.attempt, 6), _LONGEST_PAUSE)

    def _log_failure(self, message: str, error: Exception | None = None) -> None:
        log_event(
            _log, Action.RELAY_FAILED, message, level=logging.WARNING, exc_info=error,
            relay_id=self._relay.relay_id, tenant_id=self._relay.tenant_id,
        )  # fmt: skip
