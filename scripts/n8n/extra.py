"""N8N_EXTRA_*: settings of n8n itself, for the n8n that is started here.

`N8N_EXTRA_GENERIC_TIMEZONE=America/Sao_Paulo` becomes n8n's GENERIC_TIMEZONE. n8n inherits nothing
else from the environment, and reads no `.env`: both contain HybridFlow's keys.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from router.configuration.settings import ConfigurationError

_PREFIX = "N8N_EXTRA_"
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
# Settings that the start sets itself, to find n8n and its data again.
_OWN: Mapping[str, str] = {
    "N8N_PORT": "set N8N_PORT",
    "N8N_USER_FOLDER": "set HYBRIDFLOW_DATA: n8n's folder is in it",
    "N8N_ENCRYPTION_KEY": "it is kept in the file encryption.key of n8n's folder: put yours there",
    "N8N_RUNNERS_BROKER_PORT": "a free one is found at each start: leave it out",
    "N8N_ENDPOINT_WEBHOOK": "the router posts below /webhook: leave it out",
}
_OF_THE_DATABASE = "set DATABASE_URL: n8n's database is on the same server"
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
_NEAR = "localhost,127.0.0.1,::1"


def extra_settings(
    env: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
) -> dict[str, str]:
    """Return settings of n8n itself, by name, from `env` (None: this process's) and a file.

    `env` wins, and a blank value counts as not set. Raises ConfigurationError, which names each
    setting that must not be set, but no value, because it may be a secret.
    """
    written = dict(dotenv_values(env_file, encoding="utf-8")) if env_file is not None else {}
    own = os.environ if env is None else env
    given = {**written, **{name: value for name, value in own.items() if value.strip()}}
    extra = {
        name.removeprefix(_PREFIX): value.strip()
        for name, value in sorted(given.items())
        if name.startswith(_PREFIX) and value and value.strip()
    }
    if faults := {f"{_PREFIX}{name}": fault for name in extra if (fault := _fault(name))}:
        raise ConfigurationError(faults)
    if _PROXIES & extra.keys() and "NO_PROXY" not in extra:
        extra["NO_PROXY"] = _NEAR  # the router is on this machine, where a proxy cannot reach it
    return extra


def _fault(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return "after N8N_EXTRA_ stands the name of a setting of n8n: N8N_EXTRA_GENERIC_TIMEZONE"
    cure = _OF_THE_DATABASE if name.startswith("DB_") else _OWN.get(name)
    return None if cure is None else f"this start sets {name} by itself. Instead, {cure}."
