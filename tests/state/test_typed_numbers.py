"""Numbers that people typed are found under every spelling that WhatsApp may have for them."""

import pytest

from router.whatsapp.numbers import spellings_of
from tests.state.conversation import Conversation

NUMBERS = [
    ("5531988887777", "553188887777"),
    ("5511988887777", "551188887777"),
    ("5521966667777", "552166667777"),
    ("5215512345678", "525512345678"),
    ("5491112345678", "541112345678"),
]
ALONE = ["553133334444", "4915112345678", "5511", "55119888877771", "521551234567"]


async def test_python_and_sql_spell_alike(talk: Conversation):
    jids = [f"{number}@s.whatsapp.net" for pair in NUMBERS for number in pair]
    jids += [f"{number}@s.whatsapp.net" for number in ALONE]
    jids += ["201955550001001@lid", "120363041234567890@g.us"]
    rows = await talk.sql(
        "select j, hybridflow.spellings_typed(j) as spelt from unnest($1::text[]) as j", jids
    )
    assert {row["j"]: tuple(row["spelt"]) for row in rows} == {j: spellings_of(j) for j in jids}
    for one, other in NUMBERS:
        assert set(spellings_of(f"{one}@s.whatsapp.net")) == set(
            spellings_of(f"{other}@s.whatsapp.net")
        )


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("one", "other"), NUMBERS)
async def test_the_staff_are_known_however_their_number_was_typed(
    talk: Conversation, one: str, other: str, turned: bool
):
    typed, known = (other, one) if turned else (one, other)
    await talk.set_rule("notify_number", typed)
    said = await talk.maria_writes("ok, vou atender", jids=[f"{known}@s.whatsapp.net"])
    assert said["decision"] == "staff"
    assert await talk.turns() == []


async def test_a_neighbour_of_theirs_is_a_customer(talk: Conversation):
    await talk.set_rule("notify_number", "553133334444")
    said = await talk.maria_writes("oi", jids=["5531933334444@s.whatsapp.net"])
    assert said["decision"] == "turn_pending"
