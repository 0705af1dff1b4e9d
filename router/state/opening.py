"""Opens the configured database, and closes it again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from router.configuration.settings import ConfigurationError, Settings
from router.embedded.postgres import EmbeddedPostgres
from router.errors import DatabaseFault, StateError
from router.logs.events import Action, log_event
from router.state.calls.health import check_database
from router.state.database import Connected, Database
from router.state.direct import DirectDatabase
from router.state.migrations import migrate
from router.state.schema_version import schema_advice, schema_fault, too_new

_log = logging.getLogger(__name__)
_PATIENCE = 3.0  # seconds to wait for the database's schema version


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Connected]:
    """Yield the database of DATABASE_URL, else of SUPABASE_URL, else the embedded one.

    The embedded database is migrated. The schema of the others is updated by `python -m
    scripts.migrate` or database/schema.sql; the log says if it is outdated. They may be away: the
    first call reports that. Raises ConfigurationError, also if the schema no longer serves this
    program, and EmbeddedPostgresError; for the embedded database also DatabaseAway and
    MigrationError.
    """
    async with AsyncExitStack() as stack:
        database = await _opened(settings, stack)
        await _look_at(database)
        yield database


async def _opened(settings: Settings, stack: AsyncExitStack) -> Connected:
    if settings.database_url is None and settings.supabase_url is not None:
        return await _open_supabase(settings, stack)
    direct = await DirectDatabase.connect(await _address(settings, stack))
    stack.push_async_callback(direct.close)
    return direct


async def _open_supabase(settings: Settings, stack: AsyncExitStack) -> Connected:
    from router.state.postgrest import SupabaseDatabase  # takes half a second: only if it is needed

    url, key = settings.supabase_url, settings.supabase_service_role_key
    assert url is not None and key is not None  # noqa: S101, PT018  # the settings have checked it
    supabase = await SupabaseDatabase.connect(url, key)
    stack.push_async_callback(supabase.close)
    return supabase


async def _address(settings: Settings, stack: AsyncExitStack) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    folder = settings.hybridflow_data / "postgres"
    postgres = await stack.enter_async_context(EmbeddedPostgres(folder))
    if applied := await migrate(postgres.dsn):
        log_event(_log, Action.MIGRATED, "the schema was brought up to date", versions=applied)
    return postgres.dsn


async def _look_at(database: Database) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            checked = await check_database(database)
    except (TimeoutError, StateError, DatabaseFault):
        return  # it is looked at again before anything is claimed, and what is wrong is reported
    if refusal := too_new(checked):
        raise ConfigurationError({"database": refusal})
    if said := schema_fault(checked) or schema_advice(checked):
        log_event(_log, Action.SCHEMA_DIFFERS, said, level=logging.WARNING)


async def wait_for_schema(database: Database, pause: float) -> None:
    """Wait until the schema serves this program, however long the database does not answer.

    A different schema may answer claims in a form that cannot be read here: each claim would use up
    an attempt at a turn on which nobody works. While it is migrated, it may not answer at all: a
    call waits for the migration's locks, and then goes on with the old text of its function.
    Whatever a look fails with, only one that succeeds lets the program work.
    """
    told = ""
    while (fault := await _fault(database)) is not None:
        action, reason = fault
        if reason != told:
            said = f"no turn is answered and no notice is told until then: {reason}"
            log_event(_log, action, said, level=logging.WARNING)
            told = reason
        await asyncio.sleep(pause)


async def _fault(database: Database) -> tuple[Action, str] | None:
    """Return why this program cannot work with the database yet; None: it can."""
    unknown = "the version of its schema is not known"
    try:
        fault = schema_fault(await check_database(database))
    except (StateError, DatabaseFault) as error:
        return Action.DATABASE_AWAY, f"{unknown}: {error}"
    except Exception as error:  # noqa: BLE001 - such as an answer that no database gives
        return Action.DATABASE_AWAY, f"{unknown}: {error!r}"
    return None if fault is None else (Action.SCHEMA_DIFFERS, fault)
