"""What operators read: lists and their pages, one thing at a time, nobody else's."""

import base64

import asyncpg
import pytest

from router.errors import Invalid, NotFound
from router.state.database import Json
from router.state.direct import DirectDatabase
from tests.state.conversation import JOAO, MARIA, MARIA_LID, POLICY, Conversation

TENANT_ID = 1
OTHERS = 2

GUIDE_INSERT = """
INSERT INTO tenants (instance_name, evo_server_url, system_prompt, llm_provider)
VALUES (
    'demo-instance',
    'https://your-evolution-api.com',
    'You are a helpful WhatsApp assistant. Be professional and friendly.',
    'anthropic'
)
RETURNING *;
"""
GUIDE_TABLES = """
SELECT table_name
FROM information_schema.tables
WHERE table_schema = 'public'
  AND table_name IN ('tenants', 'sessions', 'messages', 'processed_events');
"""
GUIDE_EVENTS = """
SELECT * FROM processed_events
ORDER BY processed_at DESC
LIMIT 50;
"""
GUIDE_ACTIVE = """
SELECT * FROM sessions
WHERE is_paused = FALSE
ORDER BY last_message_at DESC;
"""
GUIDE_PAUSED = """
SELECT * FROM sessions
WHERE is_paused = TRUE
  AND last_human_at < NOW() - INTERVAL '2 hours';
"""
GUIDE_VOLUME = """
SELECT
  t.instance_name,
  COUNT(*) as message_count,
  COUNT(*) FILTER (WHERE m.from_me = FALSE) as inbound_count,
  COUNT(*) FILTER (WHERE m.from_me = TRUE) as outbound_count
FROM messages m
JOIN tenants t ON m.tenant_id = t.id
WHERE m.created_at > NOW() - INTERVAL '24 hours'
GROUP BY t.instance_name;
"""


async def ask(talk: Conversation, function: str, **argument: object) -> Json:
    return await talk.database.call(function, {"tenant_id": TENANT_ID, **argument})


async def all_pages(talk: Conversation, function: str, **argument: object) -> list[Json]:
    items: list[Json] = []
    cursor = None
    while True:
        page = await ask(talk, function, cursor=cursor, **argument)
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


def jid(number: int) -> str:
    return f"5511955559{number:03}@s.whatsapp.net"


# The deployment guide's own SQL, as it stands


async def test_the_guides_insert_makes_a_tenant_with_all_defaults(database_url: str):
    connection = await asyncpg.connect(database_url)
    try:
        (tenant,) = await connection.fetch(GUIDE_INSERT)
        tables = await connection.fetch(GUIDE_TABLES)
    finally:
        await connection.close()
    assert tenant["instance_name"] == "demo-instance"
    assert (tenant["id"], tenant["is_active"], tenant["llm_provider"]) == (1, True, "anthropic")
    assert len(tables) == 4


async def test_the_guides_queries_show_what_they_promise(talk: Conversation):
    await talk.travel(hours=-3)  # the guide's queries ask the real clock
    await talk.maria_writes("oi")
    await talk.answer("Olá!")
    await talk.owner_writes("deixa comigo", jids=[JOAO])
    events = await talk.sql(GUIDE_EVENTS)
    assert [event["event"] for event in events] == ["messages.upsert", "messages.upsert"]
    assert [session["phone_jid"] for session in await talk.sql(GUIDE_ACTIVE)] == [MARIA]
    assert [session["phone_jid"] for session in await talk.sql(GUIDE_PAUSED)] == [JOAO]
    assert await talk.sql(GUIDE_VOLUME) == [
        {"instance_name": "shop", "message_count": 3, "inbound_count": 1, "outbound_count": 2}
    ]


# Sessions


async def test_sessions_come_newest_activity_first_and_those_without_messages_last(
    talk: Conversation,
):
    await ask(talk, "pause_contact", jids=[jid(9)], source="operator")
    await talk.maria_writes("first", ago=60)
    await talk.maria_writes("second", ago=30, jids=[JOAO])
    sessions = (await ask(talk, "list_sessions"))["items"]
    assert [session["phone_jid"] for session in sessions] == [JOAO, MARIA, jid(9)]


async def test_the_pages_of_sessions_show_each_once(talk: Conversation):
    for number in range(5):
        await talk.maria_writes("oi", jids=[jid(number)], ago=number // 2)  # some at one moment
        await ask(talk, "pause_contact", jids=[jid(100 + number)], source="operator")
    whole = await all_pages(talk, "list_sessions")
    for limit in (1, 2, 3, 10):
        assert await all_pages(talk, "list_sessions", limit=limit) == whole
    assert len({session["id"] for session in whole}) == 10


async def test_what_is_recorded_between_two_pages_repeats_and_hides_nothing(talk: Conversation):
    for number in range(4):
        await talk.maria_writes("oi", jids=[jid(number)], ago=100 + 10 * number)
    first = await ask(talk, "list_sessions", limit=2)
    await talk.maria_writes("new", jids=[jid(50)])
    second = await ask(talk, "list_sessions", limit=2, cursor=first["next_cursor"])
    shown = [session["phone_jid"] for session in first["items"] + second["items"]]
    assert shown == [jid(0), jid(1), jid(2), jid(3)]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    "contact",
    ["5511955550001", "+55 (11) 95555-0001", "55550001", MARIA, MARIA_LID, "maria", "100% Mar"],
)
async def test_a_session_is_found_by_number_jid_or_part_of_the_name(
    talk: Conversation, contact: str
):
    await talk.maria_writes("oi", jids=[MARIA, MARIA_LID], author_name="100% Maria")
    await talk.maria_writes("oi", jids=[JOAO], author_name="João")
    found = (await ask(talk, "list_sessions", contact=contact))["items"]
    assert [session["contact_name"] for session in found] == ["100% Maria"]


async def many_sessions(talk: Conversation, count: int) -> None:
    """So many besides, each an hour older than the one before and named by its number."""
    await talk.sql(
        "with made as (insert into sessions (tenant_id, phone_jid, contact_name, last_message_at)"
        " select 1, (5521900000000 + n) || '@s.whatsapp.net', 'Contact ' || n,"
        " now() - n * interval '1 hour' from generate_series(1, $1::bigint) as n"
        " returning id, phone_jid)"
        " insert into session_identities (tenant_id, jid, session_id)"
        " select 1, phone_jid, id from made",
        count,
    )


async def searched(talk: Conversation, **argument: object) -> tuple[list[str], int]:
    """Return the names that a search finds on all its pages, and how many pages these are."""
    names: list[str] = []
    pages = 0
    cursor = None
    while cursor is not None or not pages:
        page = await ask(talk, "list_sessions", cursor=cursor, **argument)
        names += [session["contact_name"] for session in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    return names, pages


@pytest.mark.spoils
async def test_a_search_looks_at_some_sessions_for_a_page_and_at_all_of_them_in_the_end(
    talk: Conversation,
):
    await many_sessions(talk, 2_500)
    page = await ask(talk, "list_sessions", contact="contact 2499")
    assert (page["items"], page["next_cursor"] is None) == ([], False)
    assert await searched(talk, contact="contact 2499") == (["Contact 2499"], 3)
    assert await searched(talk, contact="nobody") == ([], 3)
    assert await searched(talk, contact="1900002", paused=False) == (
        [f"Contact {n}" for n in range(2_000, 2_501)], 12
    )  # fmt: skip
    named, _ = await searched(talk, contact="contact", limit=7)
    assert named == [f"Contact {n}" for n in range(1, 2_501)]


@pytest.mark.spoils
async def test_how_a_number_begins_or_ends_is_found_at_once_however_old(talk: Conversation):
    await many_sessions(talk, 2_500)
    await ask(talk, "pause_contact", jids=["5531999990000@s.whatsapp.net"], source="operator")
    for end in ("0002499", "21 90000-2499", "002499"):
        assert await searched(talk, contact=end) == (["Contact 2499"], 1)
    ends, pages = await searched(talk, contact="99", limit=10)
    assert ends == [f"Contact {n}" for n in range(99, 2_500, 100)]
    assert pages == 3
    assert (await ask(talk, "list_sessions", contact="5531"))["items"][0]["is_paused"]
    assert await searched(talk, contact="5531", paused=False) == ([], 1)
    silent = (await ask(talk, "list_sessions", contact="99", limit=200))["items"]
    assert len(silent) == 25


@pytest.mark.spoils
async def test_what_begins_too_many_numbers_is_looked_for_as_any_part(talk: Conversation):
    await many_sessions(talk, 1_100)
    found, _ = await searched(talk, contact="5521")
    assert found == [f"Contact {n}" for n in range(1, 1_101)]


async def test_a_list_with_a_filter_ends_its_page_also_where_nothing_is_wanted(talk: Conversation):
    await talk.maria_writes("first", ago=9999)
    session_id = (await ask(talk, "list_sessions"))["items"][0]["id"]
    await talk.sql(
        "insert into messages (tenant_id, session_id, from_me, sender, body, sent_at)"
        " select 1, $1::bigint, true, 'ai', 'said', now() - n * interval '1 second'"
        " from generate_series(1, 1100) as n",
        session_id,
    )
    for more in ({}, {"session_id": session_id}):
        page = await ask(talk, "list_messages", sender="contact", **more)
        assert (page["items"], page["next_cursor"] is None) == ([], False)
        found = await all_pages(talk, "list_messages", sender="contact", **more)
        assert [message["body"] for message in found] == ["first"]
        assert await all_pages(talk, "list_messages", sender="operator", **more) == []


@pytest.mark.parametrize("contact", ["%", "_", "whatsapp", "5511955550009", "lid"])
async def test_a_search_takes_signs_as_they_stand(talk: Conversation, contact: str):
    await talk.maria_writes("oi", jids=[MARIA, MARIA_LID])
    assert (await ask(talk, "list_sessions", contact=contact))["items"] == []


async def test_sessions_are_filtered_by_pause_and_activity(talk: Conversation):
    await talk.maria_writes("oi", ago=1000)
    await talk.owner_writes("eu respondo", jids=[JOAO], ago=10)
    since = (talk.now()).timestamp() - 100
    paused = await ask(talk, "list_sessions", paused=True)
    active = await ask(talk, "list_sessions", paused=False)
    recent = await ask(
        talk, "list_sessions", active_since=await talk.value("select to_timestamp($1)::text", since)
    )
    assert [session["phone_jid"] for session in paused["items"]] == [JOAO]
    assert [session["phone_jid"] for session in active["items"]] == [MARIA]
    assert [session["phone_jid"] for session in recent["items"]] == [JOAO]


async def test_a_session_says_when_its_pause_ends(talk: Conversation):
    await talk.owner_writes("eu respondo")
    session = (await ask(talk, "get_session", session_id=1, policy=POLICY))["session"]
    (listed,) = (await ask(talk, "list_sessions", policy=POLICY))["items"]
    ends = await talk.value("select to_jsonb(last_human_at + interval '2 hours') from sessions")
    assert session["pause_ends_at"] == listed["pause_ends_at"] == ends
    assert session["identities"] == [MARIA]
    assert "pause_message_id" not in session


# Messages and turns


async def test_a_sessions_messages_are_in_the_order_of_the_conversation(talk: Conversation):
    await talk.maria_writes("terceira", ago=10)
    await talk.maria_writes("primeira", ago=30)
    await talk.maria_writes("segunda", ago=20)
    await talk.maria_writes("de outro", jids=[JOAO])
    spoken = await all_pages(talk, "list_messages", session_id=1, limit=1)
    assert [message["body"] for message in spoken] == ["terceira", "segunda", "primeira"]


async def test_a_tenants_messages_are_in_the_order_of_recording(talk: Conversation):
    await talk.maria_writes("recente", ago=10)
    await talk.maria_writes("atrasada", ago=3000)
    mark = await talk.value("select max(created_at)::text from messages")
    await talk.maria_writes("de outro", jids=[JOAO], ago=60)
    recorded = await all_pages(talk, "list_messages", limit=2)
    assert [message["body"] for message in recorded] == ["de outro", "atrasada", "recente"]
    later = await ask(talk, "list_messages", since=mark)
    assert [message["body"] for message in later["items"]] == ["de outro", "atrasada"]


async def test_messages_are_filtered_by_who_wrote_them(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.answer("Olá!")
    await talk.owner_writes("eu respondo")
    for scope in ({}, {"session_id": 1}):
        ours = await ask(talk, "list_messages", from_me=True, **scope)
        assert [message["sender"] for message in ours["items"]] == ["owner", "ai"]
        owner = await ask(talk, "list_messages", sender="owner", **scope)
        assert [message["body"] for message in owner["items"]] == ["eu respondo"]


async def test_turns_are_listed_by_state_and_session_without_their_tokens(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.answer()
    await talk.maria_writes("e o preço?")
    await talk.maria_writes("oi", jids=[JOAO])
    turns = await all_pages(talk, "list_turns", limit=1)
    assert [turn["id"] for turn in turns] == [3, 2, 1]
    assert all("token" not in turn for turn in turns)
    sent = await ask(talk, "list_turns", state="sent")
    assert [turn["id"] for turn in sent["items"]] == [1]
    marias = await all_pages(talk, "list_turns", session_id=1, limit=1)
    assert [turn["id"] for turn in marias] == [2, 1]


async def test_a_turn_shows_what_it_answers_and_what_it_said(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.answer("Olá!")
    turn = (await ask(talk, "get_turn", turn_id=1))["turn"]
    assert [(m["sender"], m["body"]) for m in turn["messages"]] == [
        ("contact", "oi"),
        ("ai", "Olá!"),
    ]
    assert turn["state"] == "sent"


# What must not be


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        ("get_session", {"session_id": 1}),
        ("list_messages", {"session_id": 1}),
        ("list_turns", {"session_id": 1}),
        ("get_turn", {"turn_id": 1}),
        ("retry_turn", {"turn_id": 1}),
        ("pause_session", {"session_id": 1, "source": "operator"}),
        ("resume_session", {"session_id": 1, "source": "operator", "policy": POLICY}),
        ("resume_contact", {"jids": [MARIA], "source": "operator", "policy": POLICY}),
    ],
)
async def test_another_tenants_things_are_not_found(
    talk: Conversation, function: str, argument: Json
):
    await talk.open_shop("others")
    await talk.maria_writes("oi")
    with pytest.raises(NotFound, match="tenant 2 has no"):
        await ask(talk, function, **argument | {"tenant_id": OTHERS})


@pytest.mark.parametrize("function", ["list_sessions", "list_messages", "list_turns"])
async def test_another_tenants_lists_are_empty_and_an_unknown_tenants_not_found(
    talk: Conversation, function: str
):
    await talk.open_shop("others")
    await talk.maria_writes("oi")
    assert (await ask(talk, function, tenant_id=OTHERS))["items"] == []
    with pytest.raises(NotFound, match="there is no tenant 3"):
        await ask(talk, function, tenant_id=3)


@pytest.mark.parametrize(
    "cursor", ["", "nonsense", "%%%", base64.b64encode(b'["turns", 7]').decode(), "ÿ"]
)
async def test_a_cursor_that_no_page_gave_is_refused(talk: Conversation, cursor: str):
    with pytest.raises(Invalid, match="cursor must be the next_cursor of a page of turns"):
        await ask(talk, "list_turns", cursor=cursor)


async def test_a_cursor_of_another_list_is_refused(talk: Conversation):
    await talk.maria_writes("oi")
    await talk.maria_writes("oi", jids=[JOAO])
    cursor = (await ask(talk, "list_sessions", limit=1))["next_cursor"]
    with pytest.raises(Invalid, match="cursor"):
        await ask(talk, "list_messages", cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 201])
async def test_a_page_has_one_to_two_hundred_items(talk: Conversation, limit: int):
    with pytest.raises(Invalid, match="limit must be from 1 to 200"):
        await ask(talk, "list_sessions", limit=limit)


# A contact, by any spelling of the number


async def test_a_pause_by_number_holds_for_both_spellings_of_it(talk: Conversation):
    old, new = "551155550001@s.whatsapp.net", "5511955550001@s.whatsapp.net"
    paused = await ask(talk, "pause_contact", jids=[new, old], source="operator", policy=POLICY)
    assert paused["session"]["is_paused"]
    for spelling in (old, new):
        assert (await talk.maria_writes("oi", jids=[spelling]))["decision"] == "paused"
    resumed = await ask(talk, "resume_contact", jids=[old, new], source="operator", policy=POLICY)
    assert resumed["turn_id"] is not None


async def test_a_pause_by_number_leaves_the_address_that_is_known_alone(talk: Conversation):
    old, new = "551155550001@s.whatsapp.net", "5511955550001@s.whatsapp.net"
    await talk.maria_writes("oi", jids=[old])
    paused = await ask(talk, "pause_contact", jids=[new, old], source="operator")
    assert paused["session"]["phone_jid"] == old
    assert paused["session"]["identities"] == [old, new]
    assert paused["cancelled_turns"] == 1


async def test_a_resume_of_a_contact_who_is_not_known_makes_no_session(talk: Conversation):
    with pytest.raises(NotFound):
        await ask(talk, "resume_contact", jids=[MARIA], source="operator", policy=POLICY)
    assert await talk.value("select count(*) from sessions") == 0


async def test_reading_works_where_nothing_may_be_written(database: DirectDatabase):
    talk = Conversation(database)
    await talk.open_shop()
    await talk.maria_writes("oi")
    await talk.sql("set default_transaction_read_only = on")
    for function in ("list_sessions", "list_messages", "list_turns", "get_tenant", "get_instance"):
        await ask(talk, function)
    assert (await database.call("list_tenants", {}))["items"]
