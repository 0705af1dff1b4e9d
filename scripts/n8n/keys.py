"""The keys that n8n was given, compared with those in the configuration now.

n8n is filled once: somebody who sets a key of an LLM later would have it in the router, and n8n
would go on without it. Credentials that have changed in the configuration are given to n8n; those
that the configuration does not contain stay as builders made them in the editor.
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
    """Store what tells later whether the configuration has changed."""
    noted = _noted(home) | {each["id"]: _mark(home, each) for each in given}
    (home.folder / _NOTE).write_text(json.dumps(noted, indent=1, sort_keys=True))


def to_be_given(home: N8nHome, wanted: Credentials) -> list[dict[str, Any]]:
    """Return those that are complete in the configuration, and changed since n8n got them.

    If that is not recorded, an earlier version gave them: none.
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
