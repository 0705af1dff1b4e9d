"""Readers of a business's menus: buttons, lists, templates, cards, payments."""

from collections.abc import Iterator, Mapping

from router.whatsapp.clean import as_line, as_list, as_object, as_text
from router.whatsapp.native import (
    exact,
    labels_of,
    parameters_of,
    payments_of,
    rows_of,
    with_detail,
)
from router.whatsapp.reading import Reader, Reading, bracketed

_MOST_BUTTONS = 50
_MOST_CARDS = 10
_TEMPLATES = (
    "hydratedTemplate",
    "hydratedFourRowTemplate",
    "interactiveMessageTemplate",
    "fourRowTemplate",
)
_WORDS = (
    "title",
    "hydratedTitleText",
    "header",
    "description",
    "contentText",
    "hydratedContentText",
    "content",
    "body",
)


def read_menu(content: Mapping[str, object]) -> Reading:
    """Read the menu's text, its buttons, and what is to be paid."""
    cards = as_list(as_object(content.get("carouselMessage")).get("cards"))
    told = [_told(content), *(_told(as_object(card)) for card in cards[:_MOST_CARDS])]
    shown = "\n".join(filter(None, told))
    return Reading("text", shown) if shown else Reading("unsupported", "[menu]")


def read_structured(content: Mapping[str, object]) -> Reading:
    """Read `highlyStructuredMessage`, an old kind of template."""
    filled = as_object(content.get("hydratedHsm"))
    return read_menu(as_object(filled.get("templateMessage")) or filled)


def _told(content: Mapping[str, object]) -> str:
    template = next(
        (found for name in _TEMPLATES if (found := as_object(content.get(name)))), content
    )
    content = {**content, **template}
    words = [_words(content.get(name)) for name in _WORDS]
    buttons = list(_buttons(content))
    labels = [label for label in _labels(content, buttons) if label]
    offered = bracketed("offers", " / ".join(labels)) if labels else ""
    paid = [each for button in buttons for each in payments_of(button)]
    return "\n".join(filter(None, (*words, offered, *paid)))


def _words(value: object) -> str:
    fields = as_object(value)
    return (
        as_text(value or "").strip() or as_text(fields.get("text") or fields.get("title")).strip()
    )


def _buttons(content: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the parameters of each button, under any of the names that channels use."""
    flow = as_object(content.get("nativeFlowMessage"))
    listed = as_list(content.get("buttons")) + as_list(flow.get("buttons"))
    for button in listed[:_MOST_BUTTONS]:
        fields = as_object(button)
        native = as_object(fields.get("nativeFlowInfo"))
        given = parameters_of(fields.get("buttonParamsJson") or native.get("paramsJson"))
        named = as_object(fields.get("buttonText")).get("displayText") or fields.get("displayText")
        # The EVOLUTION channel passes on the parameters of sendButtons.
        asked = {
            "copy_code": fields.get("copyCode"),
            "url": fields.get("url"),
            "phone_number": fields.get("phoneNumber"),
        }
        known = {name: value for name, value in asked.items() if value}
        yield {**known, **given, **({"display_text": named} if named else {})}


def _labels(content: Mapping[str, object], buttons: list[Mapping[str, object]]) -> Iterator[str]:
    for button in buttons:
        yield from labels_of(button)
    for hydrated in as_list(content.get("hydratedButtons"))[:_MOST_BUTTONS]:
        for kind in as_object(hydrated).values():
            fields = as_object(kind)
            detail = exact(fields.get("url")) or exact(fields.get("phoneNumber"))
            yield with_detail(as_line(fields.get("displayText")), detail)
    yield from rows_of(content.get("sections"))


READERS: dict[str, Reader] = {
    "buttonsMessage": read_menu,
    "listMessage": read_menu,
    "templateMessage": read_menu,
    "interactiveMessage": read_menu,
    "highlyStructuredMessage": read_structured,
}
