"""The files of the console, read once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WEB: Final = Path(__file__).parent / "web"
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file as it is served; `tag` identifies its version."""

    body: bytes
    kind: str
    tag: str


def read_files(folder: Path = WEB) -> Mapping[str, WebFile]:
    """Return the files of a folder that may be served, by their paths in it."""
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix in _KINDS)
    return {path.relative_to(folder).as_posix(): _read(path) for path in paths}


def _read(path: Path) -> WebFile:
    body = path.read_bytes()
    return WebFile(body, _KINDS[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:24]}"')
