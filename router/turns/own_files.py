"""The business's own files in a reply: sent where the model has written a file's name."""

import re
from collections.abc import Sequence
from dataclasses import replace

from router.evolution.errors import MediaRefused
from router.replies.making import Part
from router.sending.outcomes import SendFailed
from router.sending.outgoing import Outgoing
from router.sending.paths import MEDIA_PATH, STICKER_PATH
from router.state.calls.claimed_turn import OwnFile
from router.state.calls.files import ReadFile, read_file
from router.state.database import Database

OWN = "own-file:"
"""Before the name that stands in a part where the content goes."""
_MARK = re.compile(
    r"[ \t]*\[{1,2}\s*(?:image|imagem|imagen|file|arquivo|archivo|sticker|video|audio|document)"
    r"\s*:\s*([^\[\]\n]{0,200}?)\s*\]{1,2}[ \t]*",
    re.IGNORECASE,
)
_FIELDS = ("media", "sticker")


def with_files(parts: tuple[Part, ...], files: Sequence[OwnFile]) -> tuple[Part, ...]:
    """Return the parts with the files where they are named; no such mark is left in a text.

    What a human is called with is kept: a file named there comes before it.
    """
    known = {each.name: each for each in files}
    said: list[Part] = []
    for part in parts:
        if isinstance(part, str):
            said += _cut(part, known)
        elif "text" in part:
            pieces = _cut(part["text"], known)
            said += [piece for piece in pieces if not isinstance(piece, str)]
            text = "\n\n".join(piece for piece in pieces if isinstance(piece, str))
            rest = {name: value for name, value in part.items() if name != "text"}
            said.append({**rest, "text": text} if text else rest)
        else:
            said.append(part)
    return tuple(said)


def _cut(text: str, known: dict[str, OwnFile]) -> list[Part]:
    """Cut a text at the files that are named in it; each is sent once.

    `known` are those that are still to be sent.
    """
    said: list[Part] = []
    last = 0
    for mark in _MARK.finditer(text):
        said += _text(text[last : mark.start()])
        last = mark.end()
        if (found := known.pop(mark[1].lower(), None)) is not None:
            said.append(_part(found))
    return [*said, *_text(text[last:])]


class OwnFiles:
    """Gives what is in them, before the fence."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def filled(self, message: Outgoing, tenant_id: int) -> Outgoing:
        """Return the message with the file's content; it stays the same message.

        Raises SendFailed where the file is there no more.
        """
        for field in _FIELDS:
            value = message.body.get(field)
            if isinstance(value, str) and value.startswith(OWN):
                asked = ReadFile(tenant_id=tenant_id, name=value.removeprefix(OWN))
                content = (await read_file(self._database, asked)).content
                if content is None:
                    why = f"the business has removed its file {asked.name}"
                    raise SendFailed(MediaRefused(why))
                return replace(message, body={**message.body, field: content})
        return message


def _text(text: str) -> tuple[str, ...]:
    return (text.strip(),) if text.strip() else ()


def _part(file: OwnFile) -> Part:
    content = OWN + file.name
    if file.kind == "sticker":
        return {"path": STICKER_PATH, "body": {"sticker": content}}
    body = {"mediatype": file.kind, "media": content, "fileName": file.file_name}
    return {"path": MEDIA_PATH, "body": body}
