"""The turn of one attempt, as far as it is known, and the tools to work on it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from router.errors import DatabaseAway
from router.llm.reach import Reach
from router.logs.events import Action, log_event
from router.people.hashing import ContactHashes
from router.replies.making import ReplyMaker
from router.replies.prompt import PromptRules
from router.safety.budget import Budget
from router.safety.guard import ReplyGuard
from router.sending.courtesy import Courtesy
from router.sending.outbox import Outbox
from router.sending.outcomes import SendFailed, SendStopped
from router.sharing.places import NoPlace
from router.state.calls.claimed_turn import ClaimedTurn
from router.state.calls.model import Refusal
from router.state.calls.turns import MadeReply, ReleaseTurn, SaveReply, release_turn, save_reply
from router.state.database import Database
from router.tenants.instance import InstanceKeys
from router.turns.line import Lines
from router.turns.media import PartMedia
from router.turns.own_files import OwnFiles
from router.turns.saying import Pace
from router.turns.seats import Seat
from router.turns.settling import Settling
from router.turns.voices import Voices

_log = logging.getLogger(__name__)

HAS_SPOKEN = "has_spoken"
"""Why a reply is not stored: a flow has sent something itself. See save_reply in SQL."""


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """Times in seconds. `max_tokens` limits a reply that the deployment's key pays for."""

    prompt: PromptRules
    max_tokens: int
    make_timeout: float
    max_attempts: int
    retry_base: float
    answer_within_minutes: float
    pace: Pace


@dataclass(frozen=True, slots=True)
class Workshop:
    """The tools that all attempts share."""

    database: Database
    maker: ReplyMaker
    courtesy: Courtesy
    guard: ReplyGuard
    budget: Budget
    outbox: Outbox
    settling: Settling
    lines: Lines
    keys: InstanceKeys
    hashes: ContactHashes
    reach: Reach
    rules: AttemptRules
    media: PartMedia
    files: OwnFiles
    voices: Voices
    wake_notices: Callable[[], None]


class InHand:
    """One attempt's turn. If `stopped`, it is given back at the next safe point."""

    def __init__(self, turn: ClaimedTurn, workshop: Workshop, seat: Seat) -> None:
        self.turn = turn
        self.shop = workshop
        self.seat = seat
        self.line = workshop.keys.line(turn.tenant)
        self.began = workshop.reach.now()
        self.stopped = False
        self.is_sending = False
        self.leaves_due = True
        """Whether a turn without a worker may be due once the reply's last part is recorded."""
        self.unsaved: MadeReply | None = None
        """A reply that was made but is not stored yet; the fence of its first part stores it."""
        self._claimed_at = turn.now

    def as_of_now(self) -> ClaimedTurn:
        """Return the turn with the state's current time instead of the time of its claim."""
        passed = timedelta(seconds=self.shop.reach.now() - self.began)
        return self.turn.model_copy(update={"now": self._claimed_at + passed})

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Mark that a send may be under way in this block, so that the attempt is not cancelled."""
        self.is_sending = True
        try:
            yield
        finally:
            self.is_sending = False

    async def stand(self) -> None:
        """Leave the seat to others: the next step waits for the tenant's server."""
        try:
            await self.seat.stand()
        except NoPlace as error:
            raise SendFailed(error) from error

    async def save_reply(self) -> None:
        """Store the reply now, before its first part passes the fence. Raises SendStopped."""
        if self.unsaved is None:
            return
        reply, self.unsaved = self.unsaved, None
        asked = SaveReply(**self.turn.held, **dict(reply))
        answer = await save_reply(self.shop.database, asked)
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)

    async def give_back(self) -> None:
        """Give the turn back from any state, with the reply if one was made."""
        try:
            with suppress(SendStopped):  # a human has stepped in, for example
                await self.save_reply()
        except DatabaseAway as error:
            self.log_away(error)
            return
        await self.release()

    async def release(self) -> None:
        """Give the turn back, as if it had not been claimed."""
        try:
            await release_turn(self.shop.database, ReleaseTurn(**self.turn.held))
        except DatabaseAway as error:
            self.log_away(error)

    def log_away(self, error: DatabaseAway) -> None:
        """Log that the database is away, and that the turn comes back when its lease ends."""
        self.log(Action.DATABASE_AWAY, f"the lease will bring the turn back: {error}")

    def log(
        self, action: Action, message: str, *, level: int = logging.INFO, **fields: object
    ) -> None:
        """Log what happened to the turn."""
        log_event(
            _log,
            action,
            message,
            level=level,
            tenant_id=self.turn.tenant.tenant_id,
            session_id=self.turn.session.session_id,
            turn_id=self.turn.turn_id,
            attempt=self.turn.attempt,
            **fields,
        )
