"""Start HybridFlow on this machine: `make run`, or `python -m scripts.serve`.

Applies the schema, makes the secrets that the configuration leaves out (and keeps them), says what
runs where and what to do next, and serves until Ctrl-C.
"""

import asyncio
import os
import secrets
import sys
from pathlib import Path

import uvicorn

from router import __version__
from router.errors import DatabaseAway
from router.logs import configure_logging
from router.main import create_app
from router.settings import ConfigurationError, Settings, load_settings
from router.state.migrations import MigrationError, migrate

_GRACE_SECONDS = 30


def main() -> int:
    """Serve until stopped. Returns the exit code."""
    try:
        first = load_settings()
        made = keep_secrets(first)
        settings = load_settings({**os.environ, **made})
        if settings.database_url is not None:  # the embedded one is brought up to date as it opens
            asyncio.run(migrate(settings.database_url.get_secret_value()))
    except (ConfigurationError, MigrationError, DatabaseAway) as error:
        print(error, file=sys.stderr)
        return 1
    print(banner(settings, made), flush=True)
    configure_logging(settings)
    uvicorn.run(
        create_app(settings),
        host="0.0.0.0",  # noqa: S104 - Evolution must reach it
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return 0


def keep_secrets(settings: Settings) -> dict[str, str]:
    """Return a secret for each that is not configured; the same ones at every start.

    They are kept in `secrets.env` in the data folder, readable by the owner only.
    """
    configured = {
        "EVOLUTION_WEBHOOK_SHARED_SECRET": bool(settings.webhook_secrets),
        "CRON_SECRET": settings.cron_secret is not None,
        "API_KEYS": bool(settings.api_keys),
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


def banner(settings: Settings, made: dict[str, str]) -> str:
    """Say what was started, where, with which generated secrets, and the next thing to do."""
    here = f"http://localhost:{settings.api_port}"
    lines = [
        "",
        f"HybridFlow {__version__}",
        f"  router      {here}   (docs: {here}/docs, health: {here}/health)",
        f"  database    {_database(settings)}",
        f"  handler     {'n8n' if settings.n8n_enabled else 'Python fallback handlers'}",
        f"  LLM         {settings.llm_provider}",
    ]
    if made:
        lines += ["", "Secrets made for you (they stay the same; set your own in .env):"]
        lines += [f"  {name}={value}" for name, value in made.items()]
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
    add = f"{tenant} add my-instance --server https://evolution.example --key KEY"
    steps += [
        f"add your business:  {add}",
        f"connect WhatsApp:   {tenant} connect my-instance --url {here}",
        f"look around:        curl -H 'X-API-Key: {key}' {here}/api/tenants",
        "no account yet?     make demo",
    ]
    return steps


def _database(settings: Settings) -> str:
    if settings.supabase_url:
        return f"Supabase at {settings.supabase_url}"
    if settings.database_url:
        return "PostgreSQL at DATABASE_URL"
    return f"embedded PostgreSQL, data in {settings.hybridflow_data / 'postgres'}"


def _new_secret(name: str) -> str:
    secret = secrets.token_urlsafe(24)
    return f"local:{secret}" if name == "API_KEYS" else secret


def _read_secrets(kept: Path) -> dict[str, str]:
    if not kept.exists():
        return {}
    lines = kept.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


if __name__ == "__main__":
    sys.exit(main())
