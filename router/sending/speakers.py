"""Who speaks: by which fence each may, and what it has to show there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router.replies.claimed import ClaimedTurn
from router.state.database import Database, Json
from router.state.flow_tokens import NoticeToken, TurnToken


@dataclass(frozen=True, slots=True)
class Speaker:
    """One who has something to say.

    `fence` is the SQL function that decides whether it may, and `shows` what it is asked with. It
    is asked through `database`, or through the router's own where that is None. `line` is the
    tenant's instance as the state has it; None where the fence answers with it. `turn` is what a
    turn's attempt shows when its send is in doubt. One that `is_renewed` is an attempt of this
    process: its lease is renewed while it sends.
    """

    fence: str
    shows: Json
    line: Mapping[str, Any] | None = field(default=None, repr=False)
    turn: Mapping[str, object] = field(default_factory=dict, repr=False)
    database: Database | None = field(default=None, repr=False)
    is_renewed: bool = False

    @property
    def holder(self) -> str | None:
        """Whose share of the places its sends take: the instance, as far as it is known."""
        name = (self.line or self.shows).get("instance_name")
        if name is None and (tenant_id := self.shows.get("tenant_id")) is not None:
            return f"tenant {tenant_id}"
        return None if name is None else str(name)


def reply_part(turn: ClaimedTurn, part: int, reply: Json | None = None) -> Speaker:
    """Return the AI, which says one part of the reply that it made to a turn.

    `reply` is all of it, where it is not written down yet: the fence does that in the same step.
    """
    shows = {**turn.held, "part": part, **({} if reply is None else {"reply": reply})}
    return Speaker("begin_send", shows, turn.tenant.line, turn.held, is_renewed=True)


def flow(token: TurnToken, turn: Mapping[str, Any], text: str, next_part: int) -> Speaker:
    """Return a flow in n8n that answers the turn; `turn` as look_at_turn gives it.

    `text` is all that will be read of what it sends. It was judged when `next_part` was the next.
    """
    shows = {**token.held, "text": text, "next_part": next_part}
    return Speaker("begin_flow_send", shows, turn, token.held)


def notice(token: NoticeToken, **only_if: str) -> Speaker:
    """Return who tells the staff a notice.

    `only_if` are the instance_name and the number that it must be for.
    """
    return Speaker("begin_notice_send", {**token.held, **only_if})


@dataclass(frozen=True, slots=True)
class Writing:
    """What a human of the business writes through HybridFlow: where, and what they know.

    `seen_message_id` is the last message that they saw: where another human wrote after it, the
    fence refuses, unless they write `knowingly`. `author` and `reason` are for the session's pause.
    """

    tenant_id: int
    session_id: int
    seen_message_id: int | None = None
    knowingly: bool = False
    author: str | None = None
    reason: str | None = None


def human(writing: Writing, database: Database | None = None) -> Speaker:
    """Return a human, for whom a pause is no obstacle; `database` as that human sees it.

    The fence raises NotFound for a session that was erased or merged away, and NotAllowed.
    """
    shows: Json = {
        "tenant_id": writing.tenant_id,
        "session_id": writing.session_id,
        "seen_message_id": writing.seen_message_id,
        "knowingly": writing.knowingly,
        "author": writing.author,
        "reason": writing.reason,
    }
    given = {name: value for name, value in shows.items() if value is not None}
    return Speaker("begin_human_send", given, database=database)
