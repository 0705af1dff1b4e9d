"""Our own words never pause us: of every kind there is, before and after Evolution's answer.

A kind is a fence, and what it lets through. One that is added is missed here until it is tried.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from router.sending import speakers
from router.state.database import Json
from tests.state import test_away as closed
from tests.state import test_notices as notices
from tests.state import test_relays as relays
from tests.state.conversation import MARIA, Conversation, held
from tests.state.test_handoffs import next_step
from tests.state.test_outages_told import SORRY, begin_fallback, lapses

SCHEMA = Path(__file__).parents[2] / "database" / "schema"


@dataclass(frozen=True)
class Leaving:
    """A send that has passed its fence; `paused_by` is who the session is paused by for it."""

    begun: Json
    body: str
    jid: str = MARIA
    paused_by: str | None = None
    kind: str = "text"
    telling: str | None = None


async def a_reply(talk: Conversation) -> Leaving:
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    return Leaving(await talk.begin(turn, "Olá!"), "Olá!")


async def a_reply_by_voice(talk: Conversation) -> Leaving:
    """What comes back is a voice message, and says no word."""
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    said = {"kind": "audio", "told_as": ["as a voice message"], "lease_seconds": 45}
    begun = await talk.database.call(
        "begin_send", {**held(turn), "part": 0, "body": "Olá!", **said}
    )
    return Leaving(begun, "[audio]", kind="audio", telling="as a voice message")


async def words_of_a_handoff(talk: Conversation) -> Leaving:
    await talk.maria_writes("atendente")
    turn = await talk.claim_one()
    part = {"handoff": {"reason": "asked_for_person"}, "text": "Vou chamar alguém."}
    made = {"parts": [part], "handler": "fallback"}
    await talk.database.call("save_reply", {**held(turn), **made})
    begun = await talk.begin(turn, "Vou chamar alguém.")
    return Leaving(begun, "Vou chamar alguém.", paused_by="ai")


async def that_nobody_has_come_yet(talk: Conversation) -> Leaving:
    await notices.hand_off(talk)
    for _ in range(3):
        if await next_step(talk) == "told_customer":
            break
    turn = await talk.claim_one()
    return Leaving(await talk.begin(turn, "Ninguém ainda."), "Ninguém ainda.", paused_by="ai")


async def the_away_message(talk: Conversation) -> Leaving:
    turn = await closed.asked(talk)
    return Leaving(await closed.say(talk, turn, closed.tomorrow(talk)), closed.CLOSED)


async def the_fallback_message(talk: Conversation) -> Leaving:
    await talk.maria_writes("oi")
    return Leaving(await begin_fallback(talk, await talk.claim_one()), SORRY)


async def the_fallback_message_of_nobodys_attempt(talk: Conversation) -> Leaving:
    await talk.set_rule("fallback_message", SORRY)
    await talk.maria_writes("oi")
    await lapses(talk)
    (turn,) = await talk.claim()
    return Leaving(await talk.begin(turn, SORRY), SORRY)


async def what_a_flow_sends(talk: Conversation) -> Leaving:
    await talk.maria_writes("oi")
    turn = await talk.claim_one()
    said = {"kind": "text", "body": "Olá!", "identity": "i", "lease_seconds": 45}
    return Leaving(await talk.database.call("begin_flow_send", {**held(turn), **said}), "Olá!")


async def a_notice(talk: Conversation) -> Leaving:
    begun = await notices.begin(talk, await notices.handed_off(talk))
    jid = f"{notices.STAFF}@s.whatsapp.net"
    return Leaving(begun, "Maria needs a person", jid)


async def a_relay(talk: Conversation) -> Leaving:
    await talk.maria_writes("oi")
    await relays.write(talk)
    begun = await relays.begin(talk, await relays.claim_one(talk))
    return Leaving(begun, relays.SAID, paused_by="operator")


async def a_word_back(talk: Conversation) -> Leaving:
    await relays.told(talk)
    await relays.staff_write(talk, "Já te ligo")
    relay = await relays.claim_one(talk)
    await relays.left(talk, await relays.begin(talk, relay))
    await relays.settle(talk, relay, outcome="sent")
    return Leaving(await relays.say_word(talk, relay), "Sent.", relays.STAFF)


async def what_a_human_writes_through_us(talk: Conversation) -> Leaving:
    await talk.maria_writes("oi")
    session_id = (await talk.session())["id"]
    asked = {"tenant_id": 1, "session_id": session_id, "body": "Sou a Ana", "identity": "a"}
    begun = await talk.database.call("begin_human_send", asked)
    return Leaving(begun, "Sou a Ana", paused_by="operator")


Kind = Callable[[Conversation], Awaitable[Leaving]]
KINDS: dict[str, tuple[Kind, ...]] = {
    "begin_send": (
        *(a_reply, a_reply_by_voice, words_of_a_handoff, that_nobody_has_come_yet),
        the_fallback_message_of_nobodys_attempt,
    ),
    "begin_away_send": (the_away_message,),
    "begin_fallback_send": (the_fallback_message,),
    "begin_flow_send": (what_a_flow_sends,),
    "begin_notice_send": (a_notice,),
    "begin_relay_send": (a_relay,),
    "begin_word_send": (a_word_back,),
    "begin_human_send": (what_a_human_writes_through_us,),
}
KIND = pytest.mark.parametrize("kind", [each for kinds in KINDS.values() for each in kinds])


def test_every_fence_is_tried():
    source = "\n".join(path.read_text() for path in sorted(SCHEMA.glob("*.sql")))
    fences = set(re.findall(r"function public\.(begin_(?:\w+_)?send)\(", source))
    assert fences == KINDS.keys()
    asked = set(re.findall(r"await (begin_\w+)\(", Path(speakers.__file__).read_text()))
    assert asked == KINDS.keys() - {"begin_human_send"}, "begin_relay_send calls it"


def echo(talk: Conversation, sent: Leaving, wa_id: str, **how: Any) -> Json:
    event = talk.message(
        sent.body, from_me=True, jids=[sent.jid], wa_id=wa_id, kind=sent.kind, **how
    )
    return event if sent.telling is None else event | {"telling": sent.telling}


async def is_ours(talk: Conversation, sent: Leaving, event: Json, states: list[str]) -> None:
    (decided,) = await talk.ingest(event)
    assert decided["decision"] != "takeover", decided
    session = await talk.session(sent.jid)
    assert (session["is_paused"], session["pause_source"] if session["is_paused"] else None) == (
        sent.paused_by is not None,
        sent.paused_by,
    )
    # No message of the owner's, and no turn that was stopped for one.
    assert "owner" not in [sender for sender, _ in await talk.sayings()]
    assert [state for state in await talk.turn_states() if state == "cancelled"] == states


@KIND
@pytest.mark.parametrize("early", [True, False])
async def test_its_echo_is_ours_before_and_after_the_answer(
    talk: Conversation, kind: Kind, early: bool
):
    sent = await kind(talk)
    assert sent.begun["ok"], sent.begun
    cancelled = [state for state in await talk.turn_states() if state == "cancelled"]
    wa_id = "3EB0EARLYBIRD0001"  # Evolution need not take the id that we chose
    if early:
        await is_ours(talk, sent, echo(talk, sent, wa_id), cancelled)
        await is_ours(talk, sent, echo(talk, sent, wa_id, origin="send"), cancelled)
    asked = {"tenant_id": 1, "message_id": sent.begun["message_id"], "wa_id": wa_id}
    await talk.database.call("finish_send", asked | {"jid": sent.jid})
    for origin in ("send", "upsert"):
        await is_ours(talk, sent, echo(talk, sent, wa_id, origin=origin), cancelled)
    # And a human's own words, after all of that, are a human's.
    (decided,) = await talk.ingest(talk.message("Sou eu", from_me=True, jids=[MARIA]))
    assert decided["decision"] == "takeover"
