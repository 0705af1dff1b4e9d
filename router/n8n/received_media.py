"""Gives a flow the media of a message in its turn's conversation.

The media comes from Evolution. If Evolution no longer has it, or never had it (as on the Cloud
channel), it comes from the kept files.

With an instance's key, Evolution gives the media of any message of that instance. So the state
decides whether the message belongs to this turn's session, and records the request.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse

from router.evolution.client import EvolutionClient
from router.evolution.errors import AnswerTooLarge, EvolutionAway, EvolutionError
from router.evolution.exchange import Instance
from router.gate.refusals import Refused, conflict
from router.kept.store import FileStore, NoSuchFile, StoreAway
from router.n8n.fields import FLAG, NAME, BadField, Field, Fields, object_of, read_fields, refused
from router.state.calls.flows import FindMedia, StoredMedia, find_media
from router.state.calls.model import Refusal
from router.state.database import Database, Json
from router.state.flow_tokens import TurnToken
from router.whatsapp.clean import as_object, as_text

GET_MEDIA_PATH = "chat/getBase64FromMediaMessage"
_TIMES_IN_MEMORY = 4  # copies of base64 media: Evolution's answer, while it is read, and ours
_SLACK = 64 * 1024  # bytes by which a media may be larger than WhatsApp said
_BY_ITS_ID = "a message is asked for by its id: what Evolution kept of it is not for a flow to say"
_KEY: Fields = {"id": NAME, "remoteJid": NAME, "fromMe": FLAG}
_FIELDS: Fields = {
    "message": Field(
        object_of(
            {
                "key": Field(object_of(_KEY, "id"), dict),
                "message": Field(refused(_BY_ITS_ID), (dict, list, str, int, float)),
            },
            "key",
        ),
        dict,
    ),
    "convertToMp4": FLAG,
}


@dataclass(frozen=True, slots=True)
class AskedMedia:
    """The requested media: a message's id; `to_mp4` to convert a voice note."""

    wa_id: str
    to_mp4: bool


def read_asked(body: Mapping[str, Any]) -> AskedMedia:
    """Return the request. Raises Refused."""
    try:
        found = read_fields(_FIELDS, body)
    except BadField as error:
        raise Refused(400, str(error), error.name) from error
    key = as_object(as_object(found.get("message")).get("key"))
    if not (wa_id := as_text(key.get("id"))):
        raise Refused(400, 'it must have {"message": {"key": {"id": …}}}', "message")
    return AskedMedia(wa_id, bool(found.get("convertToMp4")))


class ReceivedMedia:
    """Gives flows media that contacts sent, of at most `most` bytes."""

    def __init__(
        self,
        database: Database,
        evolution: EvolutionClient,
        store: FileStore | None,
        most: int,
    ) -> None:
        self._database = database
        self._evolution = evolution
        self._store = store
        self._most = most

    async def give(
        self,
        token: TurnToken,
        instance: Instance,
        body: Json,
        keep: Callable[[int], None],
    ) -> JSONResponse:
        """Answer as Evolution does: 201 with the media in base64. Raises Refused.

        `keep` counts the bytes in memory before they are fetched, and may raise to refuse.
        """
        asked = read_asked(body)
        found = await find_media(self._database, FindMedia(**token.held, wa_id=asked.wa_id))
        if isinstance(found, Refusal):
            raise _refusal(found.refused)
        most = self._most
        if found.bytes:
            if found.bytes > most:
                raise self._too_large()
            if not asked.to_mp4:  # a converted file has another size
                most = min(most, found.bytes + _SLACK)
        keep(_TIMES_IN_MEMORY * most)
        try:
            media = await self._evolution.media(instance, asked.wa_id, most, to_mp4=asked.to_mp4)
        except AnswerTooLarge as error:
            raise self._too_large() from error
        except EvolutionError as error:
            if not asked.to_mp4 and (kept := await self._kept(found.stored)) is not None:
                return kept
            if isinstance(error, EvolutionAway):
                raise Refused(503, str(error), "evolution_away") from error
            raise Refused(400, str(error), "no_media") from error
        return JSONResponse({**media.told, "base64": media.base64, "buffer": None}, status_code=201)

    async def _kept(self, stored: StoredMedia | None) -> JSONResponse | None:
        """Answer with the kept file, as Evolution would; None if there is none."""
        store = self._store
        if stored is None or store is None or store.kind != stored.store:
            return None
        if stored.bytes > self._most:
            return None
        try:
            content = await store.read(stored.name, stored.bytes)
        except (NoSuchFile, StoreAway):
            return None
        kind = "audio" if stored.kind == "ptt" else stored.kind
        told = {
            "mediaType": f"{kind}Message",
            "fileName": stored.name.rpartition("/")[2],
            "size": {"fileLength": len(content)},
            "mimetype": stored.media_type,
        }
        written = await asyncio.to_thread(lambda: base64.b64encode(content).decode())
        return JSONResponse({**told, "base64": written, "buffer": None}, status_code=201)

    def _too_large(self) -> Refused:
        why = f"the media has more than {self._most} bytes (MAX_MEDIA_BYTES)"
        return Refused(413, why, "too_large")


def _refusal(reason: str) -> Refused:
    if reason == "elsewhere":
        return Refused(403, "there is no such message in this turn's conversation", "message")
    if reason == "no_media":
        return Refused(400, "this message has no media", "no_media")
    return conflict(reason)
