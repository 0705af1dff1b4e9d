"""JIDs: one form for each address, and both identities of one person."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.whatsapp.jids import (
    JidKind,
    chat_of,
    identities,
    is_group,
    kind_of,
    normalise_jid,
    number_of,
)
from router.whatsapp.wamid import corrected, number_in

PHONE = "5521955501234@s.whatsapp.net"
LID = "284455566677788@lid"
GROUP = "120363417250099001@g.us"
OWNER = "5521955500900@s.whatsapp.net"


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        (PHONE, PHONE),
        (LID, LID),
        (GROUP, GROUP),
        ("5521955501234:12@s.whatsapp.net", PHONE),
        ("5521955501234_1:12@s.whatsapp.net", PHONE),
        ("284455566677788:3@lid", LID),
        ("5521955501234@c.us", PHONE),
        ("5521955501234@hosted", PHONE),
        ("284455566677788@hosted.lid", LID),
        ("5521955501234", PHONE),
        ("+55 (21) 95550-1234", PHONE),
        ("  5521955501234@S.WhatsApp.Net ", PHONE),
        ("552195550\x001234@s.whatsapp.net", PHONE),
        ("5521955500000-1600000000@g.us", "5521955500000-1600000000@g.us"),
        ("status@broadcast", "status@broadcast"),
        ("somebody", "somebody"),
        ("", ""),
    ],
)
def test_every_spelling_of_an_address_becomes_one(written: str, normal: str):
    assert normalise_jid(written) == normal
    assert normalise_jid(normal) == normal


@pytest.mark.parametrize(
    ("jid", "kind"),
    [
        (PHONE, JidKind.PHONE),
        (LID, JidKind.LID),
        (GROUP, JidKind.GROUP),
        ("5521955500000-1600000000@g.us", JidKind.GROUP),
        ("status@broadcast", JidKind.STATUS),
        ("1699999999@broadcast", JidKind.BROADCAST),
        ("120363999888777001@newsletter", JidKind.NEWSLETTER),
        ("0@s.whatsapp.net", JidKind.OTHER),
        ("867051314767696@bot", JidKind.OTHER),
        ("²³¹²³¹²³@s.whatsapp.net", JidKind.OTHER),
        ("1" * 60 + "@s.whatsapp.net", JidKind.OTHER),
        ("@s.whatsapp.net", JidKind.OTHER),
        ("", JidKind.OTHER),
    ],
)
def test_the_kind_of_an_address_is_told_by_its_server_and_its_digits(jid: str, kind: JidKind):
    assert kind_of(jid) is kind
    assert is_group(jid) is (kind is JidKind.GROUP)


@given(st.text())
def test_normalising_never_raises_and_is_done_once(text: str):
    jid = normalise_jid(text)
    assert "\x00" not in jid
    assert normalise_jid(jid) == jid
    kind_of(jid)


def test_send_text_gets_the_whole_jid_so_that_evolution_rewrites_nothing():
    assert number_of(PHONE) == PHONE
    assert number_of("5521955501234:7@s.whatsapp.net") == PHONE
    assert number_of(LID) == LID
    assert number_of(GROUP) == GROUP


@pytest.mark.parametrize(
    ("key", "from_me", "jids"),
    [
        ({"remoteJid": PHONE}, False, (PHONE,)),
        ({"remoteJid": LID}, False, (LID,)),
        ({"remoteJid": LID, "remoteJidAlt": PHONE}, False, (LID, PHONE)),
        ({"remoteJid": PHONE, "remoteJidAlt": LID}, False, (PHONE, LID)),
        ({"remoteJid": LID, "remoteJidAlt": PHONE}, True, (LID, PHONE)),
        ({"remoteJid": LID, "senderPn": "5521955501234:4@s.whatsapp.net"}, False, (LID, PHONE)),
        ({"remoteJid": PHONE, "senderLid": LID}, False, (PHONE, LID)),
        ({"remoteJid": PHONE, "previousRemoteJid": LID}, False, (PHONE, LID)),
        ({"remoteJid": LID, "previousRemoteJid": LID, "senderPn": PHONE}, False, (LID, PHONE)),
        # of an own message the sender is the business
        ({"remoteJid": LID, "senderPn": OWNER}, True, (LID,)),
        ({"remoteJid": LID, "remoteJidAlt": OWNER}, True, (LID,)),
        # two numbers are two people
        ({"remoteJid": PHONE, "remoteJidAlt": "5521955509999@s.whatsapp.net"}, False, (PHONE,)),
        ({"remoteJid": PHONE, "remoteJidAlt": ""}, False, (PHONE,)),
        ({"remoteJid": PHONE, "remoteJidAlt": 7}, False, (PHONE,)),
        ({"remoteJid": PHONE, "remoteJidAlt": GROUP}, False, (PHONE,)),
        ({"remoteJid": GROUP, "participant": LID, "participantAlt": PHONE}, False, (GROUP,)),
    ],
)
def test_a_key_gives_the_identities_of_the_person_and_of_nobody_else(key, from_me, jids):
    chat = chat_of(key)
    assert chat is not None
    assert identities(key, chat, from_me=from_me, owner=OWNER) == jids


@pytest.mark.parametrize(
    ("key", "chat"),
    [
        ({}, None),
        ({"remoteJid": None}, None),
        ({"remoteJid": 5521955501234}, None),
        ({"remoteJid": " "}, None),
        ({"remoteJid": "5521955501234"}, PHONE),
        ({"remoteJid": "5521955501234", "addressingMode": "pn"}, PHONE),
        ({"remoteJid": "284455566677788", "addressingMode": "lid"}, LID),
    ],
)
def test_a_chat_is_what_remote_jid_names(key, chat):
    assert chat_of(key) == chat


def wamid(number: str, head: bytes = b"\x1c\x18") -> str:
    rest = b"\x15\x02\x00\x12\x18\x0aMADEUPMADE\x00"
    return "wamid." + b64encode(head + bytes([len(number)]) + number.encode() + rest).decode()


@pytest.mark.parametrize(
    ("wa_id", "number"),
    [
        (wamid("5521955501234"), "5521955501234"),
        (wamid("5521955501234").rstrip("="), "5521955501234"),
        (wamid("16505550123"), "16505550123"),
        (wamid("5521955501234", b"\x1c\x19"), None),
        (wamid("abcdefghijk"), None),
        (wamid("123"), None),
        ("wamid." + b64encode(b"\x1c\x18\x0d5521").decode(), None),
        ("wamid.HB", None),
        ("wamid.", None),
        ("wamid.não é base64", None),
        ("wamid.\ud800", None),
        ("3EB0F00D", None),
    ],
)
def test_a_cloud_message_id_tells_the_customers_number(wa_id: str, number: str | None):
    assert number_in(wa_id) == number


def test_a_message_under_the_jid_of_another_customer_is_put_right():
    stranger = "5521955507777@s.whatsapp.net"
    assert corrected((stranger,), wamid("5521955501234")) == (PHONE,)
    assert corrected((stranger, LID), wamid("5521955501234")) == (PHONE,)


def test_a_message_id_does_not_touch_what_it_says_nothing_about():
    without_ninth_digit = "552155501234@s.whatsapp.net"
    assert corrected((without_ninth_digit,), wamid("5521955501234")) == (without_ninth_digit,)
    assert corrected((PHONE, LID), "3EB0F00D") == (PHONE, LID)
    assert corrected((GROUP,), wamid("5521955501234")) == (GROUP,)
    assert corrected((LID,), wamid("5521955501234")) == (LID,)
