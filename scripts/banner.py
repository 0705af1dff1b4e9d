"""The first output of `make run`: the address, what runs there, and where the secrets are."""

import sys

from router import __version__
from router.configuration.settings import Settings
from scripts.demo_business.wanted import has_llm_key, is_n8n_beside
from scripts.kept_secrets import Kept, place_of_secrets, told

_TENANT = ".venv/bin/python -m scripts.tenant"
ASKS_FOR_AN_OWNER = (
    "\n    The editor asks for an owner account first: make one up (it stays in this n8n)."
)
_GOES = "the demo's own: it goes with the demo, and all work in it is lost"
_SHOW = ".venv/bin/python -m scripts.serve --show-secrets"
_ADD = f"{_TENANT} add my-instance --server https://evolution.example --key KEY --prompt TEXT"


def banner(
    settings: Settings,
    kept: Kept,
    *,
    with_n8n: bool,
    with_demo: bool = False,
    on_terminal: bool | None = None,
) -> str:
    """Return the address, what runs there, what to do next, and where the secrets are.

    New secrets are shown once. `on_terminal`: whether a person reads this; None: if stdout is a
    terminal.
    """
    lines = ["", f"HybridFlow {__version__}   http://localhost:{settings.api_port}/"]
    lines += _of_demo() if with_demo else _of_real(settings)
    if with_n8n and with_demo and not has_llm_key(settings):
        lines.append(f"  n8n: http://localhost:{settings.n8n_port}   ({_GOES})")
    elif with_n8n:
        lines += _of_n8n(settings)
    reads = sys.stdout.isatty() if on_terminal is None else on_terminal
    return "\n".join([*lines, *_secrets(settings, kept, reads=reads), ""])


def _of_demo() -> list[str]:
    return [
        "  Demo: a bakery and its customers' phones, with no account. It says how to connect yours."
    ]


def _of_real(settings: Settings) -> list[str]:
    handler = "n8n" if settings.n8n_enabled else "Python fallback handlers"
    where = f"{_database(settings)}; replies by {handler} and {settings.llm_provider}"
    return [f"  {where}", f"  {_next_step(settings)}"]


def _of_n8n(settings: Settings) -> list[str]:
    lines = [f"  n8n: http://localhost:{settings.n8n_port}   (the editor){ASKS_FOR_AN_OWNER}"]
    if not is_n8n_beside(settings):
        url = settings.n8n_webhook_url
        lines.append(f"  Turns go to N8N_WEBHOOK_URL, {url}, and not to this n8n")
    return lines


def _next_step(settings: Settings) -> str:
    if settings.llm_provider == "anthropic" and settings.anthropic_api_key is None:
        return "Next: set ANTHROPIC_API_KEY in .env (or LLM_PROVIDER=openai and OPENAI_API_KEY)"
    if settings.llm_provider == "openai" and settings.openai_api_key is None:
        return "Next: set OPENAI_API_KEY in .env"
    return f"Your business: {_ADD}"


def _secrets(settings: Settings, kept: Kept, *, reads: bool) -> list[str]:
    """Say where the secrets are at each start: a start that failed has not shown the new ones."""
    if not kept.values:
        return []
    lines = [f"  Secrets: {place_of_secrets(settings)}   ({_SHOW})"]
    if kept.new and reads:  # not in a service, whose output becomes its log
        lines += [f"    {line}" for line in told(kept.values, kept.new).splitlines()]
        if "SECRETS_KEY" in kept.new:
            lines.append("  Back that file up: its SECRETS_KEY opens what the database encrypts.")
    return lines


def _database(settings: Settings) -> str:
    if settings.database_url:
        return "PostgreSQL at DATABASE_URL"
    if settings.supabase_url:
        return f"Supabase at {settings.supabase_url}"
    return f"Embedded PostgreSQL in {settings.hybridflow_data / 'postgres'}"
