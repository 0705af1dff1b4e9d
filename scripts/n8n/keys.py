"""The keys that n8n was given, compared with those in the configuration now.

Credentials are imported once. If somebody sets an LLM key later, the router would have it, but n8n
would not. So credentials that have changed in the configuration are given to n8n again. Those that
are not in the configuration stay as builders made them in the editor.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from scripts.n8n.credentials import lacks_something
from scripts.n8n.server import N8nHome

_NOTE = "credentials"
Credentials = Sequence[dict[str, Any]]


def note_given(home: N8nHome, given: Credentials) -> None:
    """Store marks that show later whether the configuration has changed."""
    noted = _noted(home) | {each["id"]: _mark(home, each) for each in given}
    (home.folder / _NOTE).write_text(json.dumps(noted, indent=1, sort_keys=True))


def to_be_given(home: N8nHome, wanted: Credentials) -> list[dict[str, Any]]:
    """Return the credentials that are complete, and have changed since n8n got them.

    If there are no marks, an earlier version gave them to n8n: then there are none to return.
    """
    noted = _noted(home)
    return [
        each
        for each in wanted
        if noted and not lacks_something(each) and noted.get(each["id"]) != _mark(home, each)
    ]


def _noted(home: N8nHome) -> dict[str, str]:
    note = home.folder / _NOTE
    found: dict[str, str] = json.loads(note.read_text()) if note.exists() else {}
    return found


def _mark(home: N8nHome, credential: dict[str, Any]) -> str:
    said = json.dumps(credential, sort_keys=True).encode()
    return hmac.new(home.encryption_key.encode(), said, hashlib.sha256).hexdigest()
