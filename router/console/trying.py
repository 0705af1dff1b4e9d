"""The endpoints of the page /try: both phones, the story of the last message, and faults.

They control only the demo, only on the machine where it runs, and need no sign-in. Texts are in the
query, because no body is read of a call without a credential.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from router.configuration.demo import Demo
from router.console.dependencies import ConsoleServices, TheConsole, require_this_machine
from router.console.phones import Fault, Phones
from router.console.steps import Step, seconds_passed, steps_of
from router.errors import NotAllowed, NotFound
from router.feed.followers import Look
from router.feed.following import EventStream, follow
from router.feed.opening import Streams
from router.gate.cookies import is_of_own_page
from router.http.services import given
from router.state.calls.changes import FollowTenant, follow_tenant
from router.state.calls.demo import PassDemoTime, pass_demo_time
from router.state.calls.pauses import AutoResume, ResumeSession, auto_resume, resume_session
from router.state.calls.reading import ListSessions, Session, list_sessions
from router.state.calls.story import TellTurn, tell_turn

_DYING = 0.2  # seconds until the router is killed, in which the answer is sent


async def _require_own_page(request: Request) -> None:
    """Raise NotAllowed for a call by another page, even of this machine: it would take places."""
    if request.method == "GET":
        # A typed address, and a program that is not a browser, name no other page.
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise NotAllowed("the demo is shown to its own page alone")
    elif not is_of_own_page(request.headers):
        raise NotAllowed("the demo is moved by its own page alone")


router = APIRouter(
    prefix="/try",
    include_in_schema=False,
    dependencies=[Depends(require_this_machine), Depends(_require_own_page)],
)
_Text = Annotated[str, Query(min_length=1, max_length=1000)]


async def _phones(services: TheConsole) -> Phones:
    return Phones(_demo(services), services.http)


ThePhones = Annotated[Phones, Depends(_phones)]


_BY: Mapping[str, object] = {"kind": "script", "name": "demo"}
"""The caller for the demo's page; it has no rights anywhere else."""


class Shown(BaseModel):
    """The current state of the demo.

    `turn` is the turn of the steps; `handler` makes its reply, or has made it; `waits_for` is the
    service that it waits for; `seconds` is the time since the message arrived; `is_called` means
    that the AI has called a human, who has not come yet, and is silent.
    """

    instance: str
    llm_is_played: bool
    transcript: list[dict[str, Any]]
    turn: int | None
    attempt: int | None
    handler: str | None
    waits_for: str | None
    steps: list[Step]
    seconds: float | None
    is_paused: bool
    is_called: bool
    pause_ends_at: Any


@router.get("/state")
async def state(services: TheConsole, phones: ThePhones) -> Shown:
    """Return all that the page shows."""
    demo = phones.demo
    transcript = await phones.transcript()
    asked = [each["wa_id"] for each in transcript if each["author"] == "customer"]
    told = None
    if asked:
        told = await tell_turn(
            services.database, TellTurn(tenant_id=demo.tenant_id, wa_id=asked[-1])
        )
    turn = None if told is None else told.turn
    session = await _session(services, demo)
    return Shown(
        instance=demo.instance_name,
        llm_is_played=demo.llm_url is not None,
        transcript=transcript,
        turn=None if turn is None else turn["id"],
        attempt=None if turn is None else turn["attempt"],
        handler=None if turn is None else turn["handler"] or services.only_handler,
        waits_for=None if turn is None else turn["waits_for"],
        steps=[] if told is None else steps_of(turn, told.happenings),
        seconds=None if told is None else seconds_passed(told.happenings, told.now),
        is_paused=session is not None and session.is_paused,
        is_called=session is not None and _waits_for_a_human(session),
        pause_ends_at=None if session is None else session.pause_ends_at,
    )


@router.get("/stream")
async def follow_demo(
    services: TheConsole, streams: Annotated[Streams, Depends(given(Streams))]
) -> EventStream:
    """Tell the page that something has changed; it is the same kind of stream as the API's."""
    tenant_id = _demo(services).tenant_id
    asked = FollowTenant(tenant_id=tenant_id)
    read = partial(follow_tenant, services.database, asked)
    return await follow(streams, Look(tenant_id=tenant_id, claim=_BY), read)


@router.post("/customer", status_code=204)
async def customer_writes(text: _Text, phones: ThePhones) -> None:
    """Write as the customer."""
    await phones.customer_writes(text)


@router.post("/owner", status_code=204)
async def owner_writes(text: _Text, phones: ThePhones) -> None:
    """Write by hand as the owner."""
    await phones.owner_writes(text)


@router.post("/resume", status_code=204)
async def resume(services: TheConsole) -> None:
    """Return the conversation to the AI."""
    demo = _demo(services)
    session = await _session(services, demo)
    if session is not None:
        asked = ResumeSession(
            tenant_id=demo.tenant_id,
            session_id=session.id,
            source="operator",
            policy=services.policy,
        )
        await resume_session(services.database, asked)
        services.wake()


@router.post("/pass-time", status_code=204)
async def pass_time(services: TheConsole) -> None:
    """Let the pause expire, and end it as the cron job would."""
    asked = PassDemoTime(tenant_id=_demo(services).tenant_id, policy=services.policy)
    over = await pass_demo_time(services.database, asked)
    if over.session_ids:
        ended = AutoResume(policy=services.policy, session_ids=tuple(over.session_ids))
        await auto_resume(services.database, ended)
        services.wake()


@router.post("/break/{fault}", status_code=204)
async def break_it(fault: Fault, phones: ThePhones) -> None:
    """Cause a fault outside the router."""
    await phones.break_it(fault)


@router.post("/kill", status_code=204)
async def kill(services: TheConsole) -> None:
    """Kill this router, as `kill -9` does; the demo's supervisor starts another one."""
    _demo(services)
    asyncio.get_running_loop().call_later(_DYING, _kill_self)


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _session(services: ConsoleServices, demo: Demo) -> Session | None:
    asked = ListSessions(tenant_id=demo.tenant_id, limit=1, policy=services.policy)
    return next(iter((await list_sessions(services.database, asked)).items), None)


def _waits_for_a_human(session: Session) -> bool:
    return session.handoff is not None and session.handoff.state == "waiting"


def _demo(services: ConsoleServices) -> Demo:
    if services.demo is None:
        raise NotFound("no demo is played here")
    return services.demo
