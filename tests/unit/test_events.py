"""What the router makes of a webhook's body."""

import copy
import json
from typing import Any

import pytest

from router.intake.events import NotAnEnvelope, Parsed, parse_webhook
from tests.fixtures import NAMES, webhook
from tests.for_each import for_each

CUSTOMER = "5521955501234@s.whatsapp.net"
CUSTOMER_LID = "284455566677788@lid"
OWNER = "5521955500900@s.whatsapp.net"


def parse(body: dict[str, Any]) -> Parsed:
    return parse_webhook(body["instance"], body)


def event_in(body: dict[str, Any]) -> dict[str, Any]:
    parsed = parse(body)
    assert parsed.ignored is None
    (event,) = parsed.events
    return event


def event_of(name: str) -> dict[str, Any]:
    return event_in(webhook(name))


def test_a_text_message_becomes_one_event_with_every_field():
    assert event_of("messages_upsert__text") == {
        "instance": "padaria",
        "event": "messages.upsert",
        "type": "message",
        "key": "messages.upsert:0:ACA855C5A75CA9FA84110E92FEFC4AF8",
        "made_at": "2026-09-09T04:37:08.395000+00:00",
        "origin": "upsert",
        "wa_id": "ACA855C5A75CA9FA84110E92FEFC4AF8",
        "from_me": False,
        "chat": "contact",
        "jids": [CUSTOMER],
        "participant_name": None,
        "author_name": "Beatriz Lima",
        "status": "DELIVERY_ACK",
        "kind": "text",
        "text": "bom dia, tem pão de queijo?",
        "expects_reply": True,
        "media": None,
        "quoted": None,
        "sent_at": "2026-09-09T04:37:08+00:00",
    }


MESSAGE = {"type": "message", "origin": "upsert", "from_me": False, "chat": "contact"}
OWN = {**MESSAGE, "from_me": True, "author_name": None}
SENT = {**OWN, "origin": "send"}
CLOUD = {**MESSAGE, "instance": "clinica", "status": None, "jids": [CUSTOMER]}

MESSAGES = {
    "messages_upsert__lid": {**MESSAGE, "jids": [CUSTOMER_LID, CUSTOMER]},
    "messages_upsert__phone_with_lid": {**MESSAGE, "jids": [CUSTOMER, CUSTOMER_LID]},
    "messages_upsert__lid_with_sender_pn": {**MESSAGE, "jids": [CUSTOMER_LID, CUSTOMER]},
    "messages_upsert__group": {
        **MESSAGE,
        "chat": "group",
        "jids": ["120363417250099001@g.us"],
        "participant_name": "Beatriz Lima",
        "author_name": "Beatriz Lima",
    },
    "messages_upsert__owner_android": {**OWN, "status": "SERVER_ACK", "jids": [CUSTOMER]},
    "messages_upsert__owner_ios": {**OWN, "status": "SERVER_ACK", "jids": [CUSTOMER]},
    "messages_upsert__owner_web": {**OWN, "status": "SERVER_ACK", "jids": [CUSTOMER]},
    "messages_upsert__owner_while_offline": {
        **OWN,
        "status": None,
        "sent_at": "2026-09-09T03:37:54+00:00",
    },
    "messages_upsert__call_auto_reply": {**OWN, "status": "PENDING", "jids": [CUSTOMER]},
    "messages_upsert__evolution_channel": {**MESSAGE, "status": None, "wa_id": "EVO-0001"},
    "messages_upsert__evolution_channel_own": {**OWN, "status": None, "wa_id": "EVO-0002"},
    "messages_upsert__cloud_text": {**CLOUD, "author_name": "Rafael Souza"},
    "messages_upsert__cloud_mixed_up": {
        **CLOUD,
        "jids": ["5521955507000@s.whatsapp.net"],
        "author_name": "Igor",
    },
    "send_message__text": {**SENT, "status": "PENDING", "jids": [CUSTOMER]},
    "send_message__to_a_lid": {**SENT, "status": "PENDING", "jids": [CUSTOMER]},
    "send_message__cloud": {**SENT, "status": "PENDING", "jids": [CUSTOMER]},
    "send_message__evolution_channel": {**SENT, "status": None, "jids": [CUSTOMER]},
    "send_message__evolution_channel_number": {**SENT, "status": None, "jids": [CUSTOMER]},
    "send_message__reaction": {**SENT, "kind": "reaction", "expects_reply": False},
}

EDITED = {"type": "edit", "from_me": False, "event": "messages.edited"}
DELETED = {"type": "delete", "from_me": False, "jids": [CUSTOMER]}
STATUS = {"type": "status", "jids": [CUSTOMER]}

CHANGES = {
    "messages_edited__edit": {
        **EDITED,
        "jids": [CUSTOMER],
        "text": "bom dia, tem bolo de fubá?",
        "edited_at": "2026-09-09T04:26:40+00:00",
    },
    "messages_edited__by_the_contact": {
        **EDITED,
        "wa_id": "ACB0117D5C9E4A2F8800",
        "jids": [],
        "text": "amanhã às dez",
        "edited_at": "2026-09-09T04:28:31.222000+00:00",
    },
    "messages_upsert__edit_inside": {
        "type": "edit",
        "event": "messages.upsert",
        "wa_id": "ACB0117D5C9E4A2F8800",
        "from_me": False,
        "jids": [CUSTOMER],
        "text": "amanhã às nove",
        "edited_at": "2026-09-19T10:11:30.432000+00:00",
    },
    "messages_edited__revoke": DELETED,
    "messages_delete__key": DELETED,
    "messages_delete__stored_message": DELETED,
    "messages_update__delivered": {**STATUS, "status": "delivery_ack"},
    "messages_update__read": {**STATUS, "status": "read"},
    "messages_update__contact_message_read": {**STATUS, "status": "read"},
    "messages_update__cloud_sent": {**STATUS, "status": "server_ack"},
    "messages_update__cloud_delivered": {**STATUS, "status": "delivery_ack"},
    "messages_update__cloud_read": {**STATUS, "status": "read"},
    "messages_update__cloud_failed": {**STATUS, "status": "error"},
}

CONNECTION = {"type": "connection", "owner_jid": None}

OF_THE_INSTANCE = {
    "connection_update__connecting": {**CONNECTION, "state": "connecting", "reason": 200},
    "connection_update__open": {
        "type": "connection",
        "state": "open",
        "reason": 200,
        "owner_jid": OWNER,
    },
    "connection_update__close": {**CONNECTION, "state": "close", "reason": 401},
    "connection_update__refused": {**CONNECTION, "state": "refused", "reason": 428},
    "qrcode_updated__code": {
        "type": "qrcode",
        "code": "2@MADEUP,ref1,key2,id3",
        "pairing_code": None,
        "message": None,
    },
    "qrcode_updated__limit_reached": {
        "type": "qrcode",
        "code": None,
        "pairing_code": None,
        "message": "QR code limit reached, please login again",
    },
    "logout_instance__null": {"type": "logout", "event": "logout.instance"},
    "remove_instance__null": {"type": "removed", "event": "remove.instance"},
    "instance_delete__named": {"type": "removed", "event": "instance.delete"},
}

EXPECTED: dict[str, Any] = MESSAGES | CHANGES | OF_THE_INSTANCE

IGNORED = {
    "messages_upsert__status_post": "status post",
    "messages_upsert__newsletter": "newsletter",
    "messages_upsert__encrypted_edit": "nothing to read",
    "messages_edited__disappearing_messages": "nothing to read",
    "messages_set__history": "history sync",
    "call__offer": "event not used: call",
    "chats_set__list": "event not used: chats.set",
    "chats_update__list": "event not used: chats.update",
    "chats_update__object": "event not used: chats.update",
    "chats_upsert__list": "event not used: chats.upsert",
    "contacts_update__list": "event not used: contacts.update",
    "contacts_update__object": "event not used: contacts.update",
    "contacts_upsert__cloud": "event not used: contacts.upsert",
    "contacts_upsert__evolution_channel": "event not used: contacts.upsert",
    "contacts_upsert__list": "event not used: contacts.upsert",
    "contacts_upsert__object": "event not used: contacts.upsert",
    "group_participants_update__add": "event not used: group-participants.update",
    "groups_upsert__list": "event not used: groups.upsert",
    "presence_update__composing": "event not used: presence.update",
    "status_instance__closed": "event not used: status.instance",
}


@for_each("name", EXPECTED)
def test_each_captured_event_that_matters_says_what_it_said(name: str):
    event = event_of(name)
    assert {field: event[field] for field in EXPECTED[name]} == EXPECTED[name]


@for_each("name", IGNORED)
def test_each_captured_event_that_does_not_matter_is_ignored_with_a_reason(name: str):
    parsed = parse(webhook(name))
    assert (parsed.events, parsed.ignored) == ((), IGNORED[name])


def test_no_captured_event_is_left_without_an_expectation():
    messages = {name for name in NAMES if name.startswith(("messages_upsert", "send_message"))}
    assert set(NAMES) - messages <= EXPECTED.keys() | IGNORED.keys()
    for name in messages - IGNORED.keys():
        assert event_of(name)["type"] in ("message", "edit")


@for_each("name", EXPECTED)
def test_an_event_has_the_same_key_in_every_delivery_of_it(name: str):
    body = webhook(name)
    through_the_global_webhook = body | {"destination": "https://other.example", "apikey": None}
    assert parse(through_the_global_webhook) == parse(body)


def test_a_received_and_a_sent_message_of_one_id_are_two_events():
    sent = webhook("send_message__text")
    echo = {**sent, "event": "messages.upsert"}
    wa_id = sent["data"]["key"]["id"]
    assert event_in(sent)["key"] == f"send.message:1:{wa_id}"
    assert event_in(echo)["key"] == f"messages.upsert:1:{wa_id}"


def test_a_deletion_is_one_event_by_whichever_way_it_comes():
    revoked, deleted = webhook("messages_edited__revoke"), webhook("messages_delete__key")
    deleted["data"]["id"] = revoked["data"]["key"]["id"]
    assert event_in(revoked)["key"] == event_in(deleted)["key"]


def test_each_delivery_state_and_each_edit_of_a_message_has_its_own_key():
    states = [webhook(f"messages_update__{state}") for state in ("delivered", "read")]
    assert len({event_in(body)["key"] for body in states}) == 2
    edits = []
    for text, moment in (
        ("um", "1788928000000"),
        ("dois", "1788928000000"),
        ("um", "1788928000001"),
    ):
        body = webhook("messages_edited__edit")
        body["data"] |= {"editedMessage": {"conversation": text}, "timestampMs": moment}
        edits.append(event_in(body)["key"])
    assert len(set(edits)) == 3


@pytest.mark.parametrize("name", OF_THE_INSTANCE)
def test_an_event_of_the_instance_that_happens_again_is_another_event(name: str):
    body = webhook(name)
    later = {**body, "date_time": "2026-09-09T09:09:09.009Z"}
    assert event_in(body)["key"] != event_in(later)["key"]


@pytest.mark.parametrize("written", ["MESSAGES_UPSERT", "messages-upsert", " Messages.Upsert "])
def test_every_spelling_of_an_events_name_is_understood(written: str):
    body = webhook("messages_upsert__text")
    assert event_in({**body, "event": written}) == event_in(body)


def test_several_messages_in_one_webhook_are_several_events():
    body = webhook("messages_upsert__text")
    other = copy.deepcopy(body["data"])
    other["key"]["id"] = "AC0000000000000002"
    parsed = parse({**body, "data": [body["data"], other]})
    assert [event["wa_id"] for event in parsed.events] == [
        body["data"]["key"]["id"],
        "AC0000000000000002",
    ]


def test_what_cannot_be_recorded_costs_only_itself():
    body = webhook("messages_upsert__text")
    status_post = webhook("messages_upsert__status_post")["data"]
    parsed = parse({**body, "data": [{"key": {}}, 7, status_post, body["data"]]})
    assert [event["wa_id"] for event in parsed.events] == [body["data"]["key"]["id"]]
    assert parse({**body, "data": [7, status_post]}).ignored == "status post"
    assert parse({**body, "data": []}).ignored == "nothing to read"


def without(body: dict[str, Any], *path: str) -> dict[str, Any]:
    body = copy.deepcopy(body)
    place = body
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"event": None},
        {"event": 7, "data": {}},
        {"event": " "},
        {"data": {"key": {"id": "AC01"}}},
        {"event": "messages.upsert"},
        {"event": "messages.upsert", "data": None},
        {"event": "messages.upsert", "data": "text"},
        {"event": "messages.upsert", "data": {}},
        {"event": "messages.upsert", "data": [7]},
        {"event": "messages.delete", "data": {"remoteJid": CUSTOMER}},
        {"event": "messages.update", "data": {"status": "READ"}},
        {"event": "messages.edited", "data": {"type": "REVOKE"}},
        {"event": "connection.update", "data": "open"},
        {"event": "qrcode.updated", "data": ["2@"]},
        without(webhook("messages_upsert__text"), "data", "key"),
        without(webhook("messages_upsert__text"), "data", "key", "id"),
        without(webhook("messages_upsert__text"), "data", "key", "remoteJid"),
        webhook("messages_upsert__text")
        | {"event": "messages.upsert", "data": {"key": {"id": "A" * 999}}},
    ],
)
def test_what_cannot_be_recorded_at_all_is_refused(body: dict[str, Any]):
    with pytest.raises(NotAnEnvelope):
        parse_webhook("padaria", body)


@pytest.mark.parametrize("named", ["floricultura", "PADARIA", "", 7, {"name": "padaria"}])
def test_a_body_that_names_another_instance_than_the_url_is_refused(named: object):
    with pytest.raises(NotAnEnvelope, match="different instances"):
        parse_webhook("padaria", webhook("messages_upsert__text") | {"instance": named})


def test_a_body_that_names_no_instance_is_taken_for_the_one_of_the_url():
    body = webhook("messages_upsert__text")
    for bare in (without(body, "instance"), {**body, "instance": None}):
        assert parse_webhook("padaria", bare) == parse(body)


def test_a_command_in_the_chat_with_oneself_is_read():
    body = webhook("messages_upsert__owner_android")
    body["data"]["key"]["remoteJid"] = "5521955500900:4@s.whatsapp.net"
    body["data"] |= {"message": {"conversation": "resume"}, "messageType": "conversation"}
    event = event_in(body)
    assert (event["chat"], event["is_command"]) == ("self", True)


def test_a_chat_with_oneself_is_ignored():
    body = webhook("messages_upsert__owner_android")
    body["data"]["key"]["remoteJid"] = "5521955500900:4@s.whatsapp.net"
    assert parse(body).ignored == "note to self"


@pytest.mark.parametrize(
    ("jid", "reason"),
    [
        ("1699999999@broadcast", "broadcast list"),
        ("0@s.whatsapp.net", "kind of chat not used"),
        ("867051314767696@bot", "kind of chat not used"),
        ("someone else entirely", "kind of chat not used"),
    ],
)
@pytest.mark.parametrize("name", ["messages_upsert__text", "messages_edited__revoke"])
def test_other_chats_than_conversations_are_ignored(name: str, jid: str, reason: str):
    body = webhook(name)
    body["data"]["key"]["remoteJid"] = jid
    assert parse(body).ignored == reason


def test_a_sent_message_is_ours_even_if_its_key_does_not_say_so():
    body = webhook("send_message__text")
    body["data"]["key"]["fromMe"] = False
    assert event_in(body)["from_me"] is True


@pytest.mark.parametrize(
    ("timestamp", "sent_at"),
    [
        (1_788_928_000, "2026-09-09T04:26:40+00:00"),
        ("1788928000", "2026-09-09T04:26:40+00:00"),
        (1_788_928_000.0, "2026-09-09T04:26:40+00:00"),
        ({"low": 1_788_928_000, "high": 0, "unsigned": True}, "2026-09-09T04:26:40+00:00"),
        (1_788_928_000_250, "2026-09-09T04:26:40.250000+00:00"),
        (None, None),
        (0, None),
        (-5, None),
        (True, None),
        ("yesterday", None),
        (10**30, None),
        (float("inf"), None),
        (float("nan"), None),
        ({"low": "1", "high": None}, None),
        (9_999_999_999, None),
    ],
)
def test_a_timestamp_is_understood_in_every_form_or_left_out(
    timestamp: object, sent_at: str | None
):
    body = webhook("messages_upsert__text")
    body["data"]["messageTimestamp"] = timestamp
    assert event_in(body)["sent_at"] == sent_at


def test_a_number_in_the_place_of_a_name_is_no_name():
    body = webhook("messages_upsert__group")
    body["data"]["pushName"] = body["data"]["key"]["participant"].partition("@")[0]
    event = event_in(body)
    assert (event["participant_name"], event["author_name"]) == (None, None)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        *(({}, None), ({"errors": None}, None), ({"errors": []}, None), ({"errors": [{}]}, None)),
        ({"errors": [{"code": 131047, "title": "Re-engagement message"}]}, "131047"),
        ({"messageStubParameters": ["463"]}, "463"),
        ({"messageStubParameters": ["no number"]}, None),
        ({"errors": [True], "messageStubParameters": [True]}, None),
    ],
)
def test_a_failure_brings_whatsapps_code_where_evolution_passes_it_on(
    more: dict[str, object], code: str | None
):
    body = webhook("messages_update__cloud_failed")
    body["data"] |= more
    (event,) = parse(body).events
    assert event.get("code") == code


@pytest.mark.parametrize("kind", ["DELETED", "EDITED", None, 7, ""])
def test_a_status_that_is_no_delivery_state_is_ignored(kind: object):
    body = webhook("messages_update__read")
    body["data"]["status"] = kind
    reason = parse(body).ignored
    assert reason is not None
    assert reason.startswith("status not used")


def test_a_status_without_a_chat_is_recorded_by_its_id():
    body = without(webhook("messages_update__read"), "data", "remoteJid")
    assert event_in(body)["jids"] == []


@pytest.mark.parametrize("kind", [14, "MESSAGE_EDIT", None])
def test_an_edit_is_known_by_its_type_in_either_form_or_by_what_it_carries(kind: object):
    body = webhook("messages_edited__edit")
    body["data"]["type"] = kind
    assert event_in(body)["type"] == "edit"


def test_a_deletion_is_known_by_its_number_too_but_never_guessed():
    body = webhook("messages_edited__revoke")
    body["data"]["type"] = 0
    assert event_in(body)["type"] == "delete"
    for other in (None, False, "", [], 3):
        body["data"]["type"] = other
        assert parse(body).ignored == "nothing to read"


def test_an_edit_into_a_new_caption_is_told_like_the_picture():
    body = webhook("messages_edited__edit")
    body["data"]["editedMessage"] = {"imageMessage": {"caption": "outra foto"}}
    assert event_in(body)["text"] == '[image: "outra foto"]'


def test_an_edit_that_says_nothing_is_ignored():
    body = webhook("messages_edited__edit")
    body["data"]["editedMessage"] = {}
    assert parse(body).ignored == "nothing to read"


def test_an_unknown_state_of_the_connection_is_ignored():
    body = webhook("connection_update__open")
    body["data"]["state"] = "dreaming"
    assert parse(body).ignored == "connection state not used"


def test_nothing_secret_and_no_bytes_leave_the_webhook():
    body = webhook("messages_upsert__cloud_image")
    said = json.dumps([list(parse(body).events)])
    assert body["apikey"] not in said
    assert body["data"]["message"]["base64"] not in said
