"""PostgREST's errors: `{"code", "details", "hint", "message"}`, and the status of each."""

import asyncpg
from starlette.responses import JSONResponse, Response

# The longest matching beginning of a SQLSTATE decides; without one, 400.
_STATUS = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "25": 500,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "53": 503,
    "54": 413,
    "55": 500,
    "57": 500,
    "58": 500,
    "F0": 500,
    "HV": 500,
    "P0": 500,
    "XX": 500,
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "53400": 500,
    "57P01": 503,
    "P0001": 400,
    "42501": 403,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
}


class Refused(Exception):
    """PostgREST refuses a request itself."""

    def __init__(
        self, status: int, code: str, message: str, hint: str | None = None, details: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.hint = hint
        self.details = details or None

    def response(self) -> Response:
        """Return the error as an answer."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else None
        return _response(self.status, self.code, str(self), self.details, self.hint, headers)


def refused_by_postgresql(error: asyncpg.PostgresError, *, anonymous: bool) -> Response:
    """Return PostgREST's answer to an error of PostgreSQL."""
    code = error.sqlstate or "XX000"
    status = _status(code)
    if code == "42501" and anonymous:
        status = 401
    detail = getattr(error, "detail", None)
    hint = getattr(error, "hint", None)
    return _response(status, code, str(error.args[0]), detail, hint, None)


def _status(code: str) -> int:
    if code.startswith("PT") and code[2:].isdecimal():
        return int(code[2:])
    for length in (5, 2):
        if code[:length] in _STATUS:
            return _STATUS[code[:length]]
    return 400


def _response(
    status: int,
    code: str,
    message: str,
    details: str | None,
    hint: str | None,
    headers: dict[str, str] | None,
) -> Response:
    body = {"code": code, "details": details, "hint": hint, "message": message}
    return JSONResponse(body, status_code=status, headers=headers)
