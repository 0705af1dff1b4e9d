"""The media in a flow's sends: given in base64, or fetched from a URL; always sent as base64."""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

from router.gate.refusals import Refused
from router.n8n.whitelist import Asked
from router.outbound.media import MediaSource, NoMedia, is_address
from router.sending.outgoing import Outgoing

_NOT_BASE64 = re.compile(r"[\s=]")


Beside: TypeAlias = Callable[[Callable[[], Outgoing]], Awaitable[Outgoing]]
"""Does long work in a thread. Raises Refused."""


async def filled(
    asked: Asked,
    message: Outgoing,
    source: MediaSource,
    tenant_id: int,
    beside: Beside,
    keep: Callable[[int], None],
) -> Outgoing:
    """Return the message with its media's bytes in it.

    Raises NoMedia if there is no media at its URL, Refused, and what `keep` raises. The identity
    stays that of the message with the URL. `keep` counts the bytes in memory as they arrive,
    including their copies: in base64, in the message, and in the request to Evolution.
    """
    if asked.media is None:
        return message
    name, given = asked.media, str(asked.body[asked.media]).strip()
    if not is_address(given):
        keep(2 * len(given))
        return await beside(lambda: _with_content(asked, message, _decoded(name, given)))
    content = await source.fetch(given, tenant_id, lambda number: keep(_kept_of(number)))
    return await beside(lambda: _with_content(asked, message, content))


def emptied(asked: Asked, message: Outgoing) -> Outgoing:
    """Return the message without its media, if the fence will only report an earlier result."""
    if asked.media is None:
        return message
    return replace(message, body={**message.body, asked.media: ""}, is_emptied=True)


def _kept_of(number: int) -> int:
    return number * 8 // 3 + 8


def _with_content(asked: Asked, message: Outgoing, content: bytes) -> Outgoing:
    return replace(
        message, body={**message.body, str(asked.media): base64.b64encode(content).decode()}
    )


def _decoded(name: str, given: str) -> bytes:
    written = _NOT_BASE64.sub("", given).translate({ord("-"): "+", ord("_"): "/"})
    try:
        return base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        why = f"{name}: it must be base64, or a URL that begins with http:// or https://"
        raise Refused(400, why, name) from error


def refusal(asked: Asked, error: NoMedia) -> Refused:
    """Return the response to the flow if there is no media at its URL."""
    name = str(asked.media)
    if error.is_away:
        return Refused(503, f"{name}: {error}", "media_away")
    return Refused(400, f"{name}: {error}", name)
