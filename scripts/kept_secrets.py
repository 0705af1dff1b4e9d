"""The secrets that `make run` makes if they are not configured. They are kept in a file.

They are shown only when they are new, and only on a terminal: a service's output becomes its log.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from router.configuration.settings import Settings

_NEVER_SHOWN = "SECRETS_KEY"


@dataclass(frozen=True, slots=True)
class Kept:
    """The secrets that were made, by their variables, and which of them are `new`."""

    values: Mapping[str, str]
    new: tuple[str, ...]


def place_of_secrets(settings: Settings) -> Path:
    """Return the file that contains the secrets."""
    return settings.hybridflow_data / "secrets.env"


def keep_secrets(settings: Settings, *, with_n8n: bool) -> Kept:
    """Return the secrets that are not configured; they are the same at every start.

    They are kept in `secrets.env` in the data folder, which only the owner can read.
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
        return Kept({}, ())
    kept = place_of_secrets(settings)
    known = _read_secrets(kept)
    new = tuple(name for name in missing if name not in known)
    if new:
        known |= {name: _new_secret(name) for name in new}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text("".join(f"{name}={value}\n" for name, value in sorted(known.items())))
    return Kept({name: known[name] for name in missing}, new)


def shown_secrets(settings: Settings) -> str:
    """Return the secrets that were made, one per line, for `--show-secrets`."""
    kept = place_of_secrets(settings)
    known = _read_secrets(kept)
    if not known:
        return f"No secrets were made: {kept} is not there. Those in use are configured."
    return told(known, known)


def told(values: Mapping[str, str], names: Mapping[str, str] | tuple[str, ...]) -> str:
    """Return these secrets, one per line, without SECRETS_KEY, which nobody has to type."""
    return "\n".join(f"{name}={values[name]}" for name in names if name != _NEVER_SHOWN)


def _new_secret(name: str) -> str:
    secret = secrets.token_urlsafe(32)
    return f"local:{secret}" if name == "API_KEYS" else secret


def _read_secrets(kept: Path) -> dict[str, str]:
    if not kept.exists():
        return {}
    lines = kept.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
