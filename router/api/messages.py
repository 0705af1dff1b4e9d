"""Messages from a human of the business to a contact: stored at once, then sent once."""

import asyncio
import base64
import binascii
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import Header, HTTPException
from pydantic import BaseModel, Field, model_validator

from router.api.dependencies import (
    Caller,
    PathId,
    Relays,
    TenantId,
    TheAbandon,
    TheDatabase,
    TheRelays,
)
from router.api.keyed import keyed
from router.api.queries import LARGEST_ID
from router.errors import Invalid
from router.http.bodies import TooMuch
from router.logs.events import Action, log_event
from router.outbound.media import NoMedia
from router.safety.unseen import is_seen
from router.sending.by_hand import MediaKind, media_by_hand, text_by_hand
from router.sending.outgoing import Outgoing
from router.sending.times import upload_seconds
from router.state.calls.relays import (
    FindSentMessage,
    MessageOnItsWay,
    SendMessage,
    find_sent_message,
    send_message,
)

router = keyed("sessions", prefix="/sessions/{session_id}")
_log = logging.getLogger(__name__)
_LONGEST_TEXT = 4096
_HASHED = ("text", "media")
_TIMES_IN_MEMORY = 4  # copies of media: its bytes, in base64, and in the call of the database
_Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="Chosen by you, a new one for each message: the same key again sends nothing"
        " more",
    ),
]


class MediaRequest(BaseModel, extra="forbid"):
    """A file to send: its bytes in base64, or a public URL to fetch it from."""

    kind: MediaKind
    base64: str | None = Field(default=None, min_length=4)
    url: str | None = Field(default=None, max_length=8192, pattern=r"^https?://\S+$")
    file_name: str | None = Field(
        default=None,
        max_length=200,
        pattern=r"^[^/\\\x00-\x1f]*\.[A-Za-z0-9]{1,8}$",
        description="With its extension; required for a document",
    )
    caption: str | None = Field(default=None, max_length=_LONGEST_TEXT)

    @model_validator(mode="after")
    def _one_of_both(self) -> "MediaRequest":
        if (self.base64 is None) == (self.url is None):
            raise ValueError("give base64 or url, one of them")
        if self.kind == "document" and self.file_name is None:
            raise ValueError("file_name: a document needs one, with its ending")
        if self.caption and self.kind in ("voice", "sticker"):
            raise ValueError(f"caption: a {self.kind} has none")
        return self


class MessageRequest(BaseModel, extra="forbid"):
    """A text, or a media."""

    text: str | None = Field(default=None, min_length=1, max_length=_LONGEST_TEXT)
    media: MediaRequest | None = None
    seen_up_to: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_ID,
        description="The id of the last message of the conversation that you have seen",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "MessageRequest":
        if (self.text is None) == (self.media is None):
            raise ValueError("give text or media, one of them; a media has a caption")
        return self

    @property
    def hashed(self) -> str:
        """Return a hash of the content; a repeated request has the same hash."""
        said = self.model_dump(mode="json", include=set(_HASHED))
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@router.post("/messages", status_code=201, summary="Write to a contact")
async def send_to_contact(
    session_id: PathId,
    tenant_id: TenantId,
    wanted: MessageRequest,
    key: _Key,
    database: TheDatabase,
    relays: TheRelays,
    abandon: TheAbandon,
    caller: Caller,
) -> MessageOnItsWay:
    """Takes the conversation over, like writing on the phone, and sends.

    When this answers, the message is on its way, and it is sent even if the router restarts. The
    same request again shows its current state. 409: another person wrote, and you have not seen it.
    """
    if wanted.media is not None and wanted.media.url is not None:
        # First look for an earlier request: the file at the URL may be gone by now. This also
        # refuses callers without the role before anything is fetched.
        named = FindSentMessage(
            tenant_id=tenant_id,
            session_id=session_id,
            idempotency_key=key,
            request_hash=wanted.hashed,
        )
        if (before := (await find_sent_message(database, named)).found) is not None:
            return before
    try:
        with relays.bodies.keeping_more(str(tenant_id)) as keep:
            message = await _outgoing(wanted, tenant_id, relays, keep)
            if not is_seen(message.text):
                raise Invalid("text: it has no text that can be sent")
            asked = SendMessage(
                tenant_id=tenant_id,
                session_id=session_id,
                idempotency_key=key,
                request_hash=wanted.hashed,
                request={"path": message.path, "body": message.body},
                body=message.text,
                kind=message.kind,
                identity=message.identity,
                told_as=message.told_as,
                upload_seconds=upload_seconds(message.size) or None,
                seen_message_id=wanted.seen_up_to,
            )
            sent = await send_message(database, asked)
    except TooMuch as error:
        why = "too many media are being sent: try again soon"
        raise HTTPException(503, why, {"Retry-After": "5"}) from error
    if not sent.already:
        abandon(session_id)
        log_event(
            _log, Action.PAUSED, "paused: an operator wrote", tenant_id=tenant_id,
            session_id=session_id, source="operator", caller=caller,
        )  # fmt: skip
    relays.wake()
    return sent


async def _outgoing(
    wanted: MessageRequest, tenant_id: int, relays: Relays, keep: Callable[[int], None]
) -> Outgoing:
    """Return the message, with its media's bytes. Raises Invalid, and what `keep` raises."""
    if wanted.media is None:
        return Outgoing.of(*text_by_hand(wanted.text or ""))
    media = wanted.media
    if media.url is not None:
        content = await _fetched(media.url, tenant_id, relays, keep)
    else:
        content = await asyncio.to_thread(_decoded, media.base64 or "", relays.most_media)
    if media.kind == "voice":
        await _require_sound(content, tenant_id, relays)

    def made() -> Outgoing:
        written = base64.b64encode(content).decode()
        path, body = media_by_hand(
            media.kind, written, file_name=media.file_name, caption=media.caption
        )
        return Outgoing.of(path, body)

    return await asyncio.to_thread(made)


async def _require_sound(content: bytes, tenant_id: int, relays: Relays) -> None:
    try:
        await relays.sounds.require(content, tenant_id)
    except NoMedia as error:
        if error.is_away:
            raise HTTPException(503, f"media: {error}", {"Retry-After": "5"}) from error
        raise Invalid(f"media: {error}") from error


async def _fetched(url: str, tenant_id: int, relays: Relays, keep: Callable[[int], None]) -> bytes:
    """Fetch media and count its bytes, which the short request has not counted."""

    def count(number: int) -> None:
        keep(_TIMES_IN_MEMORY * number)

    try:
        return await relays.media.fetch(url, tenant_id, count)
    except NoMedia as error:
        if error.is_away:
            raise HTTPException(503, f"media.url: {error}", {"Retry-After": "5"}) from error
        raise Invalid(f"media.url: {error}") from error


def _decoded(given: str, most: int) -> bytes:
    try:
        content = base64.b64decode("".join(given.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("media.base64: it is not base64") from error
    if not content:
        raise Invalid("media.base64: it is empty")
    if len(content) > most:
        raise Invalid(f"media.base64: it has more than {most} bytes (MAX_MEDIA_BYTES)")
    return content
