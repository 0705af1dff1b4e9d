"""Who am I, and signing in and out in a browser: a key becomes a cookie that no script can read."""

from typing import Annotated

from fastapi import Depends, Header, Response, Security
from fastapi.security import HTTPAuthorizationCredentials

from router.api.dependencies import (
    ApiServices,
    TheDatabase,
    bearer_shown,
    key_shown,
)
from router.api.keyed import keyed
from router.errors import Conflict
from router.http.part import part
from router.http.services import given
from router.state.calls.who_am_i import AskWhoIAm, KnownCaller, who_am_i

router = keyed("access")
out = part("access", prefix="/api")
"""Signing out needs no key and no database: the cookie is gone whatever else is."""

_Services = Annotated[ApiServices, Depends(given(ApiServices))]
_CANNOT_SEAL = "there is nothing to seal a sign-in with: set SECRETS_KEY (openssl rand -hex 32)"


@router.get("/me", summary="Who am I?")
async def get_caller(database: TheDatabase) -> KnownCaller:
    """What the key or token is called, and what it may do where."""
    return await who_am_i(database, AskWhoIAm())


@router.post("/session", summary="Sign in: have the key that is shown kept in a cookie")
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


@out.delete("/session", status_code=204, summary="Sign out: have the cookie forgotten")
async def end_sign_in(services: _Services, response: Response) -> None:
    """Nothing else ends: not the key, and no other browser's sign-in."""
    for cookie in services.cookies.read:
        response.headers.append("Set-Cookie", cookie.dropped)
