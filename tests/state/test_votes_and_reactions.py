"""Votes and reactions start a turn where the tenant says so, and only about what is ours."""

from typing import Any

import pytest

from tests.state.conversation import Conversation, answered


async def votes(talk: Conversation, kind: str = "poll_vote", **more: Any) -> dict[str, Any]:
    event = talk.message("[voted: Sim]", kind=kind, expects_reply=False)
    return (await talk.ingest({**event, "about_ours": True, **more}))[0]


@pytest.mark.parametrize("kind", ["poll_vote", "reaction"])
async def test_it_is_answered_where_the_tenant_says_so(talk: Conversation, kind: str):
    assert (await votes(talk, kind))["decision"] == "no_reply_needed"
    await talk.set_rule("answered_kinds", [kind])
    assert (await votes(talk, kind))["decision"] == "turn_pending"
    assert answered(await talk.claim_one()) == ["[voted: Sim]"]


@pytest.mark.parametrize("ours", [False, None])
async def test_what_is_about_others_messages_is_not(talk: Conversation, ours: bool | None):
    await talk.set_rule("answered_kinds", ["poll_vote", "reaction"])
    assert (await votes(talk, about_ours=ours))["decision"] == "no_reply_needed"


async def test_each_kind_is_chosen_by_itself(talk: Conversation):
    await talk.set_rule("answered_kinds", ["poll_vote"])
    assert (await votes(talk, "reaction"))["decision"] == "no_reply_needed"


async def test_what_was_voted_in_a_pause_is_answered_after_it(talk: Conversation):
    await talk.set_rule("answered_kinds", ["poll_vote"])
    await talk.owner_writes("um momento", ago=7100)
    assert (await votes(talk))["decision"] == "paused"
    await talk.travel(minutes=10)
    await talk.maria_writes("e aí?")
    assert answered(await talk.claim_one()) == ["[voted: Sim]", "e aí?"]


async def test_no_other_kind_can_be_named(talk: Conversation):
    with pytest.raises(Exception, match="tenants_answered_kinds_check"):
        await talk.set_rule("answered_kinds", ["sticker"])
