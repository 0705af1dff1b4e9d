"""Readers of choices: buttons, lists, forms, reactions, votes.

A choice is read as the words that the customer saw and tapped, without brackets, because in the
conversation these are the customer's words.
"""

import json
from collections.abc import Iterable, Mapping

from router.whatsapp.clean import as_line, as_list, as_object, as_text
from router.whatsapp.native import parameters_of
from router.whatsapp.reading import DASH, Reader, Reading, bracketed

_NO_ANSWERS = ("flow_token", "id")
_DEEPEST = 4  # nested groups of answers
_LARGEST = 1e15


def _choice(kind: str, shown: str, chosen_id: object) -> Reading:
    return Reading(kind, shown or bracketed("chose", as_line(chosen_id)))


def read_list_reply(content: Mapping[str, object]) -> Reading:
    """Read `listResponseMessage`: the row's title and description."""
    title, description = as_text(content.get("title")).strip(), as_line(content.get("description"))
    shown = f"{title} ({description})" if title and description else title or description
    row = as_object(content.get("singleSelectReply")).get("selectedRowId")
    return _choice("list_reply", shown, row)


def read_button_reply(content: Mapping[str, object]) -> Reading:
    """Read `buttonsResponseMessage` and `templateButtonReplyMessage`."""
    shown = as_text(content.get("selectedDisplayText")).strip()
    return _choice(
        "button_reply", shown, content.get("selectedButtonId") or content.get("selectedId")
    )


def read_interactive_reply(content: Mapping[str, object]) -> Reading:
    """Read `interactiveResponseMessage`: a quick reply, or a form (WhatsApp Flow) filled in."""
    shown = as_text(as_object(content.get("body")).get("text")).strip()
    flow = as_object(content.get("nativeFlowResponseMessage"))
    answers = parameters_of(flow.get("paramsJson"))
    form = "; ".join(_answers(answers))
    if form:
        return Reading("interactive_reply", bracketed("form filled in", form))
    return _choice("interactive_reply", shown, answers.get("id") or flow.get("name"))


def _answers(parameters: Mapping[str, object], depth: int = 0) -> Iterable[str]:
    for name, value in parameters.items():
        if name in _NO_ANSWERS and not depth:
            continue
        answer = _answer(value, depth)
        if answer:
            yield f"{as_line(name)}: {answer}"


def _answer(value: object, depth: int) -> str:
    match value:
        case str(text):
            return as_line(text)
        case bool() | int() | float():  # a number, or a checkbox
            return json.dumps(value) if abs(value) < _LARGEST else ""
        case list(items) if depth < _DEEPEST:
            return ", ".join(filter(None, (_answer(item, depth + 1) for item in items)))
        case dict(fields) if depth < _DEEPEST:
            return "; ".join(_answers(fields, depth + 1))
        case _:
            return ""


def read_reaction(content: Mapping[str, object]) -> Reading:
    """Read `reactionMessage`; an empty text means that the reaction is taken back."""
    emoji = as_line(content.get("text"))
    return Reading(
        "reaction",
        f"[reacted {emoji}]" if emoji else "[took a reaction back]",
        expects_reply=False,
        about=_id_in(content.get("key")),
        about_ours=bool(emoji) and _is_ours(content.get("key")),
    )


def read_poll_vote(content: Mapping[str, object]) -> Reading:
    """Read `pollUpdateMessage`; Evolution decrypts the options' names only from 2.3.7 on."""
    options = as_list(as_object(content.get("vote")).get("selectedOptions"))
    names = ", ".join(filter(None, map(as_line, options)))
    return Reading(
        "poll_vote",
        bracketed("voted", names) if names else "[voted in a poll]",
        expects_reply=False,
        about=_id_in(content.get("pollCreationMessageKey")),
        about_ours=bool(names) and _is_ours(content.get("pollCreationMessageKey")),
    )


def _id_in(key: object) -> str | None:
    return as_line(as_object(key).get("id")) or None


def _is_ours(key: object) -> bool:
    """Whether the business sent the message of this key, which is written from its side."""
    return as_object(key).get("fromMe") is True


def read_poll(content: Mapping[str, object]) -> Reading:
    """Read `pollCreationMessage` in all its versions."""
    options = [
        as_line(as_object(option).get("optionName")) for option in as_list(content.get("options"))
    ]
    question = as_line(content.get("name"))
    return Reading(
        "poll", bracketed("poll", DASH.join(filter(None, (question, " / ".join(options)))))
    )


READERS: dict[str, Reader] = {
    "listResponseMessage": read_list_reply,
    "buttonsResponseMessage": read_button_reply,
    "templateButtonReplyMessage": read_button_reply,
    "interactiveResponseMessage": read_interactive_reply,
    "reactionMessage": read_reaction,
    "pollUpdateMessage": read_poll_vote,
    "pollCreationMessage": read_poll,
    "pollCreationMessageV2": read_poll,
    "pollCreationMessageV3": read_poll,
    "pollCreationMessageV5": read_poll,
}
