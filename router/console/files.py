"""The files that the console is made of, read once."""

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
    """A file as it is served; `tag` tells it from any other version of it."""

    body: bytes
    kind: str
    tag: str


def read_files(folder: Path = WEB) -> Mapping[str, WebFile]:
    """Return what browsers may have of a folder, by its path there."""
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix in _KINDS)
    return {path.relative_to(folder).as_posix(): _read(path) for path in paths}


def _read(path: Path) -> WebFile:
    body = path.read_bytes()
    return WebFile(body, _KINDS[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:24]}"')
