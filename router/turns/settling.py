"""Settles a turn's sends in doubt before anything else is done with the turn."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from router.evolution.errors import EvolutionError
from router.logs.events import Action, log_event
from router.sending.evidence import Doubt, Finding
from router.sending.looking import GIVE_UP_HOURS, Looking, Verdict, Whereabouts
from router.sending.outcomes import ID_TAKEN, SendStopped
from router.sharing.places import NoPlace
from router.state.calls.claimed_turn import ClaimedTurn, TurnPart
from router.state.calls.model import Refusal
from router.state.calls.sends import SendSettled, SettleSend, settle_send
from router.state.database import Database, Json
from router.tenants.instance import TenantLine

_log = logging.getLogger(__name__)
_CHECK_AGAIN = 30.0
_IN_DOUBT = ("sending", "unknown")  # nobody knows whether the part reached the phone


class Settling:
    """Finds out how the sends in doubt of a turn ended.

    `late`: see SendTimes.
    """

    def __init__(self, database: Database, looking: Looking, late: float, policy: Json) -> None:
        self._database = database
        self._looking = looking
        self._late = late
        self._policy = policy

    async def settle(
        self, turn: ClaimedTurn, line: TenantLine, stand: Callable[[], Awaitable[None]]
    ) -> ClaimedTurn | None:
        """Return the turn with every doubt settled; `stand` is called before Evolution is asked.

        Returns None if the attempt is over: settling closed the turn, or a doubt is still open and
        is looked at again later. Raises SendStopped.
        """
        doubtful = [part for part in turn.parts if part.send_state in _IN_DOUBT]
        if not doubtful:
            return turn
        verdict = await self._look(turn, doubtful, line, stand)
        state = "sending"
        # Known results first: an open doubt puts the whole turn aside.
        for part, finding in sorted(
            zip(doubtful, verdict.findings, strict=True),
            key=lambda found: found[1].outcome == "unknown",
        ):
            told = await self._tell(turn, part, finding, verdict.check_after)
            state = told.turn_state or "gone"
            if finding.outcome == "unknown" or told.given_up:
                _log_closed(turn, state)
                return None
            turn = _with_part(turn, part, "sent" if finding.outcome == "sent" else "failed")
        if state == "sending":
            return turn
        _log_closed(turn, state)
        return None

    async def _look(
        self,
        turn: ClaimedTurn,
        doubtful: Sequence[TurnPart],
        line: TenantLine,
        stand: Callable[[], Awaitable[None]],
    ) -> Verdict:
        try:
            instance = line.instance()
            await stand()
        except (EvolutionError, NoPlace) as error:
            unknown = Finding("unknown", detail=str(error))
            return Verdict((unknown,) * len(doubtful), _CHECK_AGAIN)
        known = [message for message in turn.history if message.wa_id]
        parts = {part.wa_id for part in turn.parts if part.wa_id} | set(turn.ours or ())
        where = Whereabouts(
            instance=instance,
            jids=turn.session.jids,
            ours=frozenset({m.wa_id for m in known if m.from_me and m.wa_id} | parts),
            theirs=frozenset(m.wa_id for m in known if not m.from_me and m.wa_id),
            since=min(
                *(part.send_began_at for part in doubtful),
                *(m.sent_at for m in turn.history if m.in_turn),
                doubtful[0].send_began_at,
            ),
            now=turn.now,
        )
        return await self._looking.look([_doubt(part) for part in doubtful], where)

    async def _tell(
        self, turn: ClaimedTurn, part: TurnPart, finding: Finding, check_after: float
    ) -> SendSettled:
        asked = SettleSend(
            **turn.held,
            message_id=part.message_id,
            outcome=finding.outcome,
            wa_id=finding.wa_id,
            error=finding.detail,
            check_after=check_after,
            give_up_hours=GIVE_UP_HOURS,
            late_seconds=self._late,
            policy=self._policy,
        )
        answer = await settle_send(self._database, asked)
        is_taken = not isinstance(answer, Refusal) and answer.id_taken
        log_event(
            _log, Action.SEND_SETTLED, f"send in doubt: {finding.outcome}",
            detail=ID_TAKEN if is_taken else finding.detail,
            outcome=finding.outcome, turn_id=turn.turn_id,
            tenant_id=turn.tenant.tenant_id, session_id=turn.session.session_id,
        )  # fmt: skip
        if isinstance(answer, Refusal):
            raise SendStopped(answer.refused)
        return answer


def _log_closed(turn: ClaimedTurn, state: str) -> None:
    """Log how a turn ended, if settling its last doubt closed it."""
    who = {"turn_id": turn.turn_id, "tenant_id": turn.tenant.tenant_id}
    if state == "dead":
        log_event(
            _log, Action.TURN_DEAD, "nobody knows how a send ended; the turn can be retried",
            level=logging.ERROR, **who,
        )  # fmt: skip
    elif state == "sent":
        sent = sum(part.send_state == "sent" for part in turn.parts)
        if sent < len(turn.reply or turn.parts):
            log_event(
                _log, Action.TURN_CANCELLED, "a part of it is not sent", reason="incomplete", **who
            )
        else:
            log_event(_log, Action.AI_REPLIED, "AI reply pipeline completed successfully", **who)


def _doubt(part: TurnPart) -> Doubt:
    return Doubt(
        part.kind, part.body, part.send_began_at, part.told_as, part.chosen_id,
        part.upload_seconds or 0.0,
    )  # fmt: skip


def _with_part(turn: ClaimedTurn, part: TurnPart, state: str) -> ClaimedTurn:
    known = part.model_copy(update={"send_state": state})
    parts = tuple(known if p.message_id == part.message_id else p for p in turn.parts)
    return turn.model_copy(update={"parts": parts})
