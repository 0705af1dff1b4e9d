"""The keys that n8n was given, and those that the configuration has by now.

n8n is filled once: who sets a key of an LLM later would have it in the router, and n8n would go on
without. What the configuration says of a credential otherwise than before is given to n8n; what it
says nothing of is left as builders made it in the editor.
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
    """Keep what tells whether the configuration says something else of them later."""
    noted = _noted(home) | {each["id"]: _mark(home, each) for each in given}
    (home.folder / _NOTE).write_text(json.dumps(noted, indent=1, sort_keys=True))


def to_be_given(home: N8nHome, wanted: Credentials) -> list[dict[str, Any]]:
    """Return those that the configuration has whole, and had otherwise when n8n was given them.

    Where that is not noted, it was an earlier version that gave them: none.
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
