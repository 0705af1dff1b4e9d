"""No text that a flow makes up is stored as an execution, or handed out to be deleted in n8n."""

import pytest

from router.errors import Invalid
from tests.state.conversation import Conversation, held
from tests.unit.test_execution_ids import FOREIGN


@pytest.mark.parametrize("by_n8n", [False, True])
async def test_no_other_text_is_taken_for_an_execution(talk: Conversation, by_n8n: bool):
    await talk.maria_writes("oi")
    turn = held(await talk.claim_one())
    for text in (*FOREIGN, None):
        with pytest.raises(Invalid, match="execution_id"):
            await talk.database.call("begin_flow", {**turn, "execution_id": text, "by_n8n": by_n8n})
    assert [row["execution_id"] for row in await talk.turns()] == [None]


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
