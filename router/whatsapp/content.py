"""Reads a message's content from Evolution into what the state stores and the LLM sees.

`message` has one field named after the type (`imageMessage`, …), or `conversation` for plain text,
and beside it fields without content for readers (`messageContextInfo`, `base64`). Evolution leaves
some types wrapped: `ephemeralMessage` and similar ones have the content one `message` deeper.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from router.whatsapp import cards, choices, media, menus
from router.whatsapp.bounds import cut_text
from router.whatsapp.clean import JsonObject, as_line, as_object, as_text
from router.whatsapp.reading import AD_NOTE, DASH, Reader, Reading, bracketed

_READERS: dict[str, Reader] = {
    **media.READERS,
    **choices.READERS,
    **menus.READERS,
    **cards.READERS,
}
_KNOWN = frozenset({*_READERS, "conversation", "extendedTextMessage", "protocolMessage"})
_MOST_WRAPPERS = 8
_AD_SOURCE = re.compile(r"(?:^|_)ads?\Z", re.IGNORECASE)  # ctwa_ad, FB_Ads
_SIMPLE_NAME = re.compile(r"[A-Za-z0-9]{1,60}")

# On the Cloud channel the tapped label is plain text, and only the type says what it was.
_TEXT_KINDS = {"buttonMessage": "button_reply", "interactiveMessage": "interactive_reply"}

# On the EVOLUTION channel, the fields of these types are in the message itself.
_MENU_TYPES = ("buttonMessage", "listMessage")
_MENU_FIELDS = frozenset({"body", "buttons", "sections"})

# Fields of a message that people do not see in the conversation.
_SILENT = frozenset({
    "contextInfo",
    "encCommentMessage",
    "encEventResponseMessage",
    "encReactionMessage",
    "fastRatchetKeySenderKeyDistributionMessage",
    "keepInChatMessage",
    "messageContextInfo",
    "messageHistoryBundle",
    "messageHistoryNotice",
    "pinInChatMessage",
    "pollResultSnapshotMessage",
    "protocolMessage",
    "quoted",
    "secretEncryptedMessage",  # an edit whose new text Evolution cannot decrypt
    "senderKeyDistributionMessage",
    "statusNotificationMessage",
    "stickerSyncRmrMessage",
    "systemMessage",
})  # fmt: skip


def innermost(message: Mapping[str, object]) -> Mapping[str, object]:
    """Return the message inside its wrappers, or the message itself if it has none."""
    for _ in range(_MOST_WRAPPERS):
        if not _KNOWN.isdisjoint(message):
            return message
        inner = next(
            (
                value["message"]
                for value in message.values()
                if isinstance(value, dict) and isinstance(value.get("message"), dict)
            ),
            None,
        )
        if inner is None:
            return message
        message = inner
    return message


def read_content(message: Mapping[str, object], message_type: object = None) -> Reading | None:
    """Read an innermost message; None if there is nothing to read. A text that is too long is cut.

    `message_type` is Evolution's `messageType`. Only it shows on the EVOLUTION channel that a sent
    message was a picture, and on the Cloud channel that a text was a tapped label.
    """
    reading = _read(message, message_type)
    if reading is None:
        return None
    text = cut_text(AD_NOTE.sub(_typed, reading.text))
    return reading if text == reading.text else replace(reading, text=text)


def _typed(note: re.Match[str]) -> str:
    """Return a typed imitation of our note about an ad, changed so that it is not taken for one."""
    return note[0].replace("[", "(").replace("]", ")")


def _read(message: Mapping[str, object], message_type: object) -> Reading | None:
    text = as_text(message.get("conversation")) or as_text(
        as_object(message.get("extendedTextMessage")).get("text")
    )
    if text.strip():
        return Reading(_TEXT_KINDS.get(as_text(message_type), "text"), text)
    for name, content in message.items():
        reader = _READERS.get(name)
        if reader is not None and isinstance(content, dict):
            if name == "audioMessage":
                content = {"speechToText": message.get("speechToText"), **content}  # noqa: PLW2901
            return reader(content)
    return _read_unknown(message, message_type)


def _read_unknown(message: Mapping[str, object], message_type: object) -> Reading | None:
    for name, content in message.items():
        if isinstance(content, dict) and name not in _SILENT and name not in _KNOWN:
            return _unsupported(name)
    if not isinstance(message_type, str):
        return None
    if message_type in media.READERS and ("mediaUrl" in message or "base64" in message):
        return media.READERS[message_type](message)
    if message_type in _MENU_TYPES and not _MENU_FIELDS.isdisjoint(message):
        return menus.read_menu(message)
    if message_type in _TEXT_KINDS:  # the answer to a form of the Cloud API: Evolution drops it
        return _unsupported(message_type)
    return None


def _unsupported(name: str) -> Reading:
    shown = name if _SIMPLE_NAME.fullmatch(name) else ""
    return Reading("unsupported", bracketed("message of a type that cannot be shown here", shown))


def context_of(data: Mapping[str, object], message: Mapping[str, object]) -> Mapping[str, object]:
    """Return the contextInfo, which names the quoted message and the ad.

    It is beside the message (Baileys up to 2.3), in it (Cloud), or in its content (in a wrapper,
    and from 2.4 on, which has other fields beside the message). All of these are merged; if several
    have a field, the first one counts.
    """
    found = [
        data.get("contextInfo"),
        as_object(data.get("message")).get("contextInfo"),
        *(as_object(content).get("contextInfo") for content in message.values()),
        message.get("contextInfo"),
    ]
    said: dict[str, object] = {}
    for context in map(as_object, found):
        for name, value in context.items():
            if value and name not in said:
                said[name] = value
    return said


def read_quoted(
    context: Mapping[str, object], message: Mapping[str, object], about: str | None
) -> JsonObject | None:
    """Return `{wa_id, text}` of the message that this one quotes or reacts to, or None.

    Each of the two may be None: the Cloud channel gives only the id.
    """
    if about is not None:
        return {"wa_id": about, "text": None}
    wa_id = as_line(context.get("stanzaId") or as_object(message.get("quoted")).get("id"))
    reading = read_content(innermost(as_object(context.get("quotedMessage"))))
    if not wa_id and reading is None:
        return None
    return {"wa_id": wa_id or None, "text": reading.text if reading else None}


def ad_note(context: Mapping[str, object]) -> str:
    """Return a note in brackets about the ad that the customer came from, or an empty text."""
    ad = context.get("externalAdReply")
    if not isinstance(ad, dict):
        return _ad_of_conversion(context)
    words = DASH.join(filter(None, (as_line(ad.get("title")), as_line(ad.get("body")))))
    return bracketed("came from the ad", words or as_line(ad.get("sourceUrl")))


def _ad_of_conversion(context: Mapping[str, object]) -> str:
    """Return a note about an ad of which only its existence is known."""
    sources = (context.get("entryPointConversionSource"), context.get("conversionSource"))
    if not any(_AD_SOURCE.search(as_line(source)) for source in sources):
        return ""
    app = as_line(context.get("entryPointConversionApp"))[:40]
    return f"[came from an ad ({app})]" if app else "[came from an ad]"
