"""`POST /webhook/{instance_name}`: verify, parse, record, answer.

How Evolution API (2.3) takes the answer: 2xx is accepted; 400, 401, 403, 404 and 422 are never
retried, so the message would be lost; anything else is retried for some 20 minutes. So the answer
is 2xx for everything that is recorded or deliberately ignored, 503 for what may work later, and 4xx
for what never can.

A flood of one contact is recorded, not refused. It costs little and is marked: beyond the limit,
the contact's messages start no turn. A flood of one instance would make others wait, so it is
answered with 429: Evolution repeats the webhooks, and gap repair fetches what Evolution gives up
on. A webhook with many events counts once per event; it is read and recorded in pieces, and other
work runs in between.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import getrandbits
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from router.errors import DatabaseAway, StateError
from router.http.bodies import Bodies, TooMuch
from router.http.errors import ErrorBody
from router.http.json_bounds import require_few_values, require_shallow
from router.http.services import find
from router.http.weight import weight_of
from router.intake.admission import admit, named_instance
from router.intake.decoding import decode
from router.intake.dependencies import IntakeServices, TheServices
from router.intake.events import NotAnEnvelope, Webhook, open_webhook, read_piece
from router.intake.rejections import Rejected
from router.intake.sieve import Sieve
from router.logs.events import Action, log_event
from router.sharing.rates import per_minute
from router.state.calls.intake import Decision
from router.state.calls.media_jobs import GiveMedia, give_media
from router.state.database import Json


class _Direct(APIRoute):
    """A route that is documented by FastAPI like any other, but answered without it.

    FastAPI's reading of the endpoint's parameters is a quarter of a webhook's cost in Python. These
    endpoints take only the path, and the services are always the same.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = _answered_by(endpoint)


def _answered_by(endpoint: Callable[..., Awaitable[Response]]) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        services = find(scope, IntakeServices)
        response = await endpoint(Request(scope, receive), services, **scope["path_params"])
        await response(scope, receive, send)

    return answer


router = APIRouter(
    route_class=_Direct,
    tags=["webhook"],
    responses={
        401: {"model": ErrorBody, "description": "No secret, or a wrong one"},
        403: {"model": ErrorBody, "description": "The caller's network is not allowed"},
        413: {"model": ErrorBody, "description": "The body is too large"},
        422: {"model": ErrorBody, "description": "Not an event of this instance"},
        429: {"model": ErrorBody, "description": "Too many; Retry-After says when to retry"},
        503: {"model": ErrorBody, "description": "Not recorded: send it again"},
    },
)
_log = logging.getLogger(__name__)
_MOST_VALUES = 100_000  # in one webhook
_LARGE = 32_768  # bytes; a larger body is parsed in a thread


@router.post(
    "/webhook/{instance_name}",
    operation_id="receive_webhook",
    summary="Receive a webhook of Evolution API",
)
@router.post("/webhook/{instance_name}/", include_in_schema=False)
@router.post(
    "/webhook/{instance_name}/{event}",
    operation_id="receive_webhook_by_event",
    summary="Receive a webhook, with byEvents",
)
@router.post("/webhook/{instance_name}//{event}", include_in_schema=False)
async def receive_webhook(
    request: Request, services: TheServices, instance_name: str, event: str | None = None
) -> Response:
    """Answers when the event is committed or ignored; never waits for an LLM."""
    del event  # the path only repeats the event that the body names
    try:
        return await _take(request, services, named_instance(instance_name))
    except Rejected as rejected:
        services.rejections.note(rejected, instance_name)
        wait = rejected.retry_after
        return _json(
            {"error": {"code": rejected.code, "message": str(rejected)}},
            status=rejected.status,
            headers=None if wait is None else {"Retry-After": str(wait)},
        )


@dataclass(slots=True)
class _Taken:
    """The result of one webhook, piece by piece."""

    correlation_id: str
    event: str = ""
    decisions: list[Decision] = field(default_factory=list)
    contact: str | None = None
    ignored: str | None = None
    refused: NotAnEnvelope | None = None


async def _take(request: Request, services: IntakeServices, instance: str) -> Response:
    await admit(request, services, instance)
    _hold_back(services, instance)
    webhook, weight = await _read(request, services, instance)
    with _kept(services.bodies, instance, weight):
        taken = await _record(services, instance, webhook)
        await _give_media(services, webhook, taken)
    if not taken.decisions:
        if taken.ignored is None:
            assert taken.refused is not None  # noqa: S101 - recorded, ignored or refused
            raise Rejected(422, "not_an_envelope", str(taken.refused)) from taken.refused
        log_event(
            _log,
            Action.WEBHOOK_IGNORED,
            "Webhook ignored",
            level=logging.DEBUG,
            event=taken.event,
            instance=instance,
            reason=taken.ignored,
        )
        return _json({"status": "ignored", "event": taken.event, "reason": taken.ignored})
    _require_recorded(instance, taken.decisions)
    first = taken.decisions[0]
    several = {} if len(taken.decisions) == 1 else {"events": len(taken.decisions)}
    log_event(
        _log,
        Action.WEBHOOK_RECEIVED,
        "Webhook received",
        event=taken.event,
        instance=instance,
        correlation_id=taken.correlation_id,
        decision=first.decision,
        session_id=first.session_id,
        contact=taken.contact,
        **several,
    )
    return _json(_answer(taken.event, taken.decisions, taken.correlation_id))


async def _record(services: IntakeServices, instance: str, webhook: Webhook) -> _Taken:
    """Have the webhook's events recorded; an unreadable event does not affect the others."""
    hashes = services.hashes
    taken = _Taken(_correlation_id(), webhook.envelope.event, ignored=webhook.ignored)
    already = 1  # the first event was counted before the body was read
    for piece in webhook.pieces:
        for _ in piece[already:]:  # every item was work, also an ignored or unreadable one
            _count_event(services, instance)
        already = 0
        try:
            parsed = read_piece(webhook.envelope, piece)
        except NotAnEnvelope as error:
            taken.refused = error
            await asyncio.sleep(0)  # other work runs before the next piece
            continue
        if parsed.ignored is not None:
            taken.ignored = parsed.ignored
            await asyncio.sleep(0)
            continue
        if not taken.decisions:
            taken.contact = hashes.in_log(parsed.events[0].get("jids"))
        try:
            decisions = await services.ingester.ingest(parsed.events, taken.correlation_id)
        except DatabaseAway as error:
            raise Rejected(
                503, "database_away", f"not all was recorded, send it again: {error}"
            ) from error
        taken.decisions.extend(decisions)
        if any(decision.outcome == "unknown_instance" for decision in decisions):
            break
    return taken


async def _give_media(services: IntakeServices, webhook: Webhook, taken: _Taken) -> None:
    """Keep the webhook's media for the media jobs, before Evolution gets its answer.

    On the Cloud channel the media exists nowhere else, and Evolution does not repeat a webhook that
    was accepted.
    """
    if webhook.media is None or len(taken.decisions) != 1 or services.media_came is None:
        return
    (decision,) = taken.decisions
    if decision.message_id is None or decision.tenant_id is None or decision.sender is not None:
        return
    asked = GiveMedia(
        tenant_id=decision.tenant_id, message_id=decision.message_id, content=webhook.media
    )
    try:
        await give_media(services.database, asked)
    except DatabaseAway as error:
        raise Rejected(503, "database_away", f"its media was not kept: {error}") from error
    except StateError as error:  # for example, it is not base64; the message is recorded anyway
        log_event(_log, Action.MEDIA_NOT_UNDERSTOOD, f"a webhook's media was not kept: {error}")
        return
    services.media_came()


def _correlation_id() -> str:
    """Return an id for this webhook's log lines. It may be guessed: it is no secret."""
    return f"{getrandbits(64):016x}"  # nosec B311


def _count_event(services: IntakeServices, instance: str) -> int | None:
    """Count one event of the instance. Return None, or the seconds until it may send more."""
    limit = per_minute(services.settings.tenant_webhooks_per_minute)
    return services.rates.exceeded(limit, "webhook", instance)


def _hold_back(services: IntakeServices, instance: str) -> None:
    wait = _count_event(services, instance)
    most = services.settings.max_waiting_webhooks
    if wait is None and services.ingester.waiting_for(instance) >= most:
        wait = 5
    if wait is not None:
        raise Rejected(
            429, "too_many_webhooks", f"too many webhooks of {instance!r}: send it later", wait
        )


async def _read(request: Request, services: IntakeServices, instance: str) -> tuple[Webhook, int]:
    """Return the webhook, and roughly how many bytes of memory it uses from now on."""
    settings = services.settings
    reading = services.bodies.reading(
        request.scope,
        request.receive,
        sender=_sender(instance),
        most=settings.max_webhook_bytes,
        without=Sieve,
    )
    try:
        async with reading as raw:
            await require_few_values(raw, _MOST_VALUES)
            if len(raw) < _LARGE:
                return _opened(instance, raw, settings.max_json_depth)
            return await asyncio.to_thread(_opened, instance, raw, settings.max_json_depth)
    except TooMuch as error:
        hint = " (MAX_WEBHOOK_BYTES)" if error.status == 413 else ""
        raise Rejected(error.status, error.code, f"{error}{hint}", error.retry_after) from error
    except NotAnEnvelope as error:
        raise Rejected(422, "not_an_envelope", str(error)) from error


def _opened(instance: str, raw: bytes, most_deep: int) -> tuple[Webhook, int]:
    """Parse a body and limit its sizes, in a thread if it is large."""
    body = decode(raw)
    require_shallow(body, raw, most_deep)
    if not isinstance(body, dict):
        raise NotAnEnvelope("the body is not a JSON object")
    webhook = open_webhook(instance, body)
    carried = 0 if webhook.media is None else 2 * len(webhook.media)
    return webhook, weight_of(raw, body, _MOST_VALUES) + carried


@contextmanager
def _kept(bodies: Bodies, instance: str, weight: int) -> Iterator[None]:
    """Count a parsed body's memory until it is recorded, so that many cannot fill the memory.

    Evolution repeats a webhook that is refused for this.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(bodies.keeping(_sender(instance), weight))
        except TooMuch as error:
            raise Rejected(error.status, error.code, str(error), error.retry_after) from error
        yield


def _sender(instance: str) -> str:
    return f"webhooks of {instance}"


def _require_recorded(instance_name: str, decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        if decision.outcome == "unknown_instance":
            raise Rejected(
                503,
                "unknown_instance",
                f"no tenant has the instance {instance_name!r} yet: add it with"
                f" `python -m scripts.tenant add {instance_name}`; Evolution will send this again",
            )
        if decision.outcome == "failed":
            code = str(decision.code)
            log_event(
                _log, Action.UNEXPECTED, "the database did not take an event",
                level=logging.WARNING, instance=instance_name,
                code=code, constraint=decision.constraint or None,
                error=decision.error,
            )  # fmt: skip
            raise Rejected(
                422 if code.startswith(("22", "23514")) else 503,
                "not_recorded",
                f"an event was not recorded: the database does not take it ({code})",
            )


def _answer(event: str, decisions: Sequence[Decision], correlation_id: str) -> Json:
    first = decisions[0]
    ignored = all(decision.outcome == "ignored" for decision in decisions)
    return {
        "status": "ignored" if ignored else "duplicate" if first.duplicate else "accepted",
        "event": event,
        "reason": first.decision,
        "correlation_id": correlation_id,
        "decisions": [
            _without_blanks(
                decision=decision.decision,
                session_id=decision.session_id,
                turn_id=decision.turn_id,
                duplicate=decision.duplicate or None,
            )
            for decision in decisions
        ],
    }


def _without_blanks(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _json(body: Json, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(body), status_code=status, headers=headers, media_type="application/json"
    )
