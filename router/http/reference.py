"""The reference: /openapi.json, and /docs, where Swagger UI shows it.

Swagger UI's files come from a package, not from a CDN. Both pages exist on your own machine (with
the embedded database), elsewhere only with API_DOCS=true. The document is large, so its bytes are
made once. A request for it counts for its IP address, like all requests without a credential.
"""

import importlib.util
import logging
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Final

import orjson
from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response

from router.logs.events import Action, log_event

_log = logging.getLogger(__name__)
_PACKAGE: Final = "fastapi_offline"  # only its files are used
_FILES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>HybridFlow</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; img-src data:; script-src 'self';"
    " style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_START: Final = """\
SwaggerUIBundle({url: "/openapi.json", dom_id: "#reference", deepLinking: true})
"""


def add_reference(app: FastAPI) -> None:
    """Serve the reference; if the files of /docs are not installed, log that instead."""
    app.add_api_route("/openapi.json", _document(app), include_in_schema=False)
    spec = importlib.util.find_spec(_PACKAGE)  # finds the package without importing it
    if spec is None or spec.origin is None:
        cure = "pip install -r requirements.txt, or API_DOCS=false"
        log_event(
            _log, Action.STARTED, f"/docs is not served: its files are not installed: {cure}",
            level=logging.WARNING,
        )  # fmt: skip
        return
    folder = Path(spec.origin).parent / "static"

    async def page() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    app.add_api_route("/docs", page, include_in_schema=False)
    app.add_api_route("/docs/start.js", start, include_in_schema=False)
    for name, kind in _FILES.items():
        _serve(app, name, folder / name, kind)


def _document(app: FastAPI) -> Callable[[], Awaitable[Response]]:
    @cache
    def content() -> bytes:
        return orjson.dumps(app.openapi())

    async def document() -> Response:
        return Response(content(), media_type="application/json")

    return document


def _serve(app: FastAPI, name: str, path: Path, kind: str) -> None:
    async def file() -> FileResponse:
        return FileResponse(path, media_type=kind)

    app.add_api_route(f"/docs/{name}", file, include_in_schema=False)
