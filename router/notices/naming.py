"""How a contact is named to the people of a business: by name and number. Pure."""

from router.whatsapp.jids import JidKind, kind_of


def number_shown(jid: str | None) -> str | None:
    """Return the phone number of a JID; a LID, which hides the number, or a group is unchanged."""
    if jid is None or kind_of(jid) is not JidKind.PHONE:
        return jid
    return jid.partition("@")[0]


def who_is(name: str | None, jid: str | None, nameless: str) -> str:
    """Return how a customer is named to the people of the business."""
    phone = jid if jid and kind_of(jid) is JidKind.PHONE else None
    number = f" ({number_shown(phone)})" if phone else ""
    return f"{name or nameless}{number}"
