"""A database that is put back after each test, with the connections that have warmed up in it.

A new database is a copy of the template's files, and in a new connection PostgreSQL compiles and
plans every function again: a tenth of a second for each of thousands of tests. So what a test wrote
is deleted, what it set on its connection is forgotten, and the next test goes on with both. Where
it left anything else (a function, a grant, statistics, many rows, a call under way), all of it is
thrown away, and the next test gets a new database: `Kept.put_back` says which of the two it was.

It is looked at and emptied over a connection of its own: what turns triggers off
(`session_replication_role`) throws away every plan that its connection has made.

What only a new database shows (plans, rows that are read) is marked `own_database`; a test that
always leaves more than rows is marked `spoils`, and gets a new one, so that the others keep theirs.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import asyncpg
import pytest
from pydantic import SecretStr

from router.state.address import Address
from tests.postgres import Databases
from tests.state.lending import FORGET, Lending
from tests.state.transports import OpenDatabase, RestDatabase
from tests.supabase import TestProject

NEW = ("own_database", "spoils")
"""The marks of tests that get a new database."""
# Deleted rows stay in the files until somebody vacuums: so a database is not kept for ever, and
# not behind a test that wrote many.
_USES = 150
_FEW_ROWS = 3_000
_PATIENCE = 60.0  # seconds for one call
_KEPT = "kept-project"  # the name of connections that stay
# Of the connection that deletes. Without triggers no foreign key and no rule has a word in it.
_DELETING = {"session_replication_role": "replica", "lock_timeout": "2s"}

# Every catalogue of this database but pg_depend, which says of others' rows how they belong
# together; and what the whole server knows of roles and of this database.
_CATALOGUES = """
    select format('pg_catalog.%I', relname) as name from pg_catalog.pg_class
    where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r'
        and relname not in ('pg_depend', 'pg_largeobject')
        and (not relisshared
            or relname in ('pg_authid', 'pg_auth_members', 'pg_db_role_setting', 'pg_database'))
    order by 1
"""
_TABLES = """
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    order by 1
"""
# A namespace for temporary tables is made once, and stays.
_OURS = {
    "pg_catalog.pg_database": "datname = current_database()",
    "pg_catalog.pg_namespace": "nspname !~ '^pg_(toast_)?temp_'",
    "pg_catalog.pg_proc": "oid <> 'hybridflow.clock()'::regprocedure",
}
# `Stage.time_passes` writes it anew, and it is put back.
_TIME = "select pg_catalog.pg_get_functiondef('hybridflow.clock()'::regprocedure)"
# What the planner is told of tables is written over what was there.
_TOLD = "(select sum(relpages) + count(*) filter (where reltuples >= 0) from pg_catalog.pg_class)"
_CLOCK = "tests.clock"
# Each is waited for until it has really gone: only then nobody commits any more.
_END_OTHERS = """
    select coalesce(
        bool_and(application_name <> $1 and pg_catalog.pg_terminate_backend(pid, 5000)), true
    )
    from pg_catalog.pg_stat_activity
    where datname = current_database() and pid not in (pg_backend_pid(), $2)
        and not (application_name = $1 and state = 'idle')
"""


@dataclass(frozen=True, slots=True)
class _Questions:
    """What is asked behind each test. It is the same for all copies of one template."""

    marks: str
    """A query: of each catalogue, and each table that is not empty at first, how many rows it has,
    and how many are younger than the transaction $1."""
    rows: str
    """A query: how many rows each other table has, up to more than a few."""
    tables: tuple[str, ...]

    @classmethod
    async def about(cls, connection: Any) -> Self:
        catalogues = [row["name"] for row in await connection.fetch(_CATALOGUES)]
        tables = [row["name"] for row in await connection.fetch(_TABLES)]
        filled = [
            name
            for name in tables
            if name != _CLOCK and await connection.fetchval(f"select exists (select from {name})")
        ]
        empty = tuple(name for name in tables if name not in (*filled, _CLOCK))
        each = [_mark(name) for name in (*catalogues, *filled)]
        marks = f"select array[{', '.join((_TOLD, *each))}]"
        rows = f"select array[{', '.join(_count(name) for name in empty)}]"
        return cls(marks, rows, empty)


@dataclass(frozen=True, slots=True)
class _Looking:
    """What looks at a database behind each test, and how that was at first."""

    connection: Any
    questions: _Questions
    since: int
    at_first: list[int]
    time: str
    """How the state's clock is made."""

    @classmethod
    async def begin(cls, dsn: str, questions: _Questions | None) -> Self:
        connection = await asyncpg.connect(dsn, server_settings=_DELETING)
        asked = questions or await _Questions.about(connection)
        since = await connection.fetchval("select pg_current_xact_id()::xid")
        at_first = await connection.fetchval(asked.marks, since)
        return cls(connection, asked, since, at_first, await connection.fetchval(_TIME))


def _mark(table: str) -> str:
    where = f" where {_OURS[table]}" if table in _OURS else ""
    return (
        "(select count(*) + (count(*) filter (where age(xmin) < age($1::xid)) << 32)"
        f" from only {table}{where})"
    )


def _count(table: str) -> str:
    return f"(select count(*) from (select from only {table} limit {_FEW_ROWS + 1}) as few)"


class Kept:
    """A copy of the template with a connection to it, and a project over it once one was asked."""

    def __init__(self, dsn: str, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.dsn = dsn
        self._pool = pool
        self.lending = Lending(_named(dsn))
        """Pools for routers that run in the test's own loop."""
        self._looking: _Looking | None = None
        self._project: TestProject | None = None
        self._client: RestDatabase | None = None
        self._uses = 0
        self._others = frozenset[Any]()
        """Tasks of the loop that were there before the test, such as those of a browser."""

    @classmethod
    async def open(cls, dsn: str) -> Self:
        with pytest.MonkeyPatch.context() as patch:  # a test waits for a busy machine
            patch.setattr("router.state.direct._CALL_TIMEOUT", _PATIENCE)
            return cls(dsn, (await OpenDatabase.connect(dsn, size=1))._pool)

    async def look(self, questions: _Questions | None) -> _Questions:
        """See how it is before the first test, which `put_back` needs to know."""
        self._looking = await _Looking.begin(self.dsn, questions)
        return self._looking.questions

    def take(self) -> None:
        """Note that a test begins."""
        self._others = frozenset(asyncio.all_tasks())

    def direct(self) -> OpenDatabase:
        """Give the state over the connection."""
        return OpenDatabase(self._pool, Address.of(self.dsn))

    async def rest(self) -> RestDatabase:
        """Give the state over PostgREST's double, with the connection beside it."""
        if self._project is None or self._client is None:
            self._project = TestProject(_named(self.dsn))
            self._project.start()
            key = SecretStr(self._project.secret_key)
            self._client = await RestDatabase.connect(self._project.url, key)
        opened = self._client
        database = RestDatabase(opened._client, opened._http, opened._url)
        database._pool = self._pool
        database.project = self._project
        return database

    async def put_back(self) -> bool:
        """Make it as it was made. False: it is of no use to another test."""
        await _end_tasks(self._others)
        self._uses += 1
        looking = self._looking
        if looking is None or self._uses >= _USES or not self._put_project_back():
            return False
        if self._pool.get_idle_size() < self._pool.get_size():
            return False  # somebody has not given it back
        try:
            async with self._pool.acquire() as connection:
                return await _put_rows_back(connection, looking)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
        if self._project is not None:
            self._project.stop()
        if self._looking is not None:
            self._looking.connection.terminate()
        self.lending.close()
        self._pool.terminate()

    def _put_project_back(self) -> bool:
        if self._project is None:
            return True
        self._project.heal()
        self._project.calls.clear()
        self._project.connections.clear()
        self._project.checks_keys = True
        return self._project.running


class Shelf:
    """Where the kept database stands between two tests."""

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases = databases
        self._template = template
        self._kept: Kept | None = None
        self._questions: _Questions | None = None

    async def take(self) -> Kept:
        """Give the one that was put back, or a new one."""
        kept, self._kept = self._kept, None
        if kept is None:
            kept = await self.make()
            self._questions = await kept.look(self._questions)
        kept.take()
        return kept

    async def make(self) -> Kept:
        """Give a new one, for one test alone."""
        return await Kept.open(self._databases.create(template=self._template))

    async def give_back(self, kept: Kept) -> None:
        """Put it back for the next test, or throw it away."""
        if self._kept is None and await kept.put_back():
            self._kept = kept
        else:
            await self.throw_away(kept)

    async def throw_away(self, kept: Kept) -> None:
        await kept.close()
        self._databases.drop(kept.dsn)

    async def clear(self) -> None:
        if self._kept is not None:
            await self.throw_away(self._kept)
            self._kept = None


def _named(dsn: str) -> str:
    """Return the address for connections that stay behind a test."""
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode({'application_name': _KEPT})}"


async def _put_rows_back(connection: Any, looking: _Looking) -> bool:
    await connection.execute(FORGET)
    behind, questions = looking.connection, looking.questions
    if not await behind.fetchval(_END_OTHERS, _KEPT, connection.get_server_pid()):
        return False
    if await behind.fetchval(_TIME) != looking.time:
        await behind.execute(looking.time)
    if await behind.fetchval(questions.marks, looking.since) != looking.at_first:
        return False
    counts = await behind.fetchval(questions.rows)
    if sum(counts) > _FEW_ROWS:
        return False
    written = [name for name, count in zip(questions.tables, counts, strict=True) if count]
    await behind.execute(
        "begin;"
        + "".join(f" delete from only {name};" for name in written)
        + f" update {_CLOCK} set clock_offset = '0' where clock_offset <> '0';"
        " select setval(seqrelid, seqstart, false) from pg_catalog.pg_sequence"
        " where pg_catalog.pg_sequence_last_value(seqrelid) is not null; commit"
    )
    return True


async def _end_tasks(others: frozenset[Any]) -> None:
    """End what a test left behind in the event loop, which all of a folder have in common."""
    left = asyncio.all_tasks() - others - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
