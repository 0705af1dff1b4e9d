"""What a rule of the schema says stands in one function: who needs it calls that."""

import re
from pathlib import Path

import pytest

SCHEMA = Path(__file__).parents[2] / "database" / "schema"
# The function that alone may say so: what it looks like.
ONCE = {
    "hybridflow.turn_refusal": r'"refused": "superseded"|p_turn\.token_hash is distinct from',
    "hybridflow.notice_refusal": r'"refused": "superseded"|p_notice\.token_hash is distinct from',
    "hybridflow.hold_media_job": r'"refused": "superseded"|[^_]job\.token_hash is distinct from',
    "hybridflow.relay_refusal": r'"refused": "superseded"|p_relay\.token_hash is distinct from',
    "hybridflow.stopped_for": r"p_session\.is_paused and v_own",
    "hybridflow.back_off": r"\bpower\(",
    "hybridflow.with_cost": r"\btokens_(?:in|out) \+|reserved_tokens := null",
    "hybridflow.settle_budget": r"tokens \+ [^,]* - p_turn\.reserved_tokens",
}
IN_OTHERS = {
    '"refused": "superseded"': {
        *("hybridflow.turn_refusal", "hybridflow.notice_refusal", "hybridflow.relay_refusal"),
        "hybridflow.hold_media_job",
    },
}
# A refusal is made into an answer nowhere but in those.
BY_HAND = re.compile(r"jsonb_build_object\('refused', v_held")


def functions() -> dict[str, str]:
    """The bodies of the schema's functions, by name."""
    whole = "\n".join(path.read_text() for path in sorted(SCHEMA.glob("*.sql")))
    pattern = r"create or replace function ([a-z_.]+)\(.*?\$\$(.*?)\$\$"
    return dict(re.findall(pattern, whole, re.DOTALL))


@pytest.mark.parametrize("owner", ONCE)
def test_it_stands_in_one_function(owner: str):
    said_in = {
        (name, found)
        for name, body in functions().items()
        for found in re.findall(ONCE[owner], body)
    }
    assert owner in {name for name, _ in said_in}
    for name, found in said_in:
        assert name in IN_OTHERS.get(found, {owner}), f"{name} says {found}: call {owner}"


def test_no_function_makes_an_answer_of_a_refusal_by_hand():
    assert [name for name, body in functions().items() if BY_HAND.search(body)] == []
