"""No text that a flow makes up is stored as an execution, or handed out to be deleted in n8n."""

import pytest

from router.errors import Invalid
from tests.state.conversation import MARIA, Conversation, held
from tests.unit.test_execution_ids import FOREIGN


@pytest.mark.parametrize("by_n8n", [False, True])
async def test_no_other_text_is_taken_for_an_execution(talk: Conversation, by_n8n: bool):
    await talk.maria_writes("oi")
    turn = held(await talk.claim_one())
    for text in (*FOREIGN, None):
        with pytest.raises(Invalid, match="execution_id"):
            await talk.database.call("begin_flow", {**turn, "execution_id": text, "by_n8n": by_n8n})
    assert [row["execution_id"] for row in await talk.turns()] == [None]


@pytest.mark.spoils
async def test_what_is_stored_in_another_form_is_forgotten_and_never_handed_out(
    talk: Conversation,
):
    await talk.sql(
        "alter table executions_to_erase drop constraint executions_to_erase_execution_id_check"
    )
    for text in (*FOREIGN, "4711"):
        await talk.sql(
            "insert into executions_to_erase (execution_id, tenant_id, asked_at, next_at)"
            " values ($1, 1, hybridflow.clock(), hybridflow.clock())",
            text,
        )
    asked = {"limit": 100, "retry_seconds": 600}
    claimed = await talk.database.call("claim_executions_to_erase", asked)
    assert claimed == {"execution_ids": ["4711"], "waiting": 1}


async def test_a_failed_attempt_keeps_its_execution_and_has_it_deleted_too(talk: Conversation):
    """It is those that failed of which n8n keeps what the contact wrote."""
    await talk.maria_writes("oi")
    first = held(await talk.claim_one())
    await talk.database.call("forward_turn", {**first, "lease_seconds": 30})
    url = "http://n8n.example/workflow/abc/executions/12"
    failed = {**first, "kind": "transient", "error": "no", "max_attempts": 3, "base_seconds": 1}
    await talk.database.call("fail_turn", {**failed, "execution_id": "12", "execution_url": url})
    await talk.travel(minutes=1)
    second = held(await talk.claim_one())
    made = {**second, "parts": ["Olá!"], "handler": "n8n"}
    await talk.database.call("save_reply", {**made, "execution_id": "13"})
    (turn,) = await talk.turns()
    assert (turn["execution_id"], turn["execution_url"]) == ("13", None)
    story = await talk.database.call("tell_turn", {"tenant_id": 1, "turn_id": turn["id"]})
    named = [
        (each["execution_id"], each.get("execution_url"))
        for each in story["happenings"]
        if each["kind"] == "handled"
    ]
    assert named == [("12", url), ("13", None)]
    erased = await talk.database.call(
        "erase_contact", {"tenant_id": 1, "jids": [MARIA], "hashes": {MARIA: ["ab" * 32]}}
    )
    assert erased["execution_ids"] == ["12", "13"]
