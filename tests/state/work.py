"""How much the state reads for one call: rows, not seconds."""

from router.state.database import Json
from tests.state.conversation import Conversation

_ROWS = """
    select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint
    from pg_stat_xact_user_tables
"""


async def rows_read(talk: Conversation, function: str, argument: Json) -> int:
    """Make the call, and return how many rows of tables it has looked at."""
    async with talk.database._pool.acquire() as connection, connection.transaction():
        await connection.execute("set local statement_timeout = '60s'")
        before: int = await connection.fetchval(_ROWS)
        await connection.fetchval(f"select public.{function}($1)", argument, timeout=60)
        after: int = await connection.fetchval(_ROWS)
    return after - before


async def many_messages(
    talk: Conversation, session_id: int, count: int, *, first: int = 0, ago: str = "1 minute"
) -> None:
    """The contact has written so many messages that no turn answers."""
    await talk.sql(
        "insert into messages (tenant_id, session_id, wa_id, from_me, sender, body, expects_reply,"
        " status, sent_at)"
        " select tenant_id, id, 'AC' || lpad((g + $3)::text, 30, '0'), false, 'contact',"
        " 'hello ' || g, true, 'delivery_ack', hybridflow.clock() - $4::text::interval"
        " + g * interval '1 ms' from sessions, generate_series(1, $2::integer) as g where id = $1",
        session_id,
        count,
        first,
        ago,
    )


async def many_turns(talk: Conversation, session_id: int, count: int, *, seen: bool) -> None:
    """So many turns of the session have ended without a word; `seen`: after they were claimed."""
    await talk.sql(
        "insert into turns (tenant_id, session_id, state, reason, run_after, debounce_until,"
        " seen_at, finished_at)"
        " select tenant_id, id, 'cancelled', 'deleted', now(), now(),"
        " case when $3 then clock_timestamp() + interval '1 minute' end, now()"
        " from sessions, generate_series(1, $2::integer) where id = $1",
        session_id,
        count,
        seen,
    )
