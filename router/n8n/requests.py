"""Reads a flow's request to send: its body, and the messages to send."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from fastapi import Request

from router.gate.refusals import Refused
from router.n8n.fields import BadField
from router.n8n.technical import why_technical
from router.n8n.whitelist import (
    PRESENCE_PATH,
    Asked,
    NotTheContacts,
    is_known,
    read_notice,
    read_request,
)
from router.replies.parts import parts_of
from router.replies.texts import thought_out
from router.sending.outgoing import TEXT_PATH, Outgoing
from router.state.database import Json
from router.whatsapp.depth import too_deep

_DEEPEST = 10  # nested objects and lists; no route needs half of that
_MOST_ELEMENTS = 20_000  # brackets, commas and so on in a body, counted before it is parsed
_MARKS = b",:[{"
_OF_EVERY_PART = ("linkPreview",)
_OF_THE_FIRST = ("quoted", "mentionsEveryOne", "everyOne")


async def body_of(request: Request) -> Json:
    """Return the request's body, which must be short. Raises Refused."""
    return read_body(await written_of(request))


async def written_of(request: Request) -> bytes:
    """Return the bytes of the request's body. Raises Refused.

    A query is refused, because it would not be passed on to Evolution.
    """
    if request.scope["query_string"]:
        raise _bad("query", "the gateway takes no query: what is asked for stands in the body")
    return await request.body()


def understood(
    path: str, written: bytes, contact: tuple[str, ...]
) -> tuple[Asked, tuple[Outgoing, ...]]:
    """Return the request in a body for `contact`, and its messages. Raises Refused.

    A long body takes long, so it is read on the bench: see `router.sharing.bench`.
    """
    asked = asked_of(path, read_body(written), contact)
    return asked, () if path == PRESENCE_PATH else messages_of(asked)


def read_body(written: bytes) -> Json:
    """Return the body's JSON, which must be UTF-8. Raises Refused."""
    if sum(written.count(mark) for mark in _MARKS) > _MOST_ELEMENTS:
        raise _bad("body", f"it has more than {_MOST_ELEMENTS} elements")
    try:
        body = json.loads(written.decode(), parse_constant=_no_number) if written else {}
    except (ValueError, RecursionError) as error:
        raise _bad("body", "it is not JSON in UTF-8") from error
    if not isinstance(body, dict):
        raise _bad("body", "it is not a JSON object")
    if too_deep(body, _DEEPEST):
        raise _bad("body", f"it is nested more than {_DEEPEST} deep")
    return body


def asked_of(path: str, body: Json, contact: tuple[str, ...]) -> Asked:
    """Return the checked request; `contact` are the JIDs that it may name. Raises Refused."""
    if not is_known(path):
        raise Refused(404, f"the gateway does not offer {path}", "path")
    try:
        asked = read_request(path, body, contact)
    except BadField as error:
        raise _bad(error.name, str(error)) from error
    except NotTheContacts as error:
        raise Refused(403, str(error), error.name) from error
    return replace(asked, body=thought_out(asked.body))


def notice_of(body: Json) -> Json:
    """Return what a flow may send for a notice: a text, and the number that it expects.

    Raises Refused.
    """
    try:
        return read_notice(body)
    except BadField as error:
        raise _bad(error.name, str(error)) from error


def messages_of(asked: Asked) -> tuple[Outgoing, ...]:
    """Return the request's messages; a long text becomes several. Raises Refused."""
    if asked.path == TEXT_PATH:
        return _text_messages(asked.body)
    return (Outgoing.of(asked.path, asked.body),)


def _text_messages(body: Mapping[str, Any]) -> tuple[Outgoing, ...]:
    """Divide a text; the first message quotes and mentions everyone, each mentions its numbers."""
    parts = parts_of(str(body["text"]))
    if not parts:
        raise _bad("text", 'instance requires property "text"')
    if (why := why_technical(str(body["text"]))) is not None:
        raise _bad("text", f"text: it is {why}, and no text for a customer")
    shared = {name: body[name] for name in _OF_EVERY_PART if name in body}
    first = {name: body[name] for name in _OF_THE_FIRST if name in body}
    messages = []
    for number, part in enumerate(parts):
        options = shared | _mentioned(body, part, is_only=len(parts) == 1)
        messages.append(Outgoing.plain(part, options | first if number == 0 else options))
    return tuple(messages)


def _mentioned(body: Mapping[str, Any], part: str, *, is_only: bool) -> Json:
    mentioned: list[str] = body.get("mentioned", [])
    named = [number for number in mentioned if is_only or f"@{number.partition('@')[0]}" in part]
    return {"mentioned": named} if named else {}


def _bad(name: str, why: str) -> Refused:
    return Refused(400, why, name)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")
