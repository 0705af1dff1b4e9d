"""What the gateway answers instead of sending: Evolution's error shape, with the reason."""

from fastapi.responses import JSONResponse

_REASONS = {
    "paused": "a human has taken this conversation over",
    "superseded": "this is closed",
    "stale": "another attempt has this, or its lease has run out",
    "in_doubt": "this may be on the phone already; the router finds out",
    "too_many_sends": "the turn has sent 500 messages already: there is no end of them",
    "no_number": "the tenant has no notify_number",
    "reply_refused": "this may not be sent; the turn's error says by which rule",
}


class Refused(Exception):
    """The flow's request was not carried out: what Evolution would answer in its place."""

    def __init__(self, status: int, error: str, message: str, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.reason = reason

    def answer(self) -> JSONResponse:
        """Return it as Evolution answers errors."""
        return JSONResponse(
            {
                "status": self.status,
                "error": self.error,
                "response": {"message": [str(self)], "reason": self.reason},
            },
            status_code=self.status,
        )


def conflict(reason: str) -> Refused:
    """Return the 409 for what the fence refuses."""
    return Refused(409, "Conflict", _REASONS.get(reason, reason), reason)
