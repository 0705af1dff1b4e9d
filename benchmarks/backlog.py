"""A database with many tenants and many due turns, like after an outage or a burst."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg

from benchmarks.costs import psql
from router.embedded.postgres import EmbeddedPostgres
from router.state.migrations import migrate

_BATCH = 20_000
_TENANTS = """
    insert into tenants (instance_name, evo_server_url, evo_api_key, debounce_seconds)
    select 'shop' || n, $2, 'key', 0 from generate_series(1, $1::integer) as n
"""
# The last tenant has one turn, the newest; the others share the rest.
_SESSIONS = """
    insert into sessions (id, tenant_id, phone_jid) overriding system value
    select n, case when n = $3::bigint then $4::bigint else 1 + n % greatest($4::bigint - 1, 1) end,
        (5511000000000 + n) || '@s.whatsapp.net'
    from generate_series($1::bigint, $2::bigint) as n
"""
_IDENTITIES = """
    insert into session_identities (tenant_id, session_id, jid)
    select tenant_id, id, phone_jid from sessions where id between $1 and $2
"""
_TURNS = """
    insert into turns (id, tenant_id, session_id, run_after, debounce_until)
    overriding system value
    select id, tenant_id, id, t.due, t.due from sessions
    cross join lateral (select now() - interval '1 ms' * (1 + $3::bigint - id)) as t (due)
    where id between $1 and $2
"""
_MESSAGES = """
    insert into messages (tenant_id, session_id, turn_id, wa_id, from_me, sender, body, sent_at)
    select tenant_id, id, id, 'AC' || id, false, 'contact', 'oi', now()
    from sessions where id between $1 and $2
"""


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers of tenants and of due turns, and whether the statistics are fresh or stale."""

    tenants: int
    pending: int
    statistics: str = "fresh"


@contextmanager
def database(postgres: EmbeddedPostgres, name: str, like: str = "template1") -> Iterator[str]:
    """Create a database for the block; yield its address."""
    psql(postgres, f'create database "{name}" template "{like}"')
    try:
        yield url_of(postgres, name)
    finally:
        psql(postgres, f'drop database "{name}" with (force)')


def url_of(postgres: EmbeddedPostgres, name: str) -> str:
    """Return the address of a database."""
    return postgres.dsn.replace("/postgres?", f"/{name}?")


@contextmanager
def filled(
    postgres: EmbeddedPostgres, name: str, size: Size, evolution: str = "https://evolution.example"
) -> Iterator[str]:
    """Create a database of this size for the block; yield its address."""
    with database(postgres, name) as url:
        asyncio.run(_fill(url, size, evolution))
        yield url


async def _fill(url: str, size: Size, evolution: str) -> None:
    await migrate(url)
    connection = await asyncpg.connect(url)
    try:
        if size.statistics == "stale":
            await connection.execute("analyze")  # while the database is empty
        # Without triggers and foreign key checks: the rows are valid, and there are many.
        await connection.execute("set session_replication_role = replica")
        await connection.execute("set synchronous_commit = off")
        await connection.execute(_TENANTS, size.tenants, evolution)
        for first in range(1, size.pending + 1, _BATCH):
            last = min(first + _BATCH - 1, size.pending)
            await connection.execute(_SESSIONS, first, last, size.pending, size.tenants)
            await connection.execute(_IDENTITIES, first, last)
            await connection.execute(_TURNS, first, last, size.pending)
            await connection.execute(_MESSAGES, first, last)
        for table in ("sessions", "turns"):
            await connection.execute(
                f"select setval(pg_get_serial_sequence('{table}', 'id'), $1)", size.pending + 1
            )
        if size.statistics == "fresh":
            await connection.execute("vacuum (analyze)")
    finally:
        await connection.close()
