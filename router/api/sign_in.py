"""The caller's roles, and signing in and out in browsers, by a cookie that scripts cannot read."""

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Header, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials

from router.api.dependencies import (
    ApiServices,
    TheDatabase,
    bearer_shown,
    key_shown,
)
from router.api.keyed import keyed
from router.errors import Conflict, StateError
from router.feed.opening import Streams
from router.gate.cookies import sign_in_of
from router.gate.sign_ins import SignIn
from router.http.part import part
from router.http.services import given
from router.state.calls import changes
from router.state.calls.who_am_i import AskWhoIAm, KnownCaller, who_am_i

router = keyed("access")
out = part("access", prefix="/api")
"""Signing out needs no key and no database, so that the cookie is deleted in any case."""

_Services = Annotated[ApiServices, Depends(given(ApiServices))]
_Streams = Annotated[Streams, Depends(given(Streams))]
_PATIENCE = 2.0  # seconds to tell other routers through the database
_CANNOT_SEAL = "there is nothing to seal a sign-in with: set SECRETS_KEY (openssl rand -hex 32)"


@router.get("/me", summary="Who am I?")
async def get_caller(database: TheDatabase) -> KnownCaller:
    """The name of the key or token, and its roles."""
    return await who_am_i(database, AskWhoIAm())


@router.post("/session", summary="Sign in: store the given key in a cookie")
async def create_sign_in(
    services: _Services,
    database: TheDatabase,
    response: Response,
    header: Annotated[str | None, Security(key_shown)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_shown)],
    origin: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> KnownCaller:
    """For browsers. The cookie lasts twelve hours, and ends with the key; scripts cannot read it.

    409: the deployment has no SECRETS_KEY.
    """
    if not services.sign_ins.are_possible:
        raise Conflict(_CANNOT_SEAL)
    who = await who_am_i(database, AskWhoIAm())
    key = header or (bearer.credentials if bearer else "")
    cookie = services.cookies.of_page(origin)
    response.headers["Set-Cookie"] = cookie.kept(services.sign_ins.make(key))
    return who


@out.delete("/session", status_code=204, summary="Sign out: delete the cookie")
async def end_sign_in(
    services: _Services, streams: _Streams, request: Request, response: Response
) -> None:
    """Ends this browser's sign-in and its streams only, not the key or other sign-ins."""
    sign_in = sign_in_of(request.scope)
    if sign_in is not None:
        streams.feed.sign_out(sign_in.mark)
        await _tell_other_routers(services, sign_in)
    for cookie in services.cookies.read:
        response.headers.append("Set-Cookie", cookie.dropped)


async def _tell_other_routers(services: ApiServices, sign_in: SignIn) -> None:
    """End this browser's streams in other routers; if it fails, they end with the sign-in."""
    with suppress(TimeoutError, StateError):
        async with asyncio.timeout(_PATIENCE):
            asked = changes.EndSignIn(sign_in=sign_in.mark)
            await changes.end_sign_in(services.entrances.look_ups, asked)
