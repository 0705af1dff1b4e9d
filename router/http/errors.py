"""Errors as the REST API returns them: `{"error": {"code", "message"}}`."""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.errors import (
    Conflict,
    DatabaseAway,
    DatabaseBusy,
    Invalid,
    NotAllowed,
    NotFound,
    StateError,
    TooManyOfThese,
    TooSlow,
    UnknownCaller,
)
from router.http.unauthorised import SignInAway, Unauthorised
from router.logs.events import Action, log_event

_STATUS: dict[type[StateError], tuple[int, str]] = {
    UnknownCaller: (401, "unauthorised"),
    NotAllowed: (403, "forbidden"),
    NotFound: (404, "not_found"),
    Conflict: (409, "conflict"),
    Invalid: (422, "invalid"),
    TooManyOfThese: (429, "too_many_at_once"),
    DatabaseAway: (503, "database_away"),
    DatabaseBusy: (503, "busy"),
    TooSlow: (503, "too_slow"),
}
_HEADERS: dict[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "5"},
    503: {"Retry-After": "5"},
}

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_log = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """`code` is for programs; `message` names what is wrong and, if known, the cure."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every response that is not 2xx."""

    error: ErrorDetail


def install_error_handlers(app: FastAPI) -> None:
    """Make `app` return every error in the one format."""
    for kind in _STATUS:
        app.add_exception_handler(kind, _on_state_error)
    app.add_exception_handler(Unauthorised, _on_unauthorised)
    app.add_exception_handler(SignInAway, _on_sign_in_away)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)


def error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error in the one format."""
    body = ErrorBody(error=ErrorDetail(code=code, message=message))
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


class UnexpectedErrors:
    """ASGI middleware: logs an unexpected error, and returns it in the one format."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on."""
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            _log.debug("a caller went away before its request was complete")
        except Exception as error:
            if scope["type"] != "http" or has_begun:
                raise
            log_event(
                _log, Action.UNEXPECTED, f"unexpected {type(error).__name__}", level=logging.ERROR,
                exc_info=error,
            )  # fmt: skip
            message = "an unexpected error; see the log"
            await error_response(500, "unexpected", message)(scope, receive, send)


def answer_to_state_error(error: Exception) -> JSONResponse:
    """Return the response if the state refuses or is away. `error` is a StateError."""
    # The status of the nearest registered class: DatabaseTooSlow, for example, is a subclass.
    status, code = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    return error_response(status, code, str(error), _HEADERS.get(status))


async def _on_state_error(_: Request, error: Exception) -> JSONResponse:
    return answer_to_state_error(error)


async def _on_unauthorised(_: Request, error: Exception) -> JSONResponse:
    code = error.code if isinstance(error, Unauthorised) else "unauthorised"
    return error_response(401, code, str(error), _HEADERS[401])


async def _on_sign_in_away(_: Request, error: Exception) -> JSONResponse:
    return error_response(503, "sign_in_away", str(error), _HEADERS[503])


async def _on_invalid_request(_: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    return error_response(422, "invalid", "; ".join(_fault(fault) for fault in faults))


def _fault(fault: Mapping[str, object]) -> str:
    """Return, for example, `query tenant_id: Field required`; never the value: it may be secret."""
    place = fault.get("loc")
    where = " ".join(str(step) for step in place) if isinstance(place, tuple) else str(place)
    return f"{where}: {fault.get('msg')}"


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 400:  # FastAPI's status for bytes that are not valid text
        return error_response(422, "invalid", f"body: {error.detail}")
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods_of(request)))
        return error_response(
            405, "method_not_allowed", f"this path takes {allowed}", {"Allow": allowed}
        )
    codes = {404: "not_found"}
    code = codes.get(error.status_code, "http_error")
    return error_response(error.status_code, code, str(error.detail), error.headers)


def _methods_of(request: Request) -> set[str]:
    """Return the methods of a path: several routes may share it, each with its own method."""
    return {
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    }
