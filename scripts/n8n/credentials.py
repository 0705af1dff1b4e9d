"""The workflows' credentials, made from the configuration. n8n encrypts them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from router.configuration.settings import Settings
from scripts.n8n.llm_addresses import BASES, hosts_of

EXAMPLE = "credentials.example.json"

_OURS = Path(__file__).parent.parent.parent / "n8n_workflows" / EXAMPLE
_NOT_SET = "not-set"
_VARIABLE = re.compile(r"^<([A-Z0-9_]+)>$")


def read_example(folder: Path) -> list[dict[str, Any]]:
    """Return the credentials that the workflows name, with `<VARIABLE>` for each secret.

    If a folder has no such file, because workflows were only exported to it, this project's is
    used.
    """
    own = folder / EXAMPLE
    example: list[dict[str, Any]] = json.loads((own if own.exists() else _OURS).read_text())
    return example


def fill_in(example: list[dict[str, Any]], variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the input of `n8n import:credentials`; without its variables, one is unusable."""
    # n8n needs the providers' URLs, which are optional in the configuration.
    bases = {name: variables.get(name) or base for name, base in BASES.items()}
    values = {**variables, **bases, **hosts_of(bases)}
    return [{**credential, "data": _filled(credential["data"], values)} for credential in example]


def lacks_something(credential: Mapping[str, Any]) -> bool:
    """Whether a variable of this credential is not set, so that it cannot be used."""
    return _NOT_SET in credential["data"].values()


def variables_of(settings: Settings) -> dict[str, str]:
    """Return the configuration's values that credentials contain."""
    names = ("N8N_API_KEY", "CRON_SECRET", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", *BASES)
    found = {name: getattr(settings, name.lower()) for name in names}
    return {name: _shown(value) for name, value in found.items() if value is not None}


def _filled(data: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for name, text in data.items():
        named = _VARIABLE.match(text)
        variable = named.group(1) if named else None
        values[name] = (variables.get(variable) or _NOT_SET) if variable else text
    return values


def _shown(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
