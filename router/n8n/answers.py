"""The gateway's responses to a send, in Evolution's form."""

from fastapi.responses import JSONResponse

from router.evolution.errors import NotOnWhatsApp
from router.gate.refusals import Refused
from router.sending.outcomes import InDoubt, SendFailed, Sent
from router.sending.outgoing import Outgoing


def as_evolution(sent: Sent | InDoubt, message: Outgoing) -> JSONResponse:
    """Return the 201 for a message on the phone; the same request gets the same response again.

    It has the format of Evolution's own response on a phone's channel, without what only Evolution
    knows (keys and URLs of media, thumbnails). A send in doubt has no id.
    """
    echo = message.echo
    key = {"remoteJid": sent.jid, "fromMe": True}
    return JSONResponse(
        {
            "key": key | {"id": sent.wa_id if isinstance(sent, Sent) else None},
            "status": "PENDING",
            "message": echo.message,
            "messageType": echo.message_type,
        },
        status_code=201,
    )


def failure(failed: SendFailed) -> Refused:
    """Return the refusal for a send that certainly did not leave Evolution."""
    if failed.is_away:
        return Refused(503, str(failed), "evolution_away")
    nobody = isinstance(failed.cause, NotOnWhatsApp)
    reason = "not_on_whatsapp" if nobody else "evolution_refused"
    return Refused(400, str(failed), reason)
