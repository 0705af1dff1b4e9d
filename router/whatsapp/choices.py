"""Readers of what is chosen (buttons, lists, forms, reactions, votes) and of what is offered.

A choice is told in the words that the customer saw and tapped, without brackets: for the
conversation it is what they said.
"""

import json
from collections.abc import Iterable, Mapping

from router.whatsapp.clean import as_line, as_list, as_object, as_text
from router.whatsapp.elements import too_many
from router.whatsapp.lengths import LONGEST_TEXT
from router.whatsapp.reading import DASH, Reader, Reading, bracketed

_MOST_PARAMETERS = 1_000  # values in JSON that stands in a text: no form has as many
_NO_ANSWERS = ("flow_token", "id")


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
    answers = _parameters(flow.get("paramsJson"))
    form = "; ".join(_answers(answers))
    if form:
        return Reading("interactive_reply", bracketed("form filled in", form))
    return _choice("interactive_reply", shown, answers.get("id") or flow.get("name"))


def _parameters(text: object) -> Mapping[str, object]:
    """Read JSON that stands in a text: its values were not counted with those of the webhook."""
    if not isinstance(text, str) or len(text) > LONGEST_TEXT:
        return {}
    if too_many(text.encode("utf-8", "surrogatepass"), _MOST_PARAMETERS):
        return {}
    try:
        return as_object(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _answers(parameters: Mapping[str, object]) -> Iterable[str]:
    for name, value in parameters.items():
        if name in _NO_ANSWERS:
            continue
        if isinstance(value, list):
            value = ", ".join(filter(None, map(as_line, value)))  # noqa: PLW2901 - several boxes ticked
        if isinstance(value, int | float) and abs(value) < 1e15:
            value = json.dumps(value)  # noqa: PLW2901 - a number or a tick
        if isinstance(value, str) and value.strip():
            yield f"{as_line(name)}: {as_line(value)}"


def read_reaction(content: Mapping[str, object]) -> Reading:
    """Read `reactionMessage`; an empty text takes the reaction back."""
    emoji = as_line(content.get("text"))
    return Reading(
        "reaction",
        f"[reacted {emoji}]" if emoji else "[took a reaction back]",
        expects_reply=False,
        about=_id_in(content.get("key")),
    )


def read_poll_vote(content: Mapping[str, object]) -> Reading:
    """Read `pollUpdateMessage`; only Evolution 2.3.7 and newer decrypts the options' names."""
    options = as_list(as_object(content.get("vote")).get("selectedOptions"))
    names = ", ".join(filter(None, map(as_line, options)))
    return Reading(
        "poll_vote",
        bracketed("voted", names) if names else "[voted in a poll]",
        expects_reply=False,
        about=_id_in(content.get("pollCreationMessageKey")),
    )


def _id_in(key: object) -> str | None:
    return as_line(as_object(key).get("id")) or None


def read_poll(content: Mapping[str, object]) -> Reading:
    """Read `pollCreationMessage` in its versions."""
    options = [
        as_line(as_object(option).get("optionName")) for option in as_list(content.get("options"))
    ]
    question = as_line(content.get("name"))
    return Reading(
        "poll", bracketed("poll", DASH.join(filter(None, (question, " / ".join(options)))))
    )


def read_menu(content: Mapping[str, object]) -> Reading:
    """Read what a business offers (buttons, lists, templates): its words and what can be tapped."""
    template = as_object(content.get("hydratedTemplate") or content.get("hydratedFourRowTemplate"))
    content = {**content, **template}
    words = [_words(content.get(name)) for name in _MENU_WORDS]
    labels = [label for label in _labels(content) if label]
    text = "\n".join(word for word in words if word)
    offered = bracketed("offers", " / ".join(labels)) if labels else ""
    shown = "\n".join(filter(None, (text, offered)))
    return Reading("text", shown) if shown else Reading("unsupported", "[menu]")


_MENU_WORDS = (
    "title",
    "hydratedTitleText",
    "header",
    "description",
    "contentText",
    "hydratedContentText",
    "body",
)


def _words(value: object) -> str:
    fields = as_object(value)
    return (
        as_text(value or "").strip() or as_text(fields.get("text") or fields.get("title")).strip()
    )


def _labels(content: Mapping[str, object]) -> Iterable[str]:
    flow = as_object(content.get("nativeFlowMessage"))
    for button in as_list(content.get("buttons")) + as_list(flow.get("buttons")):
        fields = as_object(button)
        named = as_object(fields.get("buttonText")).get("displayText") or fields.get("displayText")
        yield as_line(named or _parameters(fields.get("buttonParamsJson")).get("display_text"))
    for button in as_list(content.get("hydratedButtons")):
        for kind in as_object(button).values():
            yield as_line(as_object(kind).get("displayText"))
    for section in as_list(content.get("sections")):
        for row in as_list(as_object(section).get("rows")):
            yield as_line(as_object(row).get("title"))


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
    "buttonsMessage": read_menu,
    "listMessage": read_menu,
    "templateMessage": read_menu,
    "interactiveMessage": read_menu,
}
