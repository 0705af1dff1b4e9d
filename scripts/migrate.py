"""Bring the database's schema up to date: `python -m scripts.migrate`.

The database is the one of DATABASE_URL, or the embedded one below HYBRIDFLOW_DATA. Running it again
does no harm.
"""

import asyncio
import sys

from router.embedded.errors import EmbeddedPostgresError
from router.embedded.postgres import EmbeddedPostgres
from router.errors import DatabaseAway
from router.settings import ConfigurationError, Settings, load_settings
from router.state.migrations import MIGRATIONS, MigrationError, migrate, read_migrations


def main() -> int:
    """Migrate and say what was done. Returns the exit code."""
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
        raise MigrationError(
            "SUPABASE_URL alone cannot change a schema. Set DATABASE_URL to the project's"
            " connection string (Dashboard, Connect), or paste database/schema.sql into its SQL"
            " editor"
        )
    async with EmbeddedPostgres(settings.hybridflow_data / "postgres") as postgres:
        print(f"database: embedded PostgreSQL, data in {postgres.folder}", flush=True)
        return await migrate(postgres.dsn)


if __name__ == "__main__":
    sys.exit(main())
