"""A number that somebody searches for is found under every spelling that it may have."""

import pytest

from tests.state.conversation import Conversation
from tests.state.test_typed_numbers import NUMBERS


async def found(talk: Conversation, contact: str) -> list[str]:
    page = await talk.database.call("list_sessions", {"tenant_id": 1, "contact": contact})
    return [session["contact_name"] for session in page["items"]]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("one", "other"), NUMBERS)
async def test_a_session_is_found_however_its_number_is_typed(
    talk: Conversation, one: str, other: str, turned: bool
):
    typed, known = (other, one) if turned else (one, other)
    await talk.maria_writes("oi", jids=[f"{known}@s.whatsapp.net"], author_name="Maria")
    await talk.maria_writes("oi", jids=["5511977770000@s.whatsapp.net"], author_name="João")
    whole = (typed, f"+{typed}", f"{typed}@s.whatsapp.net")
    begun = (typed[:9], typed[:-1])  # while it is being typed
    for text in (*whole, *begun):
        assert await found(talk, text) == ["Maria"], text


@pytest.mark.parametrize("known", ["5531988887777", "553188887777"])
async def test_brazils_numbers_are_found_without_the_country_too(talk: Conversation, known: str):
    await talk.maria_writes("oi", jids=[f"{known}@s.whatsapp.net"], author_name="Maria")
    await talk.maria_writes("oi", jids=["5521988887777@s.whatsapp.net"], author_name="João")
    for text in ("(31) 98888-7777", "(31) 8888-7777"):
        assert await found(talk, text) == ["Maria"], text
    for text in ("98888-7777", "8888-7777"):
        assert sorted(await found(talk, text)) == ["João", "Maria"], text


async def test_a_neighbour_is_not_found(talk: Conversation):
    await talk.maria_writes("oi", jids=["553133334444@s.whatsapp.net"], author_name="Maria")
    assert await found(talk, "5531933334444") == []
    assert await found(talk, "(31) 93333-4444") == []


async def test_of_one_contact_in_two_conversations_both_are_found(talk: Conversation):
    for number in ("5531988887777", "553188887777"):
        await talk.maria_writes("oi", jids=[f"{number}@s.whatsapp.net"], author_name=number)
    for typed in ("5531988887777", "553188887777"):
        assert set(await found(talk, typed)) == {"5531988887777", "553188887777"}
