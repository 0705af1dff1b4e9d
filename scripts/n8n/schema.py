"""`n8n_workflows/turn.schema.json`: the payload of a turn, as builders and their tools read it."""

import json
from pathlib import Path

from router.n8n.payload import TurnPayload

FILE = "turn.schema.json"


def schema_text() -> str:
    """Return the JSON Schema of version 1 of the payload."""
    schema = TurnPayload.model_json_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schema(folder: Path) -> Path:
    """Write it; return the file."""
    file = folder / FILE
    file.write_text(schema_text())
    return file
