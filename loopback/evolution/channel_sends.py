"""What each send of the REST API becomes on the EVOLUTION channel (its service.ts)."""

from dataclasses import replace

from loopback.evolution.answers import Refusal, refused
from loopback.evolution.baileys_sends import check_file_name
from loopback.evolution.chats import Json
from loopback.evolution.contents import Content
from loopback.evolution.instance import Instance
from loopback.evolution.media import given_media

NOT_AVAILABLE = "Method not available on Evolution Channel"


def text(_: Instance, body: Json) -> Content:
    """Make a text."""
    return Content({"conversation": body["text"]}, "conversation", shown=body["text"])


def media(_: Instance, body: Json) -> Content:
    """Make media of any kind; only its URL is reported."""
    check_file_name(body)
    given = given_media(body.get("media"))
    message = {"mediaUrl": given.url}
    kind, shown = f"{body['mediatype']}Message", body.get("caption") or f"<{body['mediatype']}>"
    return replace(Content(message, kind, shown=shown), source=given.source)


def voice(_: Instance, __: Json) -> Content:
    """Fail: this channel accepts voice messages only as uploaded files."""
    raise Refusal(500, "File or buffer is undefined.")


def buttons(_: Instance, body: Json) -> Content:
    """Make a message with buttons."""
    fields = ("title", "description", "footer", "buttons")
    message = {name: body[name] for name in fields if name in body}
    return Content(message, "buttonMessage", shown=str(body.get("title")))


def not_available(_: Instance, __: Json) -> Content:
    """Refuse what this channel does not have."""
    raise refused(NOT_AVAILABLE)
