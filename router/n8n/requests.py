"""What a flow asks to be sent, as the messages that leave."""

from collections.abc import Mapping
from typing import Any

from router.n8n.refusals import Refused
from router.sending.outgoing import Outgoing
from router.state.database import Json
from router.turns.outgoing import parts_of

_OF_EVERY_PART = ("linkPreview",)
_OF_THE_FIRST = ("mentionsEveryOne", "everyOne")


def text_messages(body: Mapping[str, Any]) -> tuple[Outgoing, ...]:
    """Return the messages of a sendText: a long text is several. Raises Refused.

    The first one quotes, and calls everyone; each calls those whose number it names.
    """
    parts = parts_of(str(body.get("text") or ""))
    if not parts:
        raise Refused(400, "Bad Request", 'instance requires property "text"', "text")
    shared = {name: body[name] for name in _OF_EVERY_PART if body.get(name) is not None}
    first = {name: body[name] for name in _OF_THE_FIRST if body.get(name) is not None}
    messages = []
    for number, part in enumerate(parts):
        options = shared | _mentioned(body, part, is_only=len(parts) == 1)
        if number == 0:
            options |= first | _quoted(body)
        messages.append(Outgoing.plain(part, options))
    return tuple(messages)


def other_message(path: str, body: Mapping[str, Any]) -> Outgoing:
    """Return the message of any other send. Raises Refused."""
    return Outgoing.of(path, {**body, **_quoted(body)})


def _quoted(body: Mapping[str, Any]) -> Json:
    """Return what is quoted, by its id alone: its words are Evolution's to know, not the flow's."""
    quoted = body.get("quoted")
    if quoted is None:
        return {}
    key = quoted.get("key") if isinstance(quoted, dict) else None
    wa_id = key.get("id") if isinstance(key, dict) else None
    if not isinstance(wa_id, str) or not wa_id:
        raise Refused(400, "Bad Request", 'quoted.key requires property "id"', "quoted")
    return {"quoted": {"key": {"id": wa_id}}}


def _mentioned(body: Mapping[str, Any], part: str, *, is_only: bool) -> Json:
    mentioned = body.get("mentioned")
    if mentioned is None:
        return {}
    if is_only or not isinstance(mentioned, list):
        return {"mentioned": mentioned}  # as it is: Evolution says what is wrong with it
    named = [number for number in mentioned if f"@{number}" in part]
    return {"mentioned": named} if named else {}
