"""The payload of a notice for n8n and a tenant's webhook: one documented, versioned JSON object.

Within a version, no field is ever renamed or removed; new fields may appear.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from router.notices.naming import number_shown
from router.notices.wording import reason_of, say
from router.state.calls.notices import ClaimedNotice, NoticeKind

VERSION: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class NoticeTenant(_Part):
    """The business."""

    tenant_id: int
    instance_name: str


class NoticeRecipients(_Part):
    """The receivers that were not told yet; both null if none is set, or all were told."""

    number: str | None = Field(
        description="To be told by WhatsApp from the tenant's own instance; null if it is offline"
    )
    url: str | None = Field(description="The tenant's webhook")


class NoticeSession(_Part):
    """The conversation that was handed over, or whose reply lacks a part."""

    session_id: int
    number: str | None = Field(description="The contact's phone number, or the JID that hides it")
    contact_name: str | None


class NoticeUrls(_Part):
    """The URLs to send and to report; both take the header `apikey: <token>`."""

    gateway: str = Field(description="Base URL in place of Evolution's own")
    done: str = Field(description="Call it when everybody was told")


class Notice(_Part):
    """What happened, and who must be told; the tenant's webhook gets this."""

    version: Literal[1] = VERSION
    notice_id: int = Field(description="The same if the notice is delivered again")
    kind: NoticeKind
    text: str = Field(description="The whole notice, ready to be sent")
    reason: str | None = Field(
        description="Why a human is needed, the state of the connection, the number of failed"
        " replies, or the failing flow"
    )
    summary: str | None = Field(description="The AI's summary of the conversation")
    happened_at: datetime
    tenant: NoticeTenant
    notify: NoticeRecipients
    session: NoticeSession | None = Field(
        description="Set for a handoff, and for a reply of which a part could not be sent"
    )


class NoticePayload(Notice):
    """The payload for n8n."""

    token: str = Field(description="Valid until the notice is done, or delivered again")
    lease_seconds: float = Field(
        description="Without `done`, it is delivered again after this time"
    )
    urls: NoticeUrls


def build_notice(notice: ClaimedNotice) -> Notice:
    """Return the payload for the tenant's webhook."""
    session = None
    if notice.session_id is not None:
        session = NoticeSession(
            session_id=notice.session_id,
            number=number_shown(notice.facts.jid),
            contact_name=notice.facts.contact_name,
        )
    return Notice(
        notice_id=notice.notice_id,
        kind=notice.kind,
        text=say(notice),
        reason=reason_of(notice),
        summary=notice.facts.summary,
        happened_at=notice.created_at,
        tenant=NoticeTenant(tenant_id=notice.tenant_id, instance_name=notice.instance_name),
        notify=NoticeRecipients(number=notice.number, url=notice.url),
        session=session,
    )


def build_payload(notice: ClaimedNotice, base_url: str, lease: float) -> NoticePayload:
    """Return the payload for a flow; `base_url` is where n8n reaches the router."""
    base_url = base_url.rstrip("/")
    return NoticePayload(
        **dict(build_notice(notice)),
        token=str(notice.shown_token),
        lease_seconds=lease,
        urls=NoticeUrls(
            gateway=f"{base_url}/n8n/evolution",
            done=f"{base_url}/n8n/notices/{notice.notice_id}/done",
        ),
    )
