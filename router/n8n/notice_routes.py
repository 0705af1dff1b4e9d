"""What a flow in n8n may do with a notice's token: send the notice, and report that it is told."""

import logging
from typing import Annotated

from fastapi import Header
from fastapi.responses import JSONResponse

from router.errors import DatabaseAway
from router.gate.refusals import Refused, conflict
from router.http.part import part
from router.logs.events import Action, log_event
from router.n8n.answers import as_evolution, failure
from router.n8n.dependencies import TheServices
from router.n8n.requests import notice_of
from router.sending.outbox import Outbox
from router.sending.outcomes import SendFailed, SendStopped
from router.sending.outgoing import TEXT_PATH, Outgoing
from router.sending.speakers import notice
from router.state.calls.model import Refusal
from router.state.calls.notices import FinishNotice, NoticeFinished, finish_notice
from router.state.database import Json
from router.state.flow_tokens import NoticeToken, read_notice_token
from router.whatsapp.clean import as_text, clean
from router.whatsapp.jids import normalise_jid

router = part(
    "n8n",
    prefix="/n8n/notices",
    responses={
        409: {"description": "It was given out again, or there is no such notice"},
        422: {"description": "A value cannot be right"},
        503: {"description": "The database is away; try again soon"},
    },
)
_log = logging.getLogger(__name__)
_FORBIDDEN = {
    "instance": "this notice is of another instance",
    "number": "a notice goes to the tenant's notify_number, to nobody else",
}

_Token = Annotated[str, Header(alias="apikey", description="The notice's token")]


@router.post("/{notice_id}/done", summary="Say that a notice has been told")
async def done(services: TheServices, notice_id: int, token: _Token) -> JSONResponse:
    """Close the notice; safe to repeat. 409: it was given out again, or there is no such notice."""
    shown = read_notice_token(token)
    answer: NoticeFinished | Refusal = Refusal(refused="unknown_token")
    if shown is not None and shown.notice_id == notice_id:
        answer = await finish_notice(services.database, FinishNotice(**shown.held, handler="n8n"))
    if isinstance(answer, Refusal):
        code = answer.refused
        error = {"code": code, "message": f"nothing was done: {code}"}
        return JSONResponse({"error": error}, status_code=409)
    log_event(_log, Action.NOTICE_TOLD, "told by n8n", notice_id=notice_id)
    return JSONResponse(answer.as_told())


async def send_notice(
    outbox: Outbox, token: NoticeToken, tenant: str, path: str, instance: str, body: Json
) -> JSONResponse:
    """Send a notice of a tenant like the gateway: 201 as Evolution answers. Raises Refused.

    A send in doubt gets the same answer without an id, so that the notice is not sent twice.
    """
    if path != TEXT_PATH:
        raise Refused(404, f"a notice's token is good for {TEXT_PATH} alone", "path")
    told = notice_of(body)
    text = as_text(told["text"]).strip()
    if not text:
        raise Refused(400, 'instance requires property "text"', "text")
    number = as_text(told.get("number"))
    speaker = notice(
        token,
        tenant,
        instance_name=clean(instance),
        number=normalise_jid(number) if number else None,
    )
    try:
        sent = await outbox.send(speaker, Outgoing.plain(text))
    except SendStopped as stopped:
        raise _refusal(stopped.reason) from stopped
    except DatabaseAway as error:
        raise Refused(503, str(error), "database_away") from error
    except SendFailed as failed:
        log_event(
            _log, Action.EVOLUTION_SEND_FAILED, str(failed),
            level=logging.WARNING, notice_id=token.notice_id,
        )  # fmt: skip
        raise failure(failed) from failed
    return as_evolution(sent, Outgoing.plain(sent.body))


def _refusal(reason: str) -> Refused:
    if reason == "unknown_notice":
        return Refused(401, "no notice has this token", "token")
    if reason in _FORBIDDEN:
        return Refused(403, _FORBIDDEN[reason], reason)
    return conflict(reason)
