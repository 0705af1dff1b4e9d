"""Starts n8n beside the router, on the router's PostgreSQL; the first time it imports workflows."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from router.configuration.settings import ConfigurationError, Settings
from router.embedded.alone import alone
from router.embedded.postgres import EmbeddedPostgres
from scripts.n8n.credentials import fill_in, read_example, variables_of
from scripts.n8n.extra import extra_settings
from scripts.n8n.installation import Installation, cache_folder, install
from scripts.n8n.keeping import kept_alive, next_pause
from scripts.n8n.keys import to_be_given
from scripts.n8n.leftover import end_leftover
from scripts.n8n.library import (
    WORKFLOWS,
    CommandFailed,
    export_all,
    fingerprint,
    ids_of,
    import_all,
    import_credentials,
)
from scripts.n8n.only_one import only_one
from scripts.n8n.publishing import unpublish
from scripts.n8n.server import DATABASE, N8nHome, N8nServer, open_home

_CHANGED = (
    "n8n_workflows/ is not what was imported: `python -m scripts.n8n import` takes it over,"
    " `python -m scripts.n8n export` writes n8n's own into it."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an n8n keeps its data: a folder, and a database on the router's server."""

    folder: Path
    database: str


@contextmanager
def n8n_home(
    settings: Settings, tell: Callable[[str], None], place: Place | None = None
) -> Iterator[tuple[Installation, N8nHome]]:
    """Yield an installed n8n and its home, while the PostgreSQL that it needs is running.

    Raises ConfigurationError, EmbeddedPostgresError and InstallationFailed.
    """
    extra = extra_settings()
    place = place or _place(settings)
    with ExitStack() as stack:
        installation = install(cache_folder(), tell)
        home = asyncio.run(
            open_home(
                _server_address(settings, stack),
                place.folder,
                settings.n8n_port,
                extra,
                place.database,
            )
        )
        yield installation, home


@contextmanager
def running_n8n(
    settings: Settings, tell: Callable[[str], None], place: Place | None = None
) -> Iterator[N8nServer]:
    """Yield n8n once it accepts webhooks; until the block ends, it is restarted if it dies.

    Workflows are imported only into an empty n8n, so that builders' changes stay. Raises
    N8nRunsAlready, and ConfigurationError if another program listens on its port.
    """
    place = place or _place(settings)
    end_leftovers(settings, tell)
    with only_one(place.folder, f"http://localhost:{settings.n8n_port}"):
        require_free_port(settings.n8n_port)
        with n8n_home(settings, tell, place) as (installation, home):
            if not _imported(home).exists():
                tell("Importing the workflows into n8n …")
                fill(installation, home, settings, WORKFLOWS)
            elif not (imported := _imported(home).read_text()):
                _fill_again(installation, home, settings, tell)
            else:
                if imported != fingerprint(WORKFLOWS):
                    tell(_CHANGED)
                _give_keys(installation, home, settings, tell)
            tell("Starting n8n …")
            server = N8nServer(installation, home)
            server.start()
            try:
                asyncio.run(server.ready())
                with kept_alive(server, tell, next_pause):
                    yield server
            finally:
                server.stop()


def end_leftovers(settings: Settings, tell: Callable[[str], None]) -> None:
    """Wait until no n8n of a killed start holds the port: the demo's and the real n8n share one."""
    for place in (_place(settings), place_of_demo(settings)):
        end_leftover(place.folder, tell)


def require_free_port(port: int) -> None:
    """Raise ConfigurationError if a program on this machine listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(5)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            fault = f"something listens on {port} already, an n8n perhaps: end it, or set another"
            raise ConfigurationError({"N8N_PORT": fault})


def fill(
    installation: Installation, home: N8nHome, settings: Settings, folder: Path
) -> tuple[str, ...]:
    """Import and publish the workflows of `folder`; n8n's own ones are backed up before.

    Raises CommandFailed, and UnreadableFile before anything is changed.
    """
    with alone(home.folder, "importing") as is_alone:
        if not is_alone:
            raise CommandFailed(
                "another import into this n8n is under way: wait until it has ended"
            )
        return _fill(installation, home, settings, folder)


def _fill(
    installation: Installation, home: N8nHome, settings: Settings, folder: Path
) -> tuple[str, ...]:
    ours = ids_of(folder)
    if _imported(home).exists():
        backup = home.folder / f"before-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        backup.mkdir(parents=True)
        asyncio.run(export_all(installation, home, backup))
        # An import that fails from here on is done again, whole, at the next start. Until then
        # builders may change more, so that one begins with a backup, too.
        _imported(home).write_text("")
    # One that was interrupted may have published some, too.
    asyncio.run(unpublish(home.database_url, ours))
    names = asyncio.run(
        import_all(
            installation,
            home,
            folder=folder,
            variables=variables_of(settings),
            router_url=router_url(settings),
        )
    )
    _imported(home).write_text(fingerprint(folder))
    return names


def _fill_again(
    installation: Installation, home: N8nHome, settings: Settings, tell: Callable[[str], None]
) -> None:
    """Import again what was imported in part. If it fails, the cause may be repaired in n8n."""
    tell("The last import did not end well: importing the workflows into n8n again …")
    try:
        fill(installation, home, settings, WORKFLOWS)
    except CommandFailed as error:
        tell(f"{error}\nn8n starts with what it has.")


def _give_keys(
    installation: Installation, home: N8nHome, settings: Settings, tell: Callable[[str], None]
) -> None:
    """Import the credentials that have changed in the configuration."""
    wanted = fill_in(read_example(WORKFLOWS), variables_of(settings))
    if otherwise := to_be_given(home, wanted):
        tell(f"Giving n8n the changed keys: {', '.join(each['name'] for each in otherwise)} …")
        asyncio.run(import_credentials(installation, home, otherwise))


def router_url(settings: Settings) -> str:
    """Return the URL at which n8n reaches the router."""
    own = f"http://localhost:{settings.api_port}"
    return settings.n8n_router_url or settings.public_url or own


def place_of_demo(settings: Settings) -> Place:
    """Return the place of the demo's own n8n; see `scripts/demo_business/flows.py`."""
    return Place(settings.hybridflow_data / "demo-n8n", "n8n_of_the_demo")


def _place(settings: Settings) -> Place:
    """Return the place of the real n8n."""
    return Place(settings.hybridflow_data / "n8n", DATABASE)


def _imported(home: N8nHome) -> Path:
    return home.folder / "imported"


def _server_address(settings: Settings, stack: ExitStack) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if settings.supabase_url is not None:
        raise ConfigurationError(
            {"DATABASE_URL": "is not set, but n8n needs a PostgreSQL of its own. Set it, too."}
        )
    return stack.enter_context(EmbeddedPostgres(settings.hybridflow_data / "postgres")).dsn
