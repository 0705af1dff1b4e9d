"""The business's own files in a reply: sent where the model has written a file's name."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from router.evolution.errors import MediaAway, MediaRefused
from router.kept.store import FileStore, NoSuchFile, StoreAway
from router.replies.making import Part
from router.sending.outcomes import SendFailed
from router.sending.outgoing import Outgoing
from router.sending.paths import MEDIA_PATH, STICKER_PATH
from router.state.calls.claimed_turn import OwnFile
from router.state.calls.files import ReadFile, StoredFile, read_file
from router.state.database import Database
from router.turns.file_marks import taken_apart

OWN = "own-file:"
"""In a part, this prefix and the file's name take the place of the file's content."""
_MOST = 5  # in one reply
_FIELDS = ("media", "sticker")


def with_files(parts: tuple[Part, ...], files: Sequence[OwnFile]) -> tuple[Part, ...]:
    """Return the parts with each file where its mark was; no text contains a mark any more."""
    known = {each.name: each for each in files}
    said: list[Part] = []
    sent: set[str] = set()

    def pieces_of(text: str) -> list[Part]:
        pieces: list[Part] = []
        for piece in taken_apart(text, known.keys()):
            if isinstance(piece, str):
                pieces.append(piece)
            elif piece.name not in sent and len(sent) < _MOST:
                sent.add(piece.name)
                pieces.append(_part(known[piece.name]))
        return pieces

    for part in parts:
        if isinstance(part, str):
            said += pieces_of(part)
        elif "text" in part:
            said += _handed_off(part, pieces_of(part["text"]))
        elif caption := _caption_of(part):
            said += _captioned(part, pieces_of(caption))
        else:
            said.append(part)
    return tuple(said)


def _handed_off(part: Mapping[str, Any], pieces: Sequence[Part]) -> list[Part]:
    """Return the files that a handoff's text names, then the handoff with the remaining text."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    rest = {name: value for name, value in part.items() if name != "text"}
    told: Part = {"text": "\n\n".join(texts), **rest} if texts else rest
    return [*(piece for piece in pieces if not isinstance(piece, str)), told]


def _caption_of(part: Mapping[str, Any]) -> str | None:
    caption = part["body"].get("caption") if "body" in part else None
    return caption if isinstance(caption, str) else None


def _captioned(part: Mapping[str, Any], pieces: Sequence[Part]) -> list[Part]:
    """Return a flow's media, its caption without marks, followed by the files of those marks."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    body = {name: value for name, value in part["body"].items() if name != "caption"}
    if texts:
        body["caption"] = "\n\n".join(texts)
    return [{**part, "body": body}, *(piece for piece in pieces if not isinstance(piece, str))]


class OwnFiles:
    """Loads the content of own files, before the fence."""

    def __init__(self, database: Database, store: FileStore | None) -> None:
        self._database = database
        self._store = store

    async def filled(self, message: Outgoing, tenant_id: int) -> Outgoing:
        """Return the message with the file's content; its identity stays the same.

        Raises SendFailed if the file no longer exists, or its store is away.
        """
        for field in _FIELDS:
            value = message.body.get(field)
            if isinstance(value, str) and value.startswith(OWN):
                asked = ReadFile(tenant_id=tenant_id, name=value.removeprefix(OWN))
                found = await read_file(self._database, asked)
                content = found.content
                if found.stored is not None:
                    content = await self._from_store(asked.name, found.stored)
                if content is None:
                    why = f"the business has removed its file {asked.name}"
                    raise SendFailed(MediaRefused(why))
                return replace(message, body={**message.body, field: content})
        return message

    async def _from_store(self, name: str, stored: StoredFile) -> str:
        """Return the file's content in base64. Raises SendFailed."""
        if self._store is None or self._store.kind != stored.store:
            why = f"the file {name} is in a {stored.store}; this router is not configured for one"
            raise SendFailed(MediaAway(why))
        try:
            content = await self._store.read(stored.name, stored.bytes)
        except NoSuchFile as error:
            why = f"the file {name} is not where it was kept: upload it again"
            raise SendFailed(MediaRefused(why)) from error
        except StoreAway as error:
            raise SendFailed(MediaAway(f"the file {name}: {error}")) from error
        return await asyncio.to_thread(lambda: base64.b64encode(content).decode())


def _part(file: OwnFile) -> Part:
    content = OWN + file.name
    if file.kind == "sticker":
        return {"path": STICKER_PATH, "body": {"sticker": content}}
    body = {"mediatype": file.kind, "media": content, "fileName": file.file_name}
    return {"path": MEDIA_PATH, "body": body}
