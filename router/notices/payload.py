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
    """Who is still to be told; both null where nobody is set, or all have been told."""

    number: str | None = Field(
        description="By WhatsApp, from the tenant's own instance; null while that is not connected"
    )
    url: str | None = Field(description="The tenant's webhook")


class NoticeSession(_Part):
    """The conversation that was handed over, or whose reply lacks a part."""

    session_id: int
    number: str | None = Field(description="The contact's phone number, or the JID that hides it")
    contact_name: str | None


class NoticeUrls(_Part):
    """Where a flow sends and reports; both take the header `apikey: <token>`."""

    gateway: str = Field(description="Base URL in place of Evolution's own")
    done: str = Field(description="To be called when everybody is told")


class Notice(_Part):
    """What happened, and who is to be told: what the tenant's webhook gets."""

    version: Literal[1] = VERSION
    notice_id: int = Field(description="The same when a notice is told again")
    kind: NoticeKind
    text: str = Field(description="The whole notice, to be sent as it is")
    reason: str | None = Field(
        description="Why a human is wanted; the state of the connection; how many replies failed;"
        " which flow did"
    )
    summary: str | None = Field(description="The AI's summary of the conversation")
    happened_at: datetime
    tenant: NoticeTenant
    notify: NoticeRecipients
    session: NoticeSession | None = Field(
        description="Of a handoff, or of a reply of which a part could not be sent"
    )


class NoticePayload(Notice):
    """What n8n gets."""

    token: str = Field(description="Good until the notice is done, or told again")
    lease_seconds: float = Field(description="When it is told again without a `done`")
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
