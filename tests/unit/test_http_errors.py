"""What callers of the REST API get for what the state answers."""

import httpx
import pytest
from fastapi import FastAPI

from router.errors import (
    Conflict,
    DatabaseAway,
    DatabaseTooSlow,
    Invalid,
    NotAllowed,
    NotFound,
    StateError,
    UnknownCaller,
)
from router.http.errors import install_error_handlers


@pytest.mark.parametrize(
    ("error", "status", "code", "header"),
    [
        (NotFound, 404, "not_found", None),
        (Conflict, 409, "conflict", None),
        (Invalid, 422, "invalid", None),
        (NotAllowed, 403, "forbidden", None),
        (UnknownCaller, 401, "unauthorised", ("WWW-Authenticate", "Bearer")),
        (DatabaseAway, 503, "database_away", ("Retry-After", "5")),
        (DatabaseTooSlow, 503, "database_away", ("Retry-After", "5")),  # one of those
    ],
)
async def test_each_error_has_its_status_and_code(
    error: type[StateError], status: int, code: str, header: tuple[str, str] | None
):
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/")
    async def ask() -> None:
        raise error("so it is")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
        answer = await client.get("/")
    assert answer.status_code == status
    assert answer.json() == {"error": {"code": code, "message": "so it is"}}
    if header:
        assert answer.headers[header[0]] == header[1]
