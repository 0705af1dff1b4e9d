"""What a router knows of its turns in n8n before the state does."""

from dataclasses import dataclass

from router.turns.flow_places import SOON, FlowPlaces
from tests.for_each import for_each


@dataclass(frozen=True)
class At:
    """How far a reply is."""

    is_taken: bool = False
    needs_no_flow: bool = False


BEING_MADE = At(is_taken=True)
NOT_SENT_YET = At(is_taken=True, needs_no_flow=True)
BEING_SENT = At(needs_no_flow=True)
STANDS = At()


@for_each(
    ("own", "free", "soon"),
    [
        ([], 4, 0),
        ([BEING_MADE] * 3, 1, 0),
        ([BEING_MADE] * 4, 0, SOON),
        ([BEING_MADE] * 5, -1, SOON),
        ([BEING_MADE] * 4 + [BEING_SENT] * 2, 0, SOON),
        ([BEING_SENT, NOT_SENT_YET, STANDS], 4, 0),
    ],
)
def test_a_place_is_taken_from_the_claim_to_the_answer(own: list[At], free: int, soon: float):
    places = FlowPlaces(4, lambda _: False)
    turns = list(enumerate(own))
    assert (places.free(turns), places.soon(turns)) == (free, soon)


def test_what_another_makes_takes_no_place_in_n8n():
    places = FlowPlaces(4, lambda turn_id: turn_id == 1)
    assert places.free([(0, BEING_MADE), (1, BEING_MADE)]) == 3
