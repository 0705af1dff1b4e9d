"""Refuses flows' requests without a valid token, before their bodies are read."""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from router.errors import DatabaseAway
from router.gate.refusals import Refused, conflict
from router.http.bodies import TooMuch
from router.http.errors import error_response
from router.state.calls.flows import LookAtTurn, look_at_turn
from router.state.calls.model import Refusal
from router.state.database import Database
from router.state.flow_tokens import (
    DryToken,
    NoticeToken,
    TurnToken,
    read_dry_token,
    read_notice_token,
    read_token,
)

_GATEWAY = "/n8n/evolution/"
_DRY = "/n8n/dry/"
_DRY_GATEWAY = f"{_DRY}evolution/"
_CRASHES = "/n8n/executions/"  # small requests, with the key that n8n and the router share
_PATHS = (_GATEWAY, _DRY, _CRASHES, "/n8n/turns/", "/n8n/notices/")


class Unwanted(Exception):
    """The request gets this response, and its body is not read."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


def is_of_flow(scope: Scope) -> bool:
    """Whether this is a request to an endpoint for flows; other bodies are not needed."""
    path: str = scope["path"]
    return scope["method"] == "POST" and path.startswith(_PATHS)


def may_be_large(scope: Scope) -> bool:
    """Whether a request may contain media."""
    return bool(scope["path"].startswith((_GATEWAY, _DRY_GATEWAY)))


def refusal_of_form(scope: Scope) -> Response | None:
    """Return the response if the token does not even look like one, else None.

    A request without any token is left to the endpoint, which needs no body to refuse it.
    """
    path: str = scope["path"]
    shown = Headers(scope=scope).get("apikey")
    if path.startswith(_CRASHES) or token_of(scope) is not None:
        return None
    if may_be_large(scope):
        message = "the header apikey must be the turn's token"
        return Refused(401, message, "token").answer()
    if shown is None:
        return error_response(422, "invalid", "header apikey: Field required")
    return error_response(409, "unknown_token", "nothing was done: unknown_token")


def token_of(scope: Scope) -> TurnToken | NoticeToken | DryToken | None:
    """Return the token of a request, or None if it has none and needs none.

    A test turn's token is valid only for the endpoints of test turns, and no other token is.
    """
    path: str = scope["path"]
    shown = Headers(scope=scope).get("apikey")
    if shown is None or path.startswith(_CRASHES):
        return None
    if path.startswith(_DRY):
        return read_dry_token(shown)
    return read_token(shown) or read_notice_token(shown)


def refusal_of_token(scope: Scope, reason: str) -> Response:
    """Return the response to an unknown token in the format of its endpoint."""
    if not may_be_large(scope):
        return error_response(409, reason, f"nothing was done: {reason}")
    if reason == "unknown_notice":
        return Refused(401, "no notice has this token", "token").answer()
    return conflict(reason).answer()


def database_away(scope: Scope, error: DatabaseAway) -> Response:
    """Return the response to a flow while it is unknown whether its token is valid."""
    if may_be_large(scope):
        return Refused(503, str(error), "database_away").answer()
    return error_response(503, "database_away", str(error), {"Retry-After": "5"})


async def require_held(scope: Scope, token: object, database: Database) -> None:
    """Raise Unwanted unless a valid token may send something large now."""
    if isinstance(token, DryToken):
        return  # it is valid until the test turn ends, which is soon
    if not isinstance(token, TurnToken):
        answer = error_response(413, "too_large", "this token is good for short requests alone")
        raise Unwanted(answer)
    try:
        turn = await look_at_turn(database, LookAtTurn(**token.held))
    except DatabaseAway as error:
        raise Unwanted(database_away(scope, error)) from error
    if isinstance(turn, Refusal):
        raise Unwanted(conflict(turn.refused).answer())


def answer_to_flow(scope: Scope, too_much: TooMuch) -> Response:
    """Return the response to a flow that reaches a limit: 503 if the same may work later.

    So a flow can distinguish it from a final refusal, and its turn is retried.
    """
    status = 503 if too_much.status == 429 else too_much.status
    wait = too_much.retry_after
    headers = None if wait is None else {"Retry-After": str(wait)}
    if status == 503 and may_be_large(scope):
        answer = Refused(503, str(too_much), too_much.code).answer()
        answer.headers.update(headers or {})
        return answer
    return error_response(status, too_much.code, str(too_much), headers)
