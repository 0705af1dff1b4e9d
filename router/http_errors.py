"""Errors as the REST API answers them: `{"error": {"code", "message"}}`."""

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from router.errors import (
    Conflict,
    DatabaseAway,
    Invalid,
    NotAllowed,
    NotFound,
    StateError,
    UnknownCaller,
)

_STATUS: dict[type[StateError], tuple[int, str]] = {
    NotFound: (404, "not_found"),
    Conflict: (409, "conflict"),
    Invalid: (422, "invalid"),
    NotAllowed: (403, "forbidden"),
    UnknownCaller: (401, "unauthorised"),
    DatabaseAway: (503, "database_away"),
}
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}


class ErrorDetail(BaseModel):
    """`code` is for programs; `message` names the thing, its fault and, if known, the cure."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every answer that is not 2xx."""

    error: ErrorDetail


class Unauthorised(Exception):
    """The caller did not show a right key or secret: `message` says which is wanted."""

    def __init__(self, message: str, *, code: str = "unauthorised") -> None:
        super().__init__(message)
        self.code = code


def install_error_handlers(app: FastAPI) -> None:
    """Have `app` answer every error in the one shape."""
    for kind in _STATUS:
        app.add_exception_handler(kind, _on_state_error)
    app.add_exception_handler(Unauthorised, _on_unauthorised)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)


def error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error in the one shape."""
    body = ErrorBody(error=ErrorDetail(code=code, message=message))
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


async def _on_state_error(_: Request, error: Exception) -> JSONResponse:
    status, code = _STATUS[type(error)]  # type: ignore[index]  # registered for these only
    return error_response(status, code, str(error), _HEADERS.get(status))


async def _on_unauthorised(_: Request, error: Exception) -> JSONResponse:
    code = error.code if isinstance(error, Unauthorised) else "unauthorised"
    return error_response(401, code, str(error), _HEADERS[401])


async def _on_invalid_request(_: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    return error_response(422, "invalid", "; ".join(_fault(fault) for fault in faults))


def _fault(fault: Mapping[str, object]) -> str:
    """`query tenant_id: Field required`; never the value, which may be a secret."""
    place = fault.get("loc")
    where = " ".join(str(step) for step in place) if isinstance(place, tuple) else str(place)
    return f"{where}: {fault.get('msg')}"


async def _on_http_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    codes = {404: "not_found", 405: "method_not_allowed"}
    code = codes.get(error.status_code, "http_error")
    return error_response(error.status_code, code, str(error.detail), error.headers)
