"""What this process does at once about a decision that it has just had committed.

Nothing here is needed for a right outcome: another process would find the same in the database by
itself. It is what makes the answer quick and spares an LLM call that the fence would waste.
"""

import logging
from collections.abc import Callable

from router.logs import Action, log_event
from router.people.hashing import ContactHashes
from router.state.database import Json
from router.turns.dispatcher import Dispatcher

_log = logging.getLogger(__name__)


class Reactions:
    """Wakes the dispatcher, stops replies that nobody needs any more, starts gap repairs."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        begin_gap_repair: Callable[[str], None],
        wake_notices: Callable[[], None],
        hashes: ContactHashes,
    ) -> None:
        self._dispatcher = dispatcher
        self._begin_gap_repair = begin_gap_repair
        self._wake_notices = wake_notices
        self._hashes = hashes

    def __call__(self, event: Json, decision: Json) -> None:
        """React to one committed decision; a repeated event has been reacted to before."""
        if decision.get("duplicate"):
            return
        match decision.get("decision"):
            case "turn_pending":
                self._dispatcher.wake(float(decision.get("due_in") or 0))
            case "own_message":
                self._dispatcher.wake()
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

    def _on_takeover(self, event: Json, decision: Json) -> None:
        self._dispatcher.abandon(decision["session_id"])
        log_event(
            _log,
            Action.PAUSED,
            "paused: a human of the business wrote",
            tenant_id=decision["tenant_id"],
            session_id=decision["session_id"],
            source="owner",
            contact=self._hashes.in_log(event.get("jids")),
        )

    def _on_loop(self, event: Json, decision: Json) -> None:
        self._dispatcher.abandon(decision["session_id"])
        self._wake_notices()
        log_event(
            _log,
            Action.PAUSED,
            "paused: two bots seem to talk to each other",
            level=logging.WARNING,
            tenant_id=decision["tenant_id"],
            session_id=decision["session_id"],
            source="ai",
            contact=self._hashes.in_log(event.get("jids")),
        )

    def _on_connection(self, event: Json, decision: Json) -> None:
        log_event(
            _log,
            Action.CONNECTION_CHANGED,
            f"the connection is {decision['state']}",
            instance=event["instance"],
            state=decision["state"],
        )
        if decision["state"] == "open":
            self._dispatcher.wake()  # what waited for the line is due now
            self._wake_notices()
        if decision["reconnected"]:
            self._begin_gap_repair(event["instance"])
