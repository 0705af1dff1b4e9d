"""Start HybridFlow on this machine: `make run`, or `python -m scripts.serve`.

Applies the schema, makes the secrets that the configuration leaves out (and keeps them), says what
runs where and what to do next, and serves until Ctrl-C. With --n8n (`make run N8N=1`) an n8n runs
beside it and handles the turns.
"""

import argparse
import asyncio
import os
import secrets
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from router import __version__
from router.app import create_app
from router.configuration.settings import ConfigurationError, Settings, load_settings
from router.embedded.errors import EmbeddedPostgresError
from router.errors import DatabaseAway
from router.serving.server import CannotListen, listen, serve
from router.state.migrations import MigrationError, migrate
from scripts.n8n.installation import InstallationFailed
from scripts.n8n.launch import running_n8n
from scripts.n8n.library import CommandFailed
from scripts.n8n.server import N8nDidNotStart, N8nServer
from scripts.running import called

_EVERYWHERE = "0.0.0.0"  # nosec B104  # noqa: S104 - Evolution must reach it
_TOLD = (
    CannotListen,
    CommandFailed,
    ConfigurationError,
    DatabaseAway,
    EmbeddedPostgresError,
    InstallationFailed,
    MigrationError,
    N8nDidNotStart,
)


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=called("scripts.serve"), description=__doc__)
    parser.add_argument("--n8n", action="store_true", help="with an n8n beside it")
    given = parser.parse_args(arguments)
    try:
        wanted = _n8n_variables() if given.n8n else {}
        made = keep_secrets(load_settings({**os.environ, **wanted}), with_n8n=given.n8n)
        settings = load_settings({**os.environ, **_turned_on(wanted), **made})
        if settings.database_url is not None:  # the embedded one is brought up to date as it opens
            asyncio.run(migrate(settings.database_url.get_secret_value()))
        n8n = _beside(settings) if given.n8n else nullcontext()
        with listen(_EVERYWHERE, settings.api_port) as listener, n8n:
            print(banner(settings, made, with_n8n=given.n8n), flush=True)
            return serve(create_app(settings), settings, listener)
    except _TOLD as error:
        print(error, file=sys.stderr)
        return 1


def _n8n_variables() -> dict[str, str]:
    port = os.environ.get("N8N_PORT") or str(load_settings().n8n_port)
    return {"N8N_WEBHOOK_URL": f"http://127.0.0.1:{port}/webhook"}


def _turned_on(wanted: dict[str, str]) -> dict[str, str]:
    return {**wanted, "N8N_ENABLED": "true"} if wanted else {}


def _beside(settings: Settings) -> AbstractContextManager[N8nServer]:
    return running_n8n(settings, lambda text: print(text, file=sys.stderr, flush=True))


def keep_secrets(settings: Settings, *, with_n8n: bool) -> dict[str, str]:
    """Return a secret for each that is not configured; the same ones at every start.

    They are kept in `secrets.env` in the data folder, readable by the owner only.
    """
    configured = {
        "EVOLUTION_WEBHOOK_SHARED_SECRET": bool(settings.webhook_secrets),
        "SECRETS_KEY": bool(settings.secrets_key),
        "CRON_SECRET": settings.cron_secret is not None,
        "API_KEYS": bool(settings.api_keys),
        "N8N_API_KEY": settings.n8n_api_key is not None or not with_n8n,
    }
    missing = [name for name, given in configured.items() if not given]
    if not missing:
        return {}
    kept = settings.hybridflow_data / "secrets.env"
    known = _read_secrets(kept)
    for name in missing:
        known.setdefault(name, _new_secret(name))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch(mode=0o600)
    kept.write_text("".join(f"{name}={value}\n" for name, value in sorted(known.items())))
    return {name: known[name] for name in missing}


def banner(settings: Settings, made: dict[str, str], *, with_n8n: bool) -> str:
    """Say what was started, where, with which generated secrets, and the next thing to do."""
    here = f"http://localhost:{settings.api_port}"
    docs = f"docs: {here}/docs, " if settings.shows_docs else ""
    lines = [
        "",
        f"HybridFlow {__version__}",
        f"  router      {here}   ({docs}health: {here}/health)",
        f"  database    {_database(settings)}",
        f"  handler     {'n8n' if settings.n8n_enabled else 'Python fallback handlers'}",
        f"  LLM         {settings.llm_provider}",
    ]
    if with_n8n:
        lines.append(f"  n8n         http://localhost:{settings.n8n_port}   (the editor)")
    shown = {name: value for name, value in made.items() if name != "SECRETS_KEY"}
    if shown:
        lines += ["", "Secrets made for you (they stay the same; set your own in .env):"]
        lines += [f"  {name}={value}" for name, value in shown.items()]
    if "SECRETS_KEY" in made:
        kept = settings.hybridflow_data / "secrets.env"
        lines += ["", f"Back up {kept}: its SECRETS_KEY opens what the database has encrypted."]
    lines += ["", "Next:", *(f"  {step}" for step in _next_steps(settings, made, here)), ""]
    return "\n".join(lines)


def _next_steps(settings: Settings, made: dict[str, str], here: str) -> list[str]:
    key = made.get("API_KEYS", "name:<key>").split(":", 1)[1]
    steps = []
    if settings.llm_provider == "anthropic" and settings.anthropic_api_key is None:
        steps.append("set ANTHROPIC_API_KEY in .env (or LLM_PROVIDER=openai and OPENAI_API_KEY)")
    if settings.llm_provider == "openai" and settings.openai_api_key is None:
        steps.append("set OPENAI_API_KEY in .env")
    tenant = ".venv/bin/python -m scripts.tenant"
    add = f"{tenant} add my-instance --server https://evolution.example --key KEY --prompt TEXT"
    steps += [
        f"add your business:  {add}",
        f"connect WhatsApp:   {tenant} connect my-instance --url {here}",
        f"look around:        curl -H 'X-API-Key: {key}' {here}/api/tenants",
        "no account yet?     make demo",
    ]
    return steps


def _database(settings: Settings) -> str:
    if settings.database_url:
        return "PostgreSQL at DATABASE_URL"
    if settings.supabase_url:
        return f"Supabase at {settings.supabase_url}"
    return f"embedded PostgreSQL, data in {settings.hybridflow_data / 'postgres'}"


def _new_secret(name: str) -> str:
    secret = secrets.token_urlsafe(32)
    return f"local:{secret}" if name == "API_KEYS" else secret


def _read_secrets(kept: Path) -> dict[str, str]:
    if not kept.exists():
        return {}
    lines = kept.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


if __name__ == "__main__":
    sys.exit(main())
