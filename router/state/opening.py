"""Opens the database that the configuration names, and closes it again."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from router.embedded.postgres import EmbeddedPostgres
from router.logs import Action, log_event
from router.settings import ConfigurationError, Settings
from router.state.database import Database, DirectDatabase
from router.state.migrations import migrate

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Give the database of DATABASE_URL, or the embedded one, brought up to date.

    The schema of a database that is not ours alone is left to `python -m scripts.migrate`. Raises
    ConfigurationError, DatabaseAway, EmbeddedPostgresError and MigrationError.
    """
    async with AsyncExitStack() as stack:
        database = await DirectDatabase.connect(await _address(settings, stack))
        stack.push_async_callback(database.close)
        yield database


async def _address(settings: Settings, stack: AsyncExitStack) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if settings.supabase_url is not None:
        raise ConfigurationError(
            {
                "SUPABASE_URL": "reaching the database over Supabase's REST API is not built yet."
                " Set DATABASE_URL, too: the project's connection string (Dashboard, Connect)."
            }
        )
    folder = settings.hybridflow_data / "postgres"
    postgres = await stack.enter_async_context(EmbeddedPostgres(folder))
    if applied := await migrate(postgres.dsn):
        log_event(_log, Action.MIGRATED, "the schema was brought up to date", versions=applied)
    return postgres.dsn
