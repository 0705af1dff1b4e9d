"""Reads the parameters of an interactive message's buttons: JSON in a text, by kind of button.

They are described in brackets, so that the model can repeat a key, a code or a URL, and knows what
is to be paid. Messages that are made to crash phones have thousands of parts, so everything is
limited. Values that would be wrong if cut are shown whole or not at all.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from router.whatsapp.clean import as_line, as_list, as_number, as_object
from router.whatsapp.elements import too_many
from router.whatsapp.lengths import LONGEST_TEXT
from router.whatsapp.reading import bracketed

_MOST_PARAMETERS = 1_000  # values in the JSON of one text; no form has so many
_MOST_ITEMS = 50  # of an order that are shown
_MOST_ROWS = 100  # of a list
_LONGEST = 1_024  # characters of a key, a code or a URL


def parameters_of(text: object) -> Mapping[str, object]:
    """Read JSON inside a text; its values are counted here, not with those of the webhook."""
    if not isinstance(text, str) or len(text) > LONGEST_TEXT:
        return {}
    if too_many(text.encode("utf-8", "surrogatepass"), _MOST_PARAMETERS):
        return {}
    try:
        return as_object(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def exact(value: object) -> str:
    """Return a value that must not be cut (a key, a code, a URL, a number), or an empty text."""
    text = as_line(value)
    return text if len(text) <= _LONGEST else ""


def with_detail(label: str, detail: str) -> str:
    """Return a button's label with its detail."""
    return f"{label} ({detail})" if label and detail else label or detail


def labels_of(parameters: Mapping[str, object]) -> Iterator[str]:
    """Yield the label of a button, with its code, URL or number."""
    code, phone = exact(parameters.get("copy_code")), exact(parameters.get("phone_number"))
    address = exact(parameters.get("url") or parameters.get("merchant_url"))
    details = (f"code: {code}" if code else "", address, phone)
    label = as_line(parameters.get("display_text"))
    yield with_detail(label, ", ".join(filter(None, details)))
    yield from rows_of(parameters.get("sections"))


def rows_of(sections: object) -> Iterator[str]:
    """Yield the rows of a list, each with its description."""
    told = 0
    for section in as_list(sections):
        for row in as_list(as_object(section).get("rows")):
            if told >= _MOST_ROWS:
                return
            told += 1
            fields = as_object(row)
            yield with_detail(as_line(fields.get("title")), as_line(fields.get("description")))


def payments_of(parameters: Mapping[str, object]) -> Iterator[str]:
    """Yield what is to be paid and how, each in brackets: the order, keys, codes, links."""
    currency = as_line(parameters.get("currency"))
    order = as_object(parameters.get("order"))
    items = as_list(order.get("items"))
    listed = list(_items(items, currency))
    if len(items) > _MOST_ITEMS:
        listed.append(f"and {len(items) - _MOST_ITEMS} more")
    total = _money(parameters.get("total_amount"), currency)
    if total:
        listed.append(f"total {total}")
    number = exact(parameters.get("reference_id")) if listed else ""
    if listed:
        yield bracketed(f"order {number}".strip(), ", ".join(listed))
    for setting in as_list(parameters.get("payment_settings"))[:_MOST_ITEMS]:
        yield from _ways_to_pay(as_object(setting))


def _items(items: Iterable[object], currency: str) -> Iterator[str]:
    for item in list(items)[:_MOST_ITEMS]:
        fields = as_object(item)
        name = as_line(fields.get("name")) or as_line(fields.get("retailer_id"))
        if name:
            price = _money(fields.get("sale_amount"), currency) or _money(
                fields.get("amount"), currency
            )
            yield with_detail(f"{as_number(fields.get('quantity')) or 1} x {name}", price)


def _money(amount: object, currency: str) -> str:
    """Return an amount; an empty text if there is none, or if it is zero, which means unknown."""
    fields = as_object(amount)
    value, offset = as_number(fields.get("value")), as_number(fields.get("offset"))
    if not value:
        return ""
    decimals = len(str(offset)) - 1 if offset in (1, 10, 100, 1_000, 10_000) else 2
    shown = f"{value / (offset or 100):.{decimals}f}"
    return f"{shown} {currency}".strip()


def _ways_to_pay(setting: Mapping[str, object]) -> Iterator[str]:
    for name in ("pix_static_code", "pix_dynamic_code"):
        pix = as_object(setting.get(name))
        whose = as_line(pix.get("merchant_name"))
        of_whom = f" of {whose}" if whose else ""
        if key := exact(pix.get("key")):
            yield bracketed(f"Pix key{of_whom}", with_detail(key, as_line(pix.get("key_type"))))
        if code := exact(pix.get("code")):
            yield bracketed(f"Pix code{of_whom}", code)
    if link := exact(as_object(setting.get("payment_link")).get("uri")):
        yield bracketed("link to pay by", link)
    boleto = as_object(setting.get("boleto"))
    if line := exact(boleto.get("digitable_line")):
        yield bracketed("boleto", line)
