"""The pages of the console, and their files."""

from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from router.console.dependencies import TheConsole, require_this_machine
from router.console.files import read_files
from router.console.policy import HEADERS
from router.errors import NotFound

router = APIRouter(include_in_schema=False)
_FILES: Final = read_files()
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<title>HybridFlow</title>
<link rel="icon" href="/console/assets/icon.svg">
<link rel="stylesheet" href="/console/assets/tokens.css">
<link rel="stylesheet" href="/console/assets/components.css">
<link rel="stylesheet" href="/console/assets/pages/{name}.css">
<script type="module" src="/console/assets/pages/{name}.js"></script>
</head>
<body>
<div id="page"></div>
<noscript>HybridFlow's pages need JavaScript. Please allow it.</noscript>
</body>
</html>
"""


@router.get("/")
async def begin(services: TheConsole) -> Response:
    """Redirect to the first page: the demo if there is one, otherwise the sign-in."""
    return RedirectResponse("/console" if services.demo is None else "/try", 307, HEADERS)


@router.get("/console")
async def sign_in() -> Response:
    """Show who is signed in, or the form to sign in."""
    return _page("sign-in")


@router.get("/try")
async def try_it(request: Request, services: TheConsole) -> Response:
    """Show the demo business, only on the machine where it runs."""
    if services.demo is None:
        return RedirectResponse("/console", 307, HEADERS)
    await require_this_machine(request, services)
    return _page("try")


@router.get("/console/assets/{path:path}")
async def asset(path: str, request: Request) -> Response:
    """Serve a file, or answer 304 if the browser already has it."""
    file = _FILES.get(path)
    if file is None:
        raise NotFound(f"the console has no file {path[:100]}")
    headers = {**HEADERS, "ETag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.kind)


def _page(name: str) -> Response:
    return Response(_PAGE.format(name=name), headers=HEADERS, media_type="text/html; charset=utf-8")
