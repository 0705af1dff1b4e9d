"""What a session is known by: a few JIDs, of which no more are locked than are named."""

import pytest

from tests.state.conversation import MARIA, Conversation

MARIA_ELSEWHERE = "5531988880001@s.whatsapp.net"
OTHER_SPELLING = "553188880001@s.whatsapp.net"
MOST = 8


def lid(number: int) -> str:
    return f"20{number:011}@lid"


async def identities(talk: Conversation) -> list[str]:
    rows = await talk.sql("select jid from session_identities order by jid")
    return [row["jid"] for row in rows]


async def many(talk: Conversation, jid: str, count: int) -> None:
    """A row each, as a database may have them."""
    session = await talk.session(jid)
    await talk.sql(
        "insert into session_identities (tenant_id, jid, session_id, created_at)"
        " select 1, '20' || lpad(n::text, 11, '0') || '@lid', $1, now() - interval '1 day'"
        " from generate_series(1, $2) as n",
        session["id"],
        count,
    )


async def test_of_ever_new_identities_the_newest_are_kept(talk: Conversation):
    for number in range(20):
        await talk.maria_writes("oi", jids=[MARIA, lid(number)])
        assert len(await identities(talk)) <= MOST
    assert await talk.value("select count(*) from sessions") == 1
    kept = await identities(talk)
    assert MARIA in kept
    assert lid(19) in kept
    session = await talk.session(MARIA)
    assert (session["phone_jid"], session["lid"]) == (MARIA, lid(19))


async def test_so_it_is_in_one_call(talk: Conversation):
    events = [talk.message("oi", jids=[MARIA, lid(number)]) for number in range(20)]
    await talk.ingest(*events)
    assert len(await identities(talk)) <= MOST
    assert await talk.value("select count(*) from messages") == 20


async def test_so_it_is_where_sessions_become_one(talk: Conversation):
    for number in range(20):
        await talk.maria_writes("oi", jids=[lid(number)])
    for number in range(20):
        await talk.maria_writes("oi", jids=[MARIA, lid(number)])
    assert await talk.value("select count(*) from sessions") == 1
    assert len(await identities(talk)) <= MOST
    assert await talk.value("select count(*) from messages") == 40


async def test_a_person_of_two_spellings_and_a_lid_keeps_all(talk: Conversation):
    both = [MARIA_ELSEWHERE, lid(1)]
    await talk.maria_writes("oi", jids=both)
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    await talk.finish(turn, await talk.begin(turn, "Olá!"), "3EB0AA", jid=OTHER_SPELLING)
    assert sorted(await identities(talk)) == sorted([*both, OTHER_SPELLING])
    session = await talk.session(OTHER_SPELLING)
    assert (session["phone_jid"], session["lid"]) == (MARIA_ELSEWHERE, lid(1))


@pytest.mark.spoils
@pytest.mark.parametrize("how", ["answer", "webhook"])
async def test_who_has_many_identities_locks_and_keeps_few(talk: Conversation, how: str):
    """As a database may have them from before there was an end to them."""
    await talk.maria_writes("oi", jids=[MARIA_ELSEWHERE])
    await many(talk, MARIA_ELSEWHERE, 1000)
    turn = await talk.claim_one()
    await talk.save(turn, "Olá!")
    begun = await talk.begin(turn, "Olá!")
    await talk.sql("create table tests.locked (count bigint)")
    await talk.sql(
        "create function tests.count_locks() returns trigger language plpgsql"
        " security definer as $$ begin"
        " insert into tests.locked select count(*) from pg_locks"
        " where locktype = 'advisory' and pid = pg_backend_pid(); return null; end $$"
    )
    await talk.sql(
        "create trigger count_locks after insert on session_identities"
        " for each statement execute function tests.count_locks()"
    )
    if how == "answer":
        await talk.finish(turn, begun, "3EB0AA", jid=OTHER_SPELLING)
    else:
        await talk.maria_writes("oi", jids=[MARIA_ELSEWHERE, OTHER_SPELLING])
    assert OTHER_SPELLING in await identities(talk)
    assert len(await identities(talk)) <= MOST
    assert await talk.value("select max(count) from tests.locked") <= 4
