"""A flow that is done leaves the rest of a text to the router: it is sent, in any attempt."""

from tests.state.conversation import Conversation, held
from tests.state.test_said_so_far import flow_of, says
from tests.state.test_unsent_of_flows import rest


async def test_done_in_the_last_attempt_does_not_bury_the_rest(talk: Conversation):
    turn = await flow_of(talk)
    begun = await says(talk, turn, "um", rest=rest("dois"), next_part=0)
    await talk.sql("update turns set attempt = 5")
    await talk.finish(turn, begun, "3EB01")
    answer = await talk.database.call("finish_turn", held(turn))
    assert answer == {"ok": True, "in_doubt": True}
    await talk.database.call("finish_turn", held(turn))  # told twice, it counts once
    (kept,) = await talk.turns()
    assert (kept["state"], kept["attempt"]) == ("sending", 4)
    again = await talk.claim_one()
    assert again["turn_id"] == turn["turn_id"]
