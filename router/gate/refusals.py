"""The gateway's refusals, in Evolution's error format, with the reason."""

from fastapi.responses import JSONResponse

_REASONS = {
    "paused": "a human has taken this conversation over: say nothing",
    "superseded": "this is closed: say nothing",
    "stale": "another attempt has this, or its lease has run out: say nothing",
    "in_doubt": "this may be on the phone already, and the router finds out: say nothing more",
    "has_answered": "the flow has answered, and that is being said: say nothing besides",
    "not_sent": "nothing of what was sent has left, so this is not done: the turn is tried again",
    "too_many_sends": "the turn has already sent 500 messages: no turn may send more",
    "no_number": "the tenant has no notify_number",
    "reply_refused": "this may not be sent; the turn's error says by which rule",
}


class Refused(Exception):
    """The flow's request was not carried out: the response that Evolution would give."""

    def __init__(self, status: int, message: str, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    def answer(self) -> JSONResponse:
        """Return the response in Evolution's format, with the reason in `error`: n8n shows that."""
        return JSONResponse(
            {
                "status": self.status,
                "error": str(self),
                "response": {"message": [str(self)], "reason": self.reason},
            },
            status_code=self.status,
        )


def conflict(reason: str) -> Refused:
    """Return the 409 for a refusal of the fence."""
    return Refused(409, said_of(reason), reason)


def said_of(reason: str) -> str:
    """Return in words why the fence refused."""
    return _REASONS.get(reason, reason)
