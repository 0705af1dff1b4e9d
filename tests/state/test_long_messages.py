"""What one contact writes is bounded where it is stored and where it is read."""

from typing import Any

import pytest

from router.whatsapp.lengths import cut
from tests.state.conversation import MARIA, Conversation

MOST = 65_536
MARK = " […]"
MEGABYTE = 1_000_000


async def stored(talk: Conversation, length: int, rows: int = 1, letter: str = "x") -> None:
    """Rows as 0.1.0 stored them, with texts of this length, in Maria's session."""
    await talk.sql(
        "insert into messages (tenant_id, session_id, wa_id, from_me, sender, body, quoted, media,"
        " author_name, sent_at, created_at)"
        " select s.tenant_id, s.id, 'OLD' || g || $3::text, false, 'contact',"
        " repeat($3::text, $1::integer),"
        " jsonb_build_object('wa_id', 'Q', 'text', repeat($3::text, $1::integer)),"
        " jsonb_build_object('caption', repeat($3::text, $1::integer)),"
        " repeat($3::text, $1::integer), hybridflow.clock(), hybridflow.clock()"
        " from sessions as s join session_identities as i on i.session_id = s.id,"
        " generate_series(1, $2::integer) as g where i.jid = $4::text",
        length,
        rows,
        letter,
        MARIA,
    )


def longest(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return max((longest(each) for each in value.values()), default=0)
    if isinstance(value, list):
        return max((longest(each) for each in value), default=0)
    return 0


# The reader cuts all this before it gets so far: only a test sends a megabyte to the state.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
@pytest.mark.parametrize("letter", ["x", "ã", "🙂"])
@pytest.mark.parametrize("field", ["text", "author_name", "quoted", "media"])
async def test_no_text_is_stored_longer_than_whatsapp_lets_it_be(
    talk: Conversation, field: str, letter: str
):
    long = letter * 200_000
    fields: dict[str, dict[str, Any]] = {
        "text": {"text": long},
        "author_name": {"author_name": long},
        "quoted": {"quoted": {"wa_id": "Q", "text": long}},
        "media": {"media": {"mimetype": long, "caption": long, "seconds": 3, "file_name": long}},
    }
    await talk.ingest(talk.message("olá") | fields[field])

    (row,) = await talk.sql("select body, quoted::text, media::text, author_name from messages")
    (session,) = await talk.sql("select contact_name from sessions")
    for value in (*row.values(), session["contact_name"]):
        assert len(value or "") <= 2 * MOST + 1000
    if field == "text":
        assert row["body"] == letter * (MOST - len(MARK)) + MARK
    if field == "author_name":
        assert len(row["author_name"]) == len(session["contact_name"]) == 256
        assert row["author_name"].endswith(MARK)


async def test_a_text_of_whatsapps_length_is_stored_whole(talk: Conversation):
    await talk.maria_writes("ã" * MOST)
    assert await talk.value("select body = repeat('ã', 65536) from messages")


async def test_an_edit_is_cut_as_well_also_one_that_waits_for_its_message(talk: Conversation):
    edit = {
        **{name: talk.message("")[name] for name in ("instance", "jids", "from_me")},
        "event": "messages.edited",
        "type": "edit",
        "text": "x" * 200_000,
        "edited_at": None,
    }
    await talk.maria_writes("olá", wa_id="AC1")
    await talk.ingest({**edit, "key": "edit:AC1", "wa_id": "AC1"})
    await talk.ingest({**edit, "key": "edit:AC2", "wa_id": "AC2"})
    assert await talk.value("select max(length(change ->> 'text')) from processed_events") == MOST
    await talk.maria_writes("olá", wa_id="AC2")
    assert await talk.sql("select distinct length(body) as n from messages") == [{"n": MOST}]


async def test_what_we_send_is_cut_in_the_record(talk: Conversation):
    await talk.maria_writes("olá")
    turn = await talk.claim_one()
    await talk.begin(turn, "x" * 200_000)
    assert await talk.value("select length(body) from messages where from_me") == MOST


async def test_rows_of_before_are_cut_when_they_are_read(talk: Conversation):
    await talk.maria_writes("olá")
    await stored(talk, 3 * MEGABYTE, rows=2)
    await talk.sql("update sessions set contact_name = repeat('x', 3000000)")

    turn = await talk.claim_one()
    page = await talk.database.call("list_messages", {"tenant_id": 1, "limit": 200})
    sessions = await talk.database.call("list_sessions", {"tenant_id": 1})
    for read in (turn["history"], turn["session"], page["items"], sessions):
        assert longest(read) <= MOST
    assert turn["history"][-1]["body"] == "olá"


async def test_a_history_has_an_end_and_the_newest_are_kept(talk: Conversation):
    await talk.maria_writes("olá")
    await stored(talk, 30_000, rows=20)
    await talk.maria_writes("e o pedido?")

    turn = await talk.claim_one()
    assert [m["body"] for m in turn["history"] if m["in_turn"]] == ["olá", "e o pedido?"]
    characters = sum(
        len(m["body"]) + len((m["quoted"] or {}).get("text") or "") for m in turn["history"]
    )
    assert 100_000 < characters < 200_000 + 3 * MOST


async def test_many_long_messages_of_one_turn_do_not_break_its_bounds(talk: Conversation):
    for letter in "abcdefgh":
        await talk.maria_writes(letter * 80_000)
    turn = await talk.claim_one()
    kept = [m["body"][0] for m in turn["history"]]
    assert kept == list("efgh")  # 200,000 characters and the one that passes them


async def test_a_page_of_messages_ends_where_it_has_become_long(talk: Conversation):
    await talk.maria_writes("olá")
    await stored(talk, 60_000, rows=30)
    for asked in ({}, {"session_id": 1}):
        argument = {"tenant_id": 1, "limit": 200, **asked}
        seen: list[int] = []
        pages = 0
        while True:
            page = await talk.database.call("list_messages", argument)
            pages += 1
            seen += [item["id"] for item in page["items"]]
            assert page["items"]
            assert sum(len(str(item)) for item in page["items"]) < 1_500_000
            if page["next_cursor"] is None:
                break
            argument["cursor"] = page["next_cursor"]
        assert pages > 1
        assert len(seen) == len(set(seen)) == 31


async def test_a_turn_shows_no_more_of_its_messages_than_a_page(talk: Conversation):
    await talk.maria_writes("olá")
    await stored(talk, 60_000, rows=30)
    await talk.sql("update messages set turn_id = 1")
    shown = (await talk.database.call("get_turn", {"tenant_id": 1, "turn_id": 1}))["turn"]
    assert 1 <= len(shown["messages"]) < 31


@pytest.mark.parametrize("letter", ["x", "ã", "🙂", "ã🙂x"])
@pytest.mark.parametrize("length", [MOST - 1, MOST, MOST + 1, 3 * MOST])
async def test_the_reader_and_the_state_cut_alike(talk: Conversation, letter: str, length: int):
    text = (letter * length)[:length]
    assert await talk.value("select hybridflow.cut($1)", text) == cut(text)


@pytest.mark.apart
async def test_a_history_larger_than_jsonb_can_hold_stops_nobody(talk: Conversation):
    """14 texts of 19.9 MB are more than 256 MB: claim_turns failed for every tenant, for ever."""
    await talk.open_shop("bakery")
    await talk.ingest(talk.message("olá"), talk.message("oi", instance="bakery"))
    await talk.sql(
        "insert into messages (tenant_id, session_id, wa_id, from_me, sender, body, sent_at)"
        " select s.tenant_id, s.id, 'BIG' || g, false, 'contact', repeat('x', 19900000),"
        " hybridflow.clock() from sessions as s, generate_series(1, 14) as g"
        " where s.tenant_id = 1"
    )
    await talk.travel(seconds=11)
    claimed = await talk.claim()
    assert {turn["tenant"]["instance_name"] for turn in claimed} == {"shop", "bakery"}
    page = await talk.database.call("list_messages", {"tenant_id": 1, "limit": 200})
    assert 1 <= len(page["items"]) < 14
