"""The REST API's error answers, and the checks of a call's JSON that cause them."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse

Json = dict[str, Any]

_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_TYPES = {"string": str, "boolean": bool, "integer": int, "array": list, "object": dict}


class Refusal(Exception):
    """A call that is answered with an error: its status and message."""

    def __init__(self, status: int, message: Any, *, error: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self._error = error

    def answer(self) -> JSONResponse:
        """Return the error as the API's answer."""
        body = error_body(self.status, self.message)
        if self._error is not None:
            body["error"] = self._error
        return JSONResponse(body, status_code=self.status)


def error_body(status: int, message: Any) -> Json:
    """Return the JSON of an error; `message` is a string or a list."""
    reason = _REASONS.get(status, "Internal Server Error")
    return {"status": status, "error": reason, "response": {"message": message}}


def refused(*message: Any) -> Refusal:
    """Return the refusal of a call that cannot be carried out."""
    return Refusal(400, list(message))


def require(
    body: Mapping[str, Any], fields: Mapping[str, str], *, optional: Mapping[str, str] | None = None
) -> None:
    """Raise the refusal if one of `fields` is missing or has the wrong type."""
    faults = [f'instance requires property "{name}"' for name in fields if name not in body]
    for name, kind in {**fields, **(optional or {})}.items():
        if name in body and not _is(body[name], kind):
            faults.append(
                "Invalid format" if name == "number" else f"{name} is not of a type(s) {kind}"
            )
    if faults:
        raise refused(faults)


def require_one_of(body: Mapping[str, Any], name: str, allowed: Sequence[str]) -> None:
    """Raise the refusal if a field has none of these values."""
    if body[name] not in allowed:
        raise refused([f"{name} is not one of enum values: {','.join(allowed)}"])


def _is(value: Any, kind: str) -> bool:
    if kind == "integer" and isinstance(value, bool):
        return False
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])
