"""What all scripts share: the configuration, the database, and one clear line for an error."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from router.configuration.settings import ConfigurationError, Settings, load_settings
from router.embedded.errors import EmbeddedPostgresError
from router.errors import StateError
from router.evolution.errors import EvolutionError
from router.state.database import Database
from router.state.migrations import MigrationError
from router.state.opening import open_database


class CannotGoOn(Exception):
    """A script cannot go on. The text names the thing, what is wrong, and the fix."""


_TOLD = (
    CannotGoOn,
    ConfigurationError,
    EmbeddedPostgresError,
    EvolutionError,
    MigrationError,
    StateError,
)


def takes_no_arguments(script: str, about: str | None) -> None:
    """Show the help for --help, and refuse any other argument, before any work is done."""
    argparse.ArgumentParser(prog=called(f"scripts.{script}"), description=about).parse_args()


def called(module: str) -> str:
    """Return how this program was called, for its usage text: `hybridflow NAME`, or the module."""
    return sys.argv[0] if sys.argv[0].startswith("hybridflow ") else f"python -m {module}"


def this_python() -> str:
    """Return the command of the running Python, for a command that the user should type next.

    In a checkout this is the Python of .venv: many machines have no `python`, or one without our
    libraries.
    """
    path = Path(sys.executable)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else "python"


def run(work: Callable[[Settings, Database], Awaitable[int]]) -> int:
    """Do `work` with the configured database. Returns the exit code: 1 if it failed."""
    try:
        return asyncio.run(_run(work))
    except KeyboardInterrupt:
        return 130
    except _TOLD as error:
        print(error, file=sys.stderr)
        return 1


async def _run(work: Callable[[Settings, Database], Awaitable[int]]) -> int:
    settings = configuration()
    async with open_database(settings) as database:
        return await work(settings, database)


def configuration() -> Settings:
    """Return the settings, with the secrets that `make run` made for those not configured.

    Raises ConfigurationError.
    """
    settings = load_settings()
    kept = settings.hybridflow_data / "secrets.env"
    if not kept.exists():
        return settings
    made = dict(line.split("=", 1) for line in kept.read_text().splitlines() if "=" in line)
    configured = {
        "EVOLUTION_WEBHOOK_SHARED_SECRET": bool(settings.webhook_secrets),
        "SECRETS_KEY": bool(settings.secrets_key),
        "CRON_SECRET": settings.cron_secret is not None,
        "N8N_API_KEY": settings.n8n_api_key is not None,
    }
    missing = {name: made[name] for name, given in configured.items() if not given and name in made}
    return load_settings({**os.environ, **missing}) if missing else settings
