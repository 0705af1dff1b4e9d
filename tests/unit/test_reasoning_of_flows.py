"""What a flow's model thought aloud is in no text of what the flow sends or reports."""

import json
from typing import Any

import pytest

from router.gate.refusals import Refused
from router.n8n.callbacks import Handoff
from router.n8n.finishing import Done
from router.n8n.requests import understood
from router.replies.texts import texts_of
from tests.fixtures.sends import PNG

MARIA = "5511955550001@s.whatsapp.net"
THOUGHT = "<think>our margin is 60%</think>"
BODIES: dict[str, dict[str, Any]] = {
    "message/sendText": {"text": f"{THOUGHT}Sim"},
    "message/sendMedia": {"mediatype": "image", "media": PNG, "caption": f"{THOUGHT}Sim"},
    "message/sendLocation": {
        "latitude": 1, "longitude": 1, "name": "Aqui", "address": f"{THOUGHT}Sim",
    },
    "message/sendPoll": {
        "name": f"{THOUGHT}Qual?", "selectableCount": 1, "values": ["um", f"{THOUGHT}Sim"],
    },
    "message/sendList": {
        "title": "t", "description": f"{THOUGHT}d", "buttonText": "b", "footerText": "f",
        "sections": [
            {"title": "s", "rows": [{"title": f"{THOUGHT}Sim", "description": "", "rowId": "1"}]}
        ],
    },
    "message/sendButtons": {
        "title": f"{THOUGHT}Sim", "description": "d", "footer": "f",
        "buttons": [{"type": "reply", "displayText": f"{THOUGHT}Sim", "id": "1"}],
    },
}  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
def test_no_text_of_a_send_has_any(path: str) -> None:
    asked, messages = understood(path, json.dumps(BODIES[path]).encode(), (MARIA,))
    said = "\n".join(texts_of(message.body) for message in messages)
    assert "Sim" in said
    assert "margin" not in said + str(asked.body)
    assert "think" not in said


@pytest.mark.parametrize("nothing", [THOUGHT, "<think>our margin", "our margin</think>"])
def test_nothing_but_reasoning_says_nothing(nothing: str) -> None:
    """A flow is refused as if it had given no text, which it reports as an empty answer."""
    with pytest.raises(Refused) as refused:
        understood("message/sendText", json.dumps({"text": nothing}).encode(), (MARIA,))
    assert (refused.value.status, refused.value.reason) == (400, "text")
    assert "margin" not in str(refused.value)


def test_people_are_not_told_of_it_either() -> None:
    told = Handoff(reason=f"{THOUGHT}Quer um humano", summary=f"{THOUGHT}Reclama")
    assert (told.reason, told.summary) == ("Quer um humano", "Reclama")
    assert Done(reason=f"{THOUGHT}pronto").reason == "pronto"
