"""Start HybridFlow on this machine: `make run`, or `python -m scripts.serve`.

This applies the schema, makes and keeps the secrets that are not configured, prints the address and
what to do next, and serves until Ctrl-C. While the embedded database has no tenant, a demo business
is played (DEMO=0: none). With --n8n (`make run N8N=1`) an n8n runs beside the router and handles
the turns.
"""

import argparse
import asyncio
import os
import socket
import sys
from contextlib import ExitStack

from router.configuration.settings import ConfigurationError, Settings, load_settings
from router.embedded.alone import alone
from router.embedded.errors import EmbeddedPostgresError
from router.embedded.postgres import EmbeddedPostgres
from router.errors import DatabaseAway
from router.serving.server import CannotListen, listen, serve
from router.state.migrations import MigrationError, migrate
from scripts.banner import banner
from scripts.demo_business.flows import n8n_of_demo
from scripts.demo_business.playing import (
    OVER,
    DemoIsPlayed,
    Playing,
    is_wanted,
    play,
    refuse_beside_demo,
)
from scripts.demo_business.stage import stage
from scripts.demo_business.wanted import has_llm_key, reason_against
from scripts.kept_secrets import Kept, keep_secrets, shown_secrets
from scripts.n8n.installation import InstallationFailed
from scripts.n8n.launch import running_n8n
from scripts.n8n.library import CommandFailed
from scripts.n8n.meanwhile import coming_up
from scripts.n8n.only_one import N8nRunsAlready
from scripts.n8n.server import N8nDidNotStart
from scripts.running import called

_EVERYWHERE = "0.0.0.0"  # nosec B104  # noqa: S104 - Evolution must reach it
_TOLD = (
    CannotListen,
    CommandFailed,
    ConfigurationError,
    DatabaseAway,
    DemoIsPlayed,
    EmbeddedPostgresError,
    InstallationFailed,
    MigrationError,
    N8nDidNotStart,
    N8nRunsAlready,
)

# The demo's n8n has ended, and the real one takes a while to start. The router serves meanwhile,
# but without an LLM key, which the Python handler would need.
_TILL_N8N = (
    "n8n is starting. Until it is up, turns wait, except those of tenants with an llm_api_key of"
    " their own."
)


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=called("scripts.serve"), description=__doc__)
    parser.add_argument("--n8n", action="store_true", help="also run an n8n")
    parser.add_argument(
        "--show-secrets", action="store_true", help="show the secrets that were made, and exit"
    )
    given = parser.parse_args(arguments)
    try:
        if given.show_secrets:
            print(shown_secrets(load_settings()))
            return 0
        return _serve(with_n8n=given.n8n)
    except _TOLD as error:
        print(error, file=sys.stderr)
        return 1


def _serve(*, with_n8n: bool) -> int:
    wanted = n8n_variables() if with_n8n else {}
    asked = load_settings({**os.environ, **_off(wanted)})
    kept = keep_secrets(asked, with_n8n=with_n8n)
    readable = readable_log(asked, on_terminal=sys.stdout.isatty())
    variables = {**_turned_on(wanted), **readable, **kept.values}
    settings = load_settings({**os.environ, **variables})
    if settings.database_url is not None:
        asyncio.run(migrate(settings.database_url.get_secret_value()))
    with ExitStack() as stack:
        listener = stack.enter_context(listen(_EVERYWHERE, settings.api_port))
        dsn = _place_of_demo(settings, stack, with_n8n=with_n8n)
        # If the LLM is simulated, the demo has its own n8n: the real one must not learn its
        # address.
        has_own = with_n8n and dsn is not None and not has_llm_key(settings)
        if with_n8n and not has_own:
            stack.enter_context(running_n8n(settings, _tell))
        if dsn is not None:
            playing = _playing(settings, kept, dsn, listener, variables)
            code = _play(playing, with_own_n8n=has_own)
            if code is not None:
                return code
            print(OVER, flush=True)
            kept = Kept(kept.values, new=())
            if has_own:
                print(_TILL_N8N, flush=True)
                stack.enter_context(coming_up(running_n8n(settings, _tell), _tell, _TOLD))
        print(banner(settings, kept, with_n8n=with_n8n), flush=True)
        from router.app import create_app  # takes seconds, and most starts play the demo instead

        return serve(create_app(settings), settings, listener)


def readable_log(settings: Settings, *, on_terminal: bool) -> dict[str, str]:
    """Return the variable that makes the log plain text, if a person watches it on a terminal."""
    if "log_format" in settings.model_fields_set or not on_terminal:
        return {}
    return {"LOG_FORMAT": "text"}


def _place_of_demo(settings: Settings, stack: ExitStack, *, with_n8n: bool) -> str | None:
    """Start the embedded database in `stack`; return its address, or None if no demo is wanted.

    The database is migrated, and an earlier demo is deleted from it. Raises DemoIsPlayed if another
    `make run` plays on it now.
    """
    if settings.database_url is not None or settings.supabase_url is not None:
        return None
    postgres = stack.enter_context(EmbeddedPostgres(settings.hybridflow_data / "postgres"))
    asyncio.run(migrate(postgres.dsn))
    is_free = reason_against(settings, with_n8n=with_n8n) is None
    if not stack.enter_context(alone(settings.hybridflow_data)):
        asyncio.run(refuse_beside_demo(postgres.dsn, would_play=is_free))
        return None
    has_none = asyncio.run(is_wanted(postgres.dsn))
    return postgres.dsn if has_none and is_free else None


def _playing(
    settings: Settings,
    kept: Kept,
    dsn: str,
    listener: socket.socket,
    variables: dict[str, str],
) -> Playing:
    def tell() -> None:
        said = banner(settings, kept, with_n8n=settings.n8n_enabled, with_demo=True)
        print(said, flush=True)

    return Playing(dsn, listener, settings, variables, tell)


def _play(playing: Playing, *, with_own_n8n: bool) -> int | None:
    """Play until stopped. Returns the exit code, or None once there is a real tenant."""
    with ExitStack() as stack:
        played = stack.enter_context(stage(playing.settings))
        if with_own_n8n:
            asked = load_settings({**os.environ, **playing.made, **played.variables})
            stack.enter_context(n8n_of_demo(asked, playing.dsn, _tell))
        return asyncio.run(play(playing, played))


def n8n_variables() -> dict[str, str]:
    """Return where turns go: the configured N8N_WEBHOOK_URL, else the n8n that is started.

    No variable of n8n needs to be set, whether N8N_ENABLED is set or not.
    """
    settings = load_settings({**os.environ, "N8N_ENABLED": "false"})
    own = f"http://127.0.0.1:{settings.n8n_port}/webhook"
    return {"N8N_WEBHOOK_URL": settings.n8n_webhook_url or own}


def _off(wanted: dict[str, str]) -> dict[str, str]:
    """Return the variables for reading the configuration before missing secrets are made."""
    return {**wanted, "N8N_ENABLED": "false"} if wanted else {}


def _turned_on(wanted: dict[str, str]) -> dict[str, str]:
    return {**wanted, "N8N_ENABLED": "true"} if wanted else {}


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
