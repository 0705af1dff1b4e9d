"""How every script runs: configuration, database, one friendly line for what goes wrong."""

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
    """A script stops; the text names the thing, its fault and the cure."""


_TOLD = (
    CannotGoOn,
    ConfigurationError,
    EmbeddedPostgresError,
    EvolutionError,
    MigrationError,
    StateError,
)


def takes_no_arguments(script: str, about: str | None) -> None:
    """Explain the script to who asks for --help, and refuse what else is given, before any work."""
    argparse.ArgumentParser(prog=called(f"scripts.{script}"), description=about).parse_args()


def called(module: str) -> str:
    """Return how this program was called, for its usage: `hybridflow NAME`, or as a module."""
    return sys.argv[0] if sys.argv[0].startswith("hybridflow ") else f"python -m {module}"


def this_python() -> str:
    """Return how the Python that runs this is typed here, for a command that is to be typed next.

    In a checkout it is that of .venv: many machines have no `python`, or one without our libraries.
    """
    path = Path(sys.executable)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else "python"


def run(work: Callable[[Settings, Database], Awaitable[int]]) -> int:
    """Do `work` with the configured database; return the exit code. 1: it did not work."""
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
    """Return the settings, with the secrets that `make run` made where none are configured.

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
