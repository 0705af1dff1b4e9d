"""Applying the schema: the files of `database/supabase/migrations`, each once, in order.

A released file is frozen: its checksum is in `released.sha256` beside the folder, and a database to
which another text of it was applied is refused. The newest file may be unreleased: if a database
has an earlier text of it, the file is applied again, which is safe because every statement can run
twice. `hybridflow.migrations` records what was applied; see `router/state/history.py`.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg

from router.errors import DatabaseAway
from router.state.address import Address
from router.state.history import (
    HISTORY,
    adopt,
    checksum,
    of_0_1_0,
    read_lock,
    tell_supabase,
)

MIGRATIONS = Path(__file__).resolve().parents[2] / "database" / "supabase" / "migrations"
LOCK_FILE = "released.sha256"

_FILE_NAME = re.compile(r"(\d{14})_(\w+)\.sql")
_LOCK = 7_242_953_501_834_117  # any number, the same in every version of the program


class MigrationError(Exception):
    """The schema could not be updated. The database is unchanged."""


class DatabaseNewerThanProgram(MigrationError):
    """A newer version of the program has migrated this database."""


class MigrationChanged(MigrationError):
    """A released migration was changed: its file, or what was applied to this database."""


class MigrationFailed(MigrationError):
    """PostgreSQL refused a migration. The text says which one, where and why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `version`: its 14 digits, a time in UTC. `released`: it can no longer change."""

    version: str
    name: str
    sql: str
    released: bool = False

    @property
    def file_name(self) -> str:
        """The name of the file it was read from."""
        return f"{self.version}_{self.name}.sql"

    @property
    def checksum(self) -> str:
        """The checksum of its text."""
        return checksum(self.sql)


def read_migrations(folder: Path = MIGRATIONS) -> tuple[Migration, ...]:
    """Return the migrations of a folder, oldest first.

    Raises MigrationError for a .sql file with an unexpected name and for a duplicate version, and
    MigrationChanged for a released file with another text.
    """
    lock = read_lock(folder.parent / LOCK_FILE)
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
        migration = Migration(
            version, name, path.read_bytes().decode(encoding="utf-8"), path.name in lock
        )
        _require_as_released(migration, lock)
        found[version] = migration
    if not found:
        raise MigrationError(f"there are no migrations in {folder}")
    return tuple(found.values())


def _require_as_released(migration: Migration, lock: Mapping[str, str]) -> None:
    if migration.released:
        if migration.checksum != lock[migration.file_name]:
            raise MigrationChanged(
                f"{migration.file_name} was released with another text ({LOCK_FILE} has its"
                " checksum): take it from the release again (git checkout), and put what is new"
                " into a later migration"
            )
        return
    try:
        datetime.strptime(migration.version, "%Y%m%d%H%M%S")  # noqa: DTZ007 - only to check it
    except ValueError as error:
        raise MigrationError(
            f"{migration.file_name}: its version is not a time (year, month, day, hour, minute,"
            " second); name it by `date -u +%Y%m%d%H%M%S`"
        ) from error


async def migrate(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the missing migrations in one transaction: all of them, or none.

    Returns the versions that were applied. Several programs may do this at once: one works, and the
    others wait and find nothing left to do. (This does not work through a transaction pooler: use
    the direct address.) Raises DatabaseNewerThanProgram, MigrationChanged, MigrationFailed, or
    DatabaseAway if the server does not answer.
    """
    migrations = read_migrations(folder)
    async with _connected(dsn) as connection:
        await connection.execute("select pg_catalog.pg_advisory_lock($1)", _LOCK)
        missing = lacking(await _applied(connection, migrations), migrations)
        if not missing and await _was_0_1_0_here(connection):
            missing = migrations[-1:]
        async with connection.transaction():
            for migration in missing:
                await _apply(connection, migration)
        await connection.execute(tell_supabase((m.version, m.name) for m in migrations))
        if missing:
            await connection.execute("notify pgrst, 'reload schema'")
    return [migration.version for migration in missing]


def lacking(
    applied: Mapping[str, str | None], migrations: Sequence[Migration]
) -> tuple[Migration, ...]:
    """Return what a database with `applied` (version: checksum, if known) still needs. Pure.

    Raises DatabaseNewerThanProgram, and MigrationChanged if a released text differs.
    """
    newest = migrations[-1]
    newer = max((version for version in applied if version > newest.version), default=None)
    if newer is not None:
        raise DatabaseNewerThanProgram(
            f"the database has HybridFlow's migration {newer}, and this program knows none after"
            f" {newest.version}: a later version of HybridFlow migrated it. Update HybridFlow,"
            " or give it another database; its routers may still work with this one, see"
            " DEPLOYMENT.md, Going back"
        )
    for migration in migrations:
        stored = applied.get(migration.version)
        is_another = stored is not None and stored != migration.checksum
        if is_another and (migration.released or migration is not newest):
            raise MigrationChanged(
                f"{migration.file_name}: another text of it was applied to this database (SHA-256"
                f" {stored}; this program has {migration.checksum}). Use the HybridFlow that"
                " migrated it, or restore a backup from before and migrate that"
            )
    return tuple(
        m
        for m in migrations
        if m.version not in applied or applied[m.version] not in (None, m.checksum)
    )


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
        await connection.close()  # this releases the lock


async def _applied(
    connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration]
) -> dict[str, str | None]:
    try:
        await connection.execute(HISTORY + adopt((m.version, m.name) for m in migrations))
        rows = await connection.fetch("select version, checksum from hybridflow.migrations")
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationFailed(
            f"this database user may not change the schema ({error});"
            " give the URL of the database's owner (on Supabase, the user postgres)"
        ) from error
    return {row["version"]: row["checksum"] for row in rows}


async def _was_0_1_0_here(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether 0.1.0 has applied its files over ours, as it does if it finds no entries of its own.

    We remove its entries each time, so if there are any, it ran after us.
    """
    table = "select pg_catalog.to_regclass('supabase_migrations.schema_migrations') is not null"
    return bool(await connection.fetchval(table) and await connection.fetchval(of_0_1_0()))


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    try:
        await connection.execute(migration.sql)
        await connection.execute(
            "insert into hybridflow.migrations (version, name, checksum) values ($1, $2, $3)"
            " on conflict (version) do update"
            " set checksum = excluded.checksum, applied_at = excluded.applied_at",
            migration.version,
            migration.name,
            migration.checksum,
        )
    except asyncpg.PostgresConnectionError:
        raise
    except asyncpg.PostgresError as error:
        raise MigrationFailed(f"{migration.file_name}{_place(migration, error)}") from error


def _place(migration: Migration, error: asyncpg.PostgresError) -> str:
    """Return the line of the error, if PostgreSQL names one, and its message with its additions."""
    told = error.as_dict()
    position = str(told.get("position") or "")
    line = migration.sql[: int(position) - 1].count("\n") + 1 if position.isdecimal() else None
    more = [f"{key}: {told[key]}" for key in ("detail", "hint", "context") if told.get(key)]
    head = f"{':' + str(line) if line else ''}: {told.get('message')} ({error.sqlstate})"
    return "\n".join([head, *more])
