"""Readers of shared content: places, contacts, products, orders, payments, events, calls.

Content without a kind of its own is "unsupported"; it is still described to the LLM, in brackets.
"""

import re
from collections.abc import Mapping

from router.whatsapp.clean import (
    as_coordinate,
    as_line,
    as_list,
    as_number,
    as_object,
    as_text,
    as_time,
)
from router.whatsapp.reading import Reader, Reading, bracketed

_PHONE_IN_VCARD = re.compile(
    r"^(?:item[0-9]{1,3}\.)?TEL[^:\n]*:(.+)$", re.MULTILINE | re.IGNORECASE
)
_NAME_IN_VCARD = re.compile(r"^FN[^:\n]*:(.+)$", re.MULTILINE | re.IGNORECASE)
_CALLS_MISSED = ("MISSED", 1, "REJECTED", 3, "SILENCED_BY_DND", 6, "SILENCED_UNKNOWN_CALLER", 7)


def _told(what: str, *details: str) -> Reading:
    return Reading("unsupported", bracketed(what, ", ".join(filter(None, details))))


def read_location(content: Mapping[str, object]) -> Reading:
    """Read `locationMessage`."""
    return Reading("location", bracketed("location", _place(content)))


def read_live_location(content: Mapping[str, object]) -> Reading:
    """Read `liveLocationMessage`."""
    return Reading("location", bracketed("live location", _place(content)))


def _place(content: Mapping[str, object]) -> str:
    names = ", ".join(
        filter(None, (as_line(content.get(name)) for name in ("name", "address", "caption")))
    )
    latitude = as_coordinate(content.get("degreesLatitude"))
    longitude = as_coordinate(content.get("degreesLongitude"))
    if latitude is None or longitude is None:
        return names
    return f"{names} ({latitude}, {longitude})" if names else f"{latitude}, {longitude}"


def read_contact(content: Mapping[str, object]) -> Reading:
    """Read `contactMessage`."""
    return Reading("contact", bracketed("contact card", _person(content)))


def read_contacts(content: Mapping[str, object]) -> Reading:
    """Read `contactsArrayMessage`."""
    people = [_person(as_object(contact)) for contact in as_list(content.get("contacts"))]
    return Reading("contact", bracketed("contact cards", "; ".join(filter(None, people))))


def _person(content: Mapping[str, object]) -> str:
    vcard = as_text(content.get("vcard"))
    name = as_line(content.get("displayName"))
    if not name and (found := _NAME_IN_VCARD.search(vcard)):
        name = as_line(found[1])
    phones = (as_line(phone) for phone in _PHONE_IN_VCARD.findall(vcard))
    return ", ".join(filter(None, (name, *phones)))


def _price(thousandths: object, currency: object) -> str:
    amount = as_number(thousandths)
    return "" if amount is None else f"{amount / 1000:.2f} {as_line(currency)}".strip()


def read_product(content: Mapping[str, object]) -> Reading:
    """Read `productMessage`: a product of the business's catalogue."""
    product = as_object(content.get("product"))
    price = _price(product.get("priceAmount1000"), product.get("currencyCode"))
    return _told("product", as_line(product.get("title")), price, as_line(content.get("body")))


def read_order(content: Mapping[str, object]) -> Reading:
    """Read `orderMessage`: a cart, from Baileys or (with `product_items`) the Cloud API."""
    items = [as_object(item) for item in as_list(content.get("product_items"))]
    listed = [
        f"{as_number(item.get('quantity')) or 1} x {as_line(item.get('product_retailer_id'))}"
        for item in items
    ]
    count = as_number(content.get("itemCount"))
    if count is not None and not items:
        listed = [f"{count} item{'' if count == 1 else 's'}"]
    price = _price(content.get("totalAmount1000"), content.get("totalCurrencyCode"))
    title, note = (
        as_line(content.get("orderTitle")),
        as_line(content.get("message") or content.get("text")),
    )
    return _told("order", title, *listed, price, note)


def read_payment(content: Mapping[str, object]) -> Reading:
    """Read `requestPaymentMessage` and `sendPaymentMessage`."""
    note = as_object(content.get("noteMessage"))
    words = note.get("conversation") or as_object(note.get("extendedTextMessage")).get("text")
    return _told(
        "payment",
        _price(content.get("amount1000"), content.get("currencyCodeIso4217")),
        as_line(words),
    )


def read_group_invite(content: Mapping[str, object]) -> Reading:
    """Read `groupInviteMessage`."""
    return _told("group invite", as_line(content.get("groupName")), as_line(content.get("caption")))


def read_event(content: Mapping[str, object]) -> Reading:
    """Read `eventMessage`: an appointment in the chat."""
    place = as_line(as_object(content.get("location")).get("name"))
    what = "cancelled event" if content.get("isCanceled") is True else "event"
    start = as_time(content.get("startTime")) or ""
    return _told(
        what, as_line(content.get("name")), start, place, as_line(content.get("description"))
    )


def read_call(content: Mapping[str, object]) -> Reading:
    """Read the entry of a call in the chat."""
    what = "video call" if content.get("isVideo") is True else "call"
    outcome = content.get("callOutcome")
    return _told(f"missed {what}" if outcome in _CALLS_MISSED and outcome is not True else what)


def read_placeholder(_: Mapping[str, object]) -> Reading:
    """Read `placeholderMessage`: WhatsApp shows the message on the phone only."""
    return _told("message that can only be opened on the phone")


def read_number_request(_: Mapping[str, object]) -> Reading:
    """Read `requestPhoneNumberMessage`."""
    return _told("asks for the phone number")


READERS: dict[str, Reader] = {
    "locationMessage": read_location,
    "liveLocationMessage": read_live_location,
    "contactMessage": read_contact,
    "contact": read_contact,  # the Cloud channel's name for our own contacts
    "contactsArrayMessage": read_contacts,
    "productMessage": read_product,
    "orderMessage": read_order,
    "requestPaymentMessage": read_payment,
    "sendPaymentMessage": read_payment,
    "groupInviteMessage": read_group_invite,
    "eventMessage": read_event,
    "callLogMesssage": read_call,  # WhatsApp's own spelling
    "callLogMessage": read_call,
    "bcallMessage": read_call,
    "scheduledCallCreationMessage": read_call,
    "placeholderMessage": read_placeholder,
    "requestPhoneNumberMessage": read_number_request,
}
