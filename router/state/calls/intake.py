"""Events of webhooks: database/schema/0640_ingest.sql.

This runs for every webhook, so events are passed on as they were read, without a second check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from router.state.database import Database, Json


@dataclass(frozen=True, slots=True)
class IngestEvents:
    """Events in the form that `router.intake.readers` make."""

    events: Sequence[Json]
    policy: Mapping[str, object]
    patience_ms: int | None = None
    at_most_ms: int | None = None

    def written(self) -> Json:
        """Return it as the JSON that the function takes."""
        asked: Json = {"events": self.events, "policy": self.policy}
        if self.patience_ms is not None:
            asked["patience_ms"] = self.patience_ms
        if self.at_most_ms is not None:
            asked["at_most_ms"] = self.at_most_ms
        return asked


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one event. For a repeated event, an earlier release may have made it."""

    outcome: str
    decision: str | None = None
    duplicate: bool = False
    tenant_id: int | None = None
    session_id: int | None = None
    message_id: int | None = None
    turn_id: int | None = None
    due_in: float | None = None
    sender: str | None = None
    state: str | None = None
    reconnected: bool = False
    stranger: bool = False
    relayed: bool = False
    code: str | None = None
    constraint: str | None = None
    error: str | None = None

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Read a decision from the state's answer."""
        get = told.get
        return cls(
            told["outcome"],
            get("decision"),
            get("duplicate", False),
            get("tenant_id"),
            get("session_id"),
            get("message_id"),
            get("turn_id"),
            get("due_in"),
            get("sender"),
            get("state"),
            get("reconnected", False),
            get("stranger", False),
            get("relayed", False),
            get("code"),
            get("constraint"),
            get("error"),
        )


@dataclass(frozen=True, slots=True)
class EventsIngested:
    """One decision for each event, in the events' order."""

    decisions: tuple[Decision, ...]


async def ingest_events(database: Database, asked: IngestEvents) -> EventsIngested:
    """Record events, and decide about each."""
    told = await database.call("ingest_events", asked.written())
    return EventsIngested(tuple(map(Decision.read, told["decisions"])))
