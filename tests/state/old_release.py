"""A database as HybridFlow 0.1.0 leaves it: its files, its history, rows in every table."""

from pathlib import Path

import asyncpg

from router.state.migrations import read_migrations
from tests.supabase import add_clock

FOLDER = Path(__file__).parents[1] / "fixtures" / "release_0_1_0"
# 0.1.0 kept its history where the supabase CLI has its own.
HISTORY = """
    create schema if not exists supabase_migrations;
    create table if not exists supabase_migrations.schema_migrations (
        version text not null primary key, statements text[], name text
    );
"""


async def make_old(dsn: str) -> None:
    """Make the (empty) database one of 0.1.0's, with its work under way."""
    connection = await asyncpg.connect(dsn)
    try:
        await migrate_as_0_1_0(connection)
        await add_clock(dsn)
        await connection.execute((FOLDER / "rows.sql").read_text())
    finally:
        await connection.close()


async def migrate_as_0_1_0(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Do what its `scripts.migrate` does where the history has no entry."""
    await connection.execute(HISTORY)
    for migration in read_migrations(FOLDER / "migrations"):
        await connection.execute(migration.sql)
        await note(connection, migration.version, migration.name, [migration.sql])


async def note(
    connection: "asyncpg.Connection[asyncpg.Record]",
    version: str,
    name: str,
    statements: list[str],
) -> None:
    """Write an entry as the supabase CLI does."""
    await connection.execute(
        "insert into supabase_migrations.schema_migrations (version, statements, name)"
        " values ($1, $2, $3)",
        version,
        statements,
        name,
    )
