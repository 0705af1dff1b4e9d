"""Bring the database's schema up to date: `python -m scripts.migrate`.

The database is that of DATABASE_URL, or the embedded one in HYBRIDFLOW_DATA. Running this again
does no harm. With only SUPABASE_URL it cannot change anything; it says whether there is something
to do.
"""

import asyncio
import sys

from router.configuration.settings import ConfigurationError, Settings, load_settings
from router.embedded.errors import EmbeddedPostgresError
from router.embedded.postgres import EmbeddedPostgres
from router.errors import DatabaseAway, StateError
from router.state.calls.health import check_database
from router.state.migrations import MIGRATIONS, MigrationError, migrate, read_migrations
from router.state.opening import open_database
from router.state.schema_version import schema_fault
from scripts.running import takes_no_arguments


def main() -> int:
    """Migrate, and print what was done. Returns the exit code."""
    try:
        settings = load_settings()
        applied = asyncio.run(_migrate(settings))
    except (ConfigurationError, EmbeddedPostgresError, MigrationError, DatabaseAway) as error:
        print(error, file=sys.stderr)
        return 1
    names = {migration.version: migration.file_name for migration in read_migrations(MIGRATIONS)}
    for version in applied:
        print(f"applied {names[version]}")
    if not applied:
        print(f"nothing to do: the schema is that of {max(names)} already")
    return 0


async def _migrate(settings: Settings) -> list[str]:
    if settings.database_url:
        print("database: PostgreSQL at DATABASE_URL", flush=True)
        return await migrate(settings.database_url.get_secret_value())
    if settings.supabase_url:
        print(f"database: Supabase at {settings.supabase_url}", flush=True)
        await _look_at_supabase(settings)
        return []
    async with EmbeddedPostgres(settings.hybridflow_data / "postgres") as postgres:
        print(f"database: embedded PostgreSQL, data in {postgres.folder}", flush=True)
        return await migrate(postgres.dsn)


async def _look_at_supabase(settings: Settings) -> None:
    async with open_database(settings) as database:
        try:
            fault = schema_fault(await check_database(database))
        except StateError as error:
            fault = str(error)
    if fault is not None:
        raise MigrationError(
            f"{fault}\nSUPABASE_URL alone cannot change a schema: paste database/schema.sql into"
            " the project's SQL editor, or set DATABASE_URL to its connection string (Dashboard,"
            " Connect) and run this again"
        )


if __name__ == "__main__":
    takes_no_arguments("migrate", __doc__)
    sys.exit(main())
