"""The final record of one conversation, for the judge: frozen, and made of plain values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `messages`; `body` is the beginning of its text."""

    id: int
    session_id: int
    turn_id: int | None
    wa_id: str | None
    from_me: bool
    sender: str
    body: str
    send_state: str | None
    part: int | None
    deleted: bool = False
    edited: bool = False


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A row of `turns`."""

    id: int
    session_id: int
    state: str
    reason: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A row of `sessions`."""

    id: int
    is_paused: bool
    pause_source: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One decision of the database, in the order of `seq`; see `watch`."""

    seq: int
    at: float
    what: str
    session_id: int
    detail: Json


@dataclass(frozen=True, slots=True)
class SaidMessage:
    """A customer's message. `acked_at`: when a router acknowledged it; None: never."""

    marker: str | None
    wa_id: str
    at: float
    acked_at: float | None
    deleted: bool = False
    delete_acked: bool = False
    edit_acked: bool = False


@dataclass(frozen=True, slots=True)
class HumanMessage:
    """A message of the business's people; `by` is owner or client."""

    wa_id: str
    at: float
    acked_at: float | None
    by: str


@dataclass(frozen=True, slots=True)
class Call:
    """A pause or resume by REST, confirmed at `ended` (None: never)."""

    what: str
    began: float
    ended: float | None
    unknown: bool = False
    """Of an erasure: whether one of the person's addresses did not belong to a contact yet."""


@dataclass(frozen=True, slots=True)
class OperatorMessage:
    """A message of an operator by REST, accepted at `ended` (None: never, or refused)."""

    body: str
    began: float
    ended: float | None


@dataclass(frozen=True, slots=True)
class PhoneReply:
    """A message that the API brought to the phone; the harness stalled for `stalled` seconds."""

    wa_id: str
    body: str
    arrived: float
    at: float
    stalled: float = 0.0


@dataclass(frozen=True, slots=True)
class History:
    """One conversation's data. `bound`: how long after its begin a send may reach the phone."""

    number: int
    tenant: int
    bound: float
    said: Sequence[SaidMessage] = ()
    humans: Sequence[HumanMessage] = ()
    calls: Sequence[Call] = ()
    written: Sequence[OperatorMessage] = ()
    erased: Call | None = None
    phone: Sequence[PhoneReply] = ()
    rows: Sequence[Row] = ()
    turns: Sequence[TurnRow] = ()
    sessions: Sequence[SessionRow] = ()
    changes: Sequence[Change] = ()
    refused_for_good: bool = False
    story: str = field(default="", repr=False)

    @property
    def is_beyond(self) -> bool:
        """Whether a send reached the phone later than the product can handle."""
        return any(reply.at - reply.arrived + reply.stalled > self.bound for reply in self.phone)
