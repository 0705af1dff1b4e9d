"""A number that a person typed is compared under every spelling that WhatsApp may have for it."""

import pytest

from router.n8n.whitelist import NotTheContacts, read_request
from router.whatsapp.numbers import contact_jids, spellings_of

PAIRS = [
    ("5531988887777", "553188887777"),
    ("5511988887777", "551188887777"),
    ("5215512345678", "525512345678"),
    ("5491112345678", "541112345678"),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_both_spellings_are_one_contact(one: str, other: str, turned: bool) -> None:
    typed, known = (other, one) if turned else (one, other)
    jid = f"{known}@s.whatsapp.net"
    assert jid in contact_jids(f"+{typed}")
    assert spellings_of(f"{typed}@s.whatsapp.net") == contact_jids(typed)
    assert read_request("message/sendText", {"number": typed, "text": "oi"}, (jid,)).body == {
        "text": "oi"
    }


@pytest.mark.parametrize("other", ["5531988887778", "553133334444", "552188887777"])
def test_nobody_else_is(other: str) -> None:
    with pytest.raises(NotTheContacts):
        read_request(
            "message/sendText",
            {"number": other, "text": "oi"},
            ("553188887777@s.whatsapp.net",),
        )


@pytest.mark.parametrize("jid", ["201955550001001@lid", "120363041234567890@g.us", "x", ""])
def test_what_is_no_phone_number_has_one_spelling(jid: str) -> None:
    assert spellings_of(jid) == (jid,)
