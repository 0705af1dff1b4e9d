"""A notice as it was claimed for one attempt at telling it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from router.state.calls.model import HeldNotice
from router.state.flow_tokens import NoticeToken

NoticeKind = Literal["handoff", "connection_lost", "qr_waiting", "undelivered"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NoticeFacts(_Frozen):
    """What happened: of a handoff who and why, of the connection its state and Baileys' code.

    Of replies that WhatsApp did not deliver: how many in a row, to how many contacts.
    """

    reason: str | None = None
    summary: str | None = None
    jid: str | None = None
    contact_name: str | None = None
    state: str | None = None
    code: str | None = None
    replies: int | None = None
    contacts: int | None = None


class ClaimedNotice(_Frozen):
    """One attempt at a notice.

    `number` and `url` are who is still to be told: None where there is nobody, or where they have
    been told; `told` says that somebody has been.
    """

    notice_id: int
    token: str
    attempt: int
    kind: NoticeKind
    tenant_id: int
    instance_name: str
    session_id: int | None
    facts: NoticeFacts
    created_at: datetime
    number: str | None
    url: str | None
    told: bool

    @property
    def shown_token(self) -> NoticeToken:
        """The token as a flow shows it."""
        return NoticeToken(self.notice_id, self.token)

    @property
    def held(self) -> HeldNotice:
        """What every SQL call about this attempt must show."""
        return self.shown_token.held
