"""Follows up on handoffs that nobody takes: reminds the people, the next number, then the customer.

The state decides the next step, once for all routers. The time is decided here, because it depends
on the business's opening hours.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from router.configuration.zones import zone_of
from router.logs.events import Action, log_event
from router.running.loops import Loop, safely
from router.state.calls.handoffs import (
    LookAtHandoffs,
    PressHandoff,
    UntakenHandoff,
    look_at_handoffs,
    press_handoff,
)
from router.state.database import Database, Json
from router.tenants.hours import open_for, read_hours
from router.whatsapp.languages import Language, language_of

_log = logging.getLogger(__name__)
_APART = 20.0
_AT_ONCE = 50
_MOST = timedelta(days=30)
"""A handoff is checked at least this often, because the tenant's hours may change."""

NOBODY_YET: Mapping[Language, str] = {
    "pt": "Ainda não consegui falar com ninguém da equipe. Sua mensagem está com eles, e vão"
    " responder por aqui assim que puderem.",
    "es": "Todavía no he podido hablar con nadie del equipo. Ya tienen su mensaje, y le"
    " responderán por aquí en cuanto puedan.",
    "en": "I have not reached anyone from our team yet. They have your message, and will answer"
    " here as soon as they can.",
}


class UntakenHandoffs:
    """Follows up on handoffs. `wake_notices` and `wake_turns` are called if there is work."""

    def __init__(
        self,
        database: Database,
        policy: Json,
        timezone: str,
        *,
        wake_notices: Callable[[], None],
        wake_turns: Callable[[], None],
    ) -> None:
        self._database = database
        self._policy = policy
        self._timezone = timezone
        self._wake_notices = wake_notices
        self._wake_turns = wake_turns
        self._loop = Loop(self.step, pause=_APART, failed="handoffs could not be looked at")

    async def run(self) -> None:
        """Follow up on them until `stop`."""
        await self._loop.run()

    async def stop(self) -> None:
        """Stop following up."""
        self._loop.stop()

    async def step(self) -> float:
        """Check some handoffs. Return the seconds until the next time."""
        return 0.1 if await self.look() >= _AT_ONCE else _APART

    async def look(self) -> int:
        """Check some handoffs, and do what is due. Return how many were checked."""
        untaken = await look_at_handoffs(self._database, LookAtHandoffs(limit=_AT_ONCE))
        for handoff in untaken.handoffs:
            pressed = partial(self._press, handoff, untaken.now)
            await safely(pressed, f"handoff {handoff.handoff_id} could not be looked after")
        return len(untaken.handoffs)

    async def _press(self, handoff: UntakenHandoff, now: datetime) -> None:
        due = due_at(handoff, self._timezone)
        asked = PressHandoff(
            handoff_id=handoff.handoff_id,
            step=handoff.step,
            say=NOBODY_YET[language_of(handoff.jids, handoff.wrote)],
            policy=self._policy,
            due_at=min(due, now + _MOST) if due > now else None,
        )
        pressed = await press_handoff(self._database, asked)
        if pressed.did is None:
            return
        log_event(
            _log,
            Action.HANDOFF_UNTAKEN,
            f"nobody took a handoff: {pressed.did}",
            handoff_id=handoff.handoff_id,
            did=pressed.did,
            turn_id=pressed.turn_id,
        )
        self._wake_notices()
        if pressed.turn_id is not None:
            self._wake_turns()


def due_at(handoff: UntakenHandoff, default_zone: str) -> datetime:
    """Return when the next step of a handoff is due, counted in opening hours."""
    waits = timedelta(minutes=handoff.minutes)
    hours = read_hours(handoff.opening_hours)
    if hours is None:
        return handoff.step_at + waits
    try:
        zone = zone_of(handoff.timezone or default_zone)
    except ValueError:
        zone = zone_of(default_zone)
    return open_for(hours, zone, handoff.step_at, waits) or handoff.step_at + waits
