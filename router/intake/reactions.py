"""In-process side effects after a commit.

No correct result depends on them: every process finds the same in the database. They make the reply
quick, and save an LLM call whose reply the fence would refuse.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from router.logs.events import Action, log_event
from router.people.hashing import ContactHashes
from router.state.calls.intake import Decision
from router.state.database import Json

_log = logging.getLogger(__name__)


class Turns(Protocol):
    """The worker on turns, as it is told of decisions."""

    def wake(self, due_in: float = 0.0) -> None:
        """Claim now, or in `due_in` seconds: a turn is due then."""

    def abandon(self, session_id: int) -> None:
        """Stop making the reply of a session: it is no longer needed."""


class Reactions:
    """Wakes the dispatcher, stops replies that are no longer needed, starts gap repairs."""

    def __init__(
        self, turns: Turns, wake_notices: Callable[[], None], hashes: ContactHashes
    ) -> None:
        """The callbacks are set later, by others.

        `reconnected` (set by gap repair) is called with an instance's name, `unknown_lid` (set by
        Pairs) with an instance's name and a LID, `media_came` when there are media jobs, and
        `relayed` when there may be relays to send.
        """
        self.media_came: Callable[[], None] = lambda: None
        self.reconnected: Callable[[str], None] = lambda _: None
        self.unknown_lid: Callable[[str, str], None] = lambda _, __: None
        self.relayed: Callable[[], None] = lambda: None
        self._turns = turns
        self._wake_notices = wake_notices
        self._hashes = hashes

    def __call__(self, event: Json, decision: Decision) -> None:
        """React to one committed decision, unless the event is a repeated one."""
        if decision.duplicate:
            return
        self._begin_work(event, decision)
        match decision.decision:
            case "turn_pending":
                self._turns.wake(float(decision.due_in or 0))
            case "edit_applied" | "delete_applied" if decision.due_in is not None:
                self._turns.wake(decision.due_in)  # its reply is made again
            case "own_message":
                self._turns.wake()
            case "takeover":
                self._on_takeover(event, decision)
            case "loop":
                self._on_loop(event, decision)
            case "connection_changed":
                self._on_connection(event, decision)
            case "qrcode_updated":
                log_event(
                    _log,
                    Action.QRCODE_UPDATED,
                    "a QR code waits to be scanned",
                    instance=event["instance"],
                )

    def _begin_work(self, event: Json, decision: Decision) -> None:
        """Wake the other workers that the recorded event concerns."""
        if event.get("media") is not None:
            self.media_came()
        if decision.relayed:
            self.relayed()

    def _on_takeover(self, event: Json, decision: Decision) -> None:
        self._abandon(decision)
        log_event(
            _log,
            Action.PAUSED,
            "paused: a human of the business wrote",
            tenant_id=decision.tenant_id,
            session_id=decision.session_id,
            source="owner",
            contact=self._hashes.in_log(event.get("jids")),
        )
        if decision.stranger:
            self.unknown_lid(event["instance"], event["jids"][0])

    def _on_loop(self, event: Json, decision: Decision) -> None:
        self._abandon(decision)
        self._wake_notices()
        log_event(
            _log,
            Action.PAUSED,
            "paused: two bots seem to talk to each other",
            level=logging.WARNING,
            tenant_id=decision.tenant_id,
            session_id=decision.session_id,
            source="ai",
            contact=self._hashes.in_log(event.get("jids")),
        )

    def _abandon(self, decision: Decision) -> None:
        if decision.session_id is not None:
            self._turns.abandon(decision.session_id)

    def _on_connection(self, event: Json, decision: Decision) -> None:
        log_event(
            _log,
            Action.CONNECTION_CHANGED,
            f"the connection is {decision.state}",
            instance=event["instance"],
            state=decision.state,
        )
        if decision.state == "open":
            self._turns.wake()  # turns that waited for the line are due now
            self._wake_notices()
            self.relayed()
        if decision.reconnected:
            self.reconnected(event["instance"])
