"""What decides whether a vote, a reaction or an album is answered, and how soon."""

from typing import Any

import pytest

from router.intake.events import parse_webhook

MARIA = "5511955550001@s.whatsapp.net"


def event_of(message: dict[str, Any], *, from_me: bool = False) -> dict[str, Any]:
    key = {"remoteJid": MARIA, "fromMe": from_me, "id": "AC01"}
    data = {"key": key, "message": message, "messageType": next(iter(message))}
    body = {"event": "messages.upsert", "instance": "shop", "data": data}
    (event,) = parse_webhook("shop", body).events
    return event


def vote(options: list[str], *, from_me: object = True) -> dict[str, Any]:
    key = {"remoteJid": MARIA, "fromMe": from_me, "id": "POLL1"}
    vote = {"selectedOptions": options}
    return {"pollUpdateMessage": {"pollCreationMessageKey": key, "vote": vote}}


def reaction(emoji: str, *, from_me: object = True) -> dict[str, Any]:
    key = {"remoteJid": MARIA, "fromMe": from_me, "id": "3EB01"}
    return {"reactionMessage": {"key": key, "text": emoji}}


@pytest.mark.parametrize("message", [vote(["Sim"]), reaction("👍")])
def test_what_is_about_a_message_of_ours_says_so(message: dict[str, Any]) -> None:
    event = event_of(message)
    assert event["about_ours"] is True
    assert event["expects_reply"] is False


@pytest.mark.parametrize(
    "message",
    [
        vote(["Sim"], from_me=False),
        reaction("👍", from_me=False),
        reaction("👍", from_me="true"),
        vote([]),  # taken back, or not decrypted: nothing to answer
        reaction(""),
        {"conversation": "oi"},
    ],
)
def test_nothing_else_does(message: dict[str, Any]) -> None:
    assert "about_ours" not in event_of(message)


def test_what_the_business_does_itself_is_about_nobody() -> None:
    assert "about_ours" not in event_of(vote(["Sim"]), from_me=True)


@pytest.mark.parametrize(
    ("album", "pictures", "text"),
    [
        ({"expectedImageCount": 3, "expectedVideoCount": 1}, 4, "[album: 4 pictures]"),
        ({"expectedImageCount": 1}, 1, "[album: 1 picture]"),
        ({"expectedImageCount": 10**9}, 100, "[album: 100 pictures]"),
        ({"expectedImageCount": -3, "expectedVideoCount": "x"}, None, "[album]"),
        ({}, None, "[album]"),
    ],
)
def test_an_album_says_how_many_pictures_come(
    album: dict[str, Any], pictures: int | None, text: str
) -> None:
    event = event_of({"albumMessage": album})
    assert event.get("pictures") == pictures
    assert (event["kind"], event["text"], event["expects_reply"]) == ("album", text, False)
