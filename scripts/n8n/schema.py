"""The JSON Schemas of what the router posts to n8n, for builders and their tools."""

import json
from pathlib import Path

from pydantic import BaseModel

from router.n8n.payload import TurnPayload
from router.notices.payload import NoticePayload

SCHEMAS: dict[str, type[BaseModel]] = {
    "turn.schema.json": TurnPayload,
    "notice.schema.json": NoticePayload,
}


def schema_text(model: type[BaseModel]) -> str:
    """Return the text of a schema's file."""
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema into `folder`."""
    for name, model in SCHEMAS.items():
        (folder / name).write_text(schema_text(model))
