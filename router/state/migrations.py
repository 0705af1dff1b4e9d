"""Applying the schema: the files of `database/supabase/migrations`, each once, in their order.

The newest file may not be released yet: a database that has an earlier text of it gets it again,
which such a file bears. What was applied is written into `supabase_migrations.schema_migrations`
as the supabase CLI does (its statements are those of `supabase db push` 3.1), so either may apply
the next migration.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from router.errors import DatabaseAway
from router.state.address import Address

MIGRATIONS = Path(__file__).resolve().parents[2] / "database" / "supabase" / "migrations"

# Where the supabase CLI looks for what was applied. Also part of database/schema.sql.
HISTORY = """\
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
    version text not null primary key
);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""

_FILE_NAME = re.compile(r"(\d{14})_(\w+)\.sql")
_LOCK = 7_242_953_501_834_117  # any number, the same in every version of the program


class MigrationError(Exception):
    """The schema could not be brought up to date; the database is as the last good file left it."""


class DatabaseNewerThanProgram(MigrationError):
    """A later version of the program has been at this database."""


class MigrationFailed(MigrationError):
    """PostgreSQL refused a migration; the text says which, where and why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `version` is its 14 digits, a moment in UTC by convention."""

    version: str
    name: str
    sql: str

    @property
    def file_name(self) -> str:
        """The name of the file it was read from."""
        return f"{self.version}_{self.name}.sql"


def read_migrations(folder: Path = MIGRATIONS) -> tuple[Migration, ...]:
    """Return the migrations of a folder, oldest first.

    Raises MigrationError for a .sql file with another kind of name, and for a version given twice.
    """
    found: dict[str, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        parts = _FILE_NAME.fullmatch(path.name)
        if parts is None:
            raise MigrationError(f"{path.name}: rename it to <14 digits>_<name>.sql")
        version, name = parts.groups()
        if version in found:
            raise MigrationError(
                f"{path.name}: {found[version].file_name} has the same version; give it a later one"
            )
        found[version] = Migration(version, name, path.read_text(encoding="utf-8"))
    if not found:
        raise MigrationError(f"there are no migrations in {folder}")
    return tuple(found.values())


async def migrate(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply what this database lacks, each file in a transaction of its own.

    Returns the versions that were applied now. Several programs may do this at once: all but one
    wait, and find nothing left to do. (A pooler that hands out connections by transaction would
    undo that; give the direct address.) Raises DatabaseNewerThanProgram, MigrationFailed, or
    DatabaseAway when the server does not answer.
    """
    migrations = read_migrations(folder)
    async with _connected(dsn) as connection:
        await connection.execute("select pg_catalog.pg_advisory_lock($1)", _LOCK)
        applied = await _applied(connection)
        _refuse_newer(applied, migrations)
        missing = [m for m in migrations if m.version not in applied]
        if await _is_outdated(connection, migrations[-1]):
            missing.append(migrations[-1])
        for migration in missing:
            await _apply(connection, migration)
        if missing:
            await connection.execute("notify pgrst, 'reload schema'")
    return [migration.version for migration in missing]


@asynccontextmanager
async def _connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    try:
        connection = await asyncpg.connect(Address.of(dsn).dsn, statement_cache_size=0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseAway(f"cannot connect to the database: {error}") from error
    try:
        yield connection
    except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
        raise DatabaseAway(f"the database went away during a migration: {error}") from error
    finally:
        await connection.close()  # which gives up the lock


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]") -> set[str]:
    try:
        await connection.execute(HISTORY)
        rows = await connection.fetch("select version from supabase_migrations.schema_migrations")
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationFailed(
            f"this database user may not change the schema ({error});"
            " give the address of the database's owner (on Supabase, the user postgres)"
        ) from error
    return {row["version"] for row in rows}


async def _is_outdated(connection: "asyncpg.Connection[asyncpg.Record]", newest: Migration) -> bool:
    """Whether the database has another text of the newest migration, written by this program."""
    statements = await connection.fetchval(
        "select statements from supabase_migrations.schema_migrations where version = $1",
        newest.version,
    )
    return statements is not None and len(statements) == 1 and statements != [newest.sql]


def _refuse_newer(applied: set[str], migrations: tuple[Migration, ...]) -> None:
    newest = migrations[-1].version
    newer = sorted(version for version in applied if version > newest)
    if newer:
        raise DatabaseNewerThanProgram(
            f"the database has migration {newer[-1]}, and this program knows none after {newest}:"
            " a later version of HybridFlow has been at it. Update HybridFlow, or give it another"
            " database"
        )


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name, statements)"
                " values ($1, $2, $3)"
                " on conflict (version) do update set statements = excluded.statements",
                migration.version,
                migration.name,
                [migration.sql],
            )
    except asyncpg.PostgresConnectionError:
        raise
    except asyncpg.PostgresError as error:
        raise MigrationFailed(f"{migration.file_name}{_place(migration, error)}") from error


def _place(migration: Migration, error: asyncpg.PostgresError) -> str:
    """Return the line where PostgreSQL names one, and its message with what it adds to it."""
    told = error.as_dict()
    position = str(told.get("position") or "")
    line = migration.sql[: int(position) - 1].count("\n") + 1 if position.isdecimal() else None
    more = [f"{key}: {told[key]}" for key in ("detail", "hint", "context") if told.get(key)]
    head = f"{':' + str(line) if line else ''}: {told.get('message')} ({error.sqlstate})"
    return "\n".join([head, *more])
