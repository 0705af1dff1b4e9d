"""A message to be sent: its request to Evolution, its identity, and how its echo is recognised."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router.sending.telling import Echo, echoes_of
from router.whatsapp.clean import JsonObject, JsonValue, as_object, as_text, clean

TEXT_PATH = "message/sendText"

# Fields that say where, when and how a message is sent. They are no part of its content.
_ABOUT_THE_SEND = frozenset(
    {"number", "delay", "messageId", "linkPreview", "encoding", "notConvertSticker", "webhookUrl"}
)
_NEVER_SENT = frozenset({"number", "delay", "messageId"})
_BYTES = ("media", "audio", "video", "sticker")
_URL = re.compile(r"\s*https?://", re.IGNORECASE)
_NOT_BASE64 = re.compile(r"[\s=]")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message. `body` is what goes to Evolution, except the number and the chosen id.

    Two messages have the same `identity` if and only if their content is the same, for any
    receiver; a picture is identified by its bytes or its URL. `kind` and `text` are what the
    webhook's readers make of its echo; `told_as` are the keys by which an echo is recognised, on
    every channel. A message that `is_emptied` no longer has its media: it only asks how an earlier
    send of it ended, and is never sent. If one that `has_substitute` is refused for good, the same
    content is sent in another form.
    """

    path: str
    body: Mapping[str, Any] = field(repr=False)
    identity: str
    kind: str
    text: str = field(repr=False)
    told_as: tuple[str, ...]
    is_emptied: bool = False
    has_substitute: bool = False

    @classmethod
    def of(cls, path: str, body: Mapping[str, Any]) -> "Outgoing":
        """Return the message that a call of Evolution sends.

        Raises KeyError if the path sends nothing, and ValueError if the body contains a number that
        JSON does not have.
        """
        said = {name: _cleaned(value) for name, value in body.items() if name not in _NEVER_SENT}
        echoes = echoes_of(path, said)
        reading = echoes[0].reading
        return cls(
            path=path,
            body=said,
            identity=_identity(path, said),
            kind=reading.kind,
            text=reading.text,
            told_as=tuple(dict.fromkeys(echo.telling for echo in echoes)),
        )

    @classmethod
    def plain(cls, text: str, options: Mapping[str, Any] | None = None) -> "Outgoing":
        """Return a text message; `options` are those of sendText (`quoted`, `mentioned`, …)."""
        return cls.of(TEXT_PATH, {**(options or {}), "text": text})

    @property
    def echo(self) -> Echo:
        """Return the message as Evolution's response has it on a phone's channel."""
        return echoes_of(self.path, self.body)[0]

    @property
    def size(self) -> int:
        """Return roughly how many bytes go to Evolution; without media there are few."""
        return sum(len(value) for value in self.body.values() if isinstance(value, str))

    @property
    def refers_to(self) -> str | None:
        """Return the id of the message that it quotes or reacts to, if any."""
        key = as_object(self.body.get("key")) or as_object(
            as_object(self.body.get("quoted")).get("key")
        )
        return as_text(key.get("id")) or None

    @property
    def refers_in(self) -> str:
        """Return the field of the body that contains the id of `refers_to`."""
        return "key" if "key" in self.body else "quoted"

    def addressed(self, jid: str, chosen_id: str | None) -> JsonObject:
        """Return the body to post. Channels on which Evolution chooses the id ignore ours."""
        address: JsonObject = {"number": jid}
        if chosen_id is not None:
            address["messageId"] = chosen_id
        return {**self.body, **address}


def is_plain_text(kind: str, text: str, told_as: tuple[str, ...] | None) -> bool:
    """Whether a recorded message is only a text, so that it can be sent again."""
    return kind == "text" and (not told_as or told_as == Outgoing.plain(text).told_as)


def _identity(path: str, body: Mapping[str, JsonValue]) -> str:
    said = {
        name: _content(value) if name in _BYTES else _canonical(value)
        for name, value in body.items()
        if name not in _ABOUT_THE_SEND and value is not None
    }
    # A body that cannot be serialised cannot be sent: find out before the fence, not after it.
    written = json.dumps([path, said], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(written.encode()).hexdigest()


def _canonical(value: JsonValue) -> JsonValue:
    """Return the value without nulls, and with whole numbers as integers."""
    match value:
        case dict():
            return {name: _canonical(item) for name, item in value.items() if item is not None}
        case list():
            return [_canonical(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _content(value: JsonValue) -> JsonValue:
    """Return a short value in place of media: the hash of its bytes, or its URL."""
    if not isinstance(value, str) or _URL.match(value):
        return _canonical(value)
    written = _NOT_BASE64.sub("", value).translate({ord("-"): "+", ord("_"): "/"})
    try:
        content = base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    except (binascii.Error, ValueError):
        return value
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _cleaned(value: Any) -> JsonValue:
    """Return the value with every text fit to be stored and sent. Callers limit its depth."""
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(str(name)): _cleaned(item) for name, item in value.items()}
        case list() | tuple():
            return [_cleaned(item) for item in value]
        case _:
            return value  # type: ignore[no-any-return]
