"""Calls over Supabase's REST API (PostgREST): SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY.

This uses supabase-py over aiohttp, which makes several times more calls a second than supabase-py's
own transport. Importing this module takes half a second, so `router.state.opening` imports it only
if it is needed.
"""

import asyncio
from collections.abc import Mapping
from typing import Self

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from postgrest import APIError
from pydantic import SecretStr
from supabase import AsyncClient, AsyncClientOptions

from router.errors import DatabaseAway, DatabaseTooSlow
from router.outbound.trust import trusted
from router.state.database import Json
from router.state.failures import in_log, is_deadlock, unstorable
from router.state.proxy_answers import ProxyAnswer, refuse_proxy_answers, what_proxy_says
from router.state.rest_failures import is_schema_cache_behind, what_postgrest_says
from router.state.sayings import Sayings

_TIMEOUT = httpx.Timeout(15.0, connect=5.0, pool=5.0)
# A connection stays open longer than the time between two looks for work.
_CONNECTIONS = 20
_LIMITS = httpx.Limits(
    max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=30
)
_PAUSES = (0.0, 0.2, 0.5)  # seconds before each further try of a call that is safe to repeat


class SupabaseDatabase:
    """One client for the whole life of the program. It connects at the first call."""

    connections = _CONNECTIONS

    def __init__(self, client: AsyncClient, http: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._http = http
        self._url = url
        self._sayings = Sayings()

    @classmethod
    async def connect(cls, url: str, key: SecretStr) -> Self:
        """Make the client of a project. URL and key are checked only by the first call."""
        secret = key.get_secret_value()
        http = httpx.AsyncClient(
            timeout=_TIMEOUT,
            transport=AiohttpTransport(verify=trusted(), limits=_LIMITS),
            event_hooks={
                "request": [] if _is_jwt(secret) else [_drop_authorization],
                "response": [refuse_proxy_answers],
            },
        )
        options = AsyncClientOptions(
            schema="public", auto_refresh_token=False, persist_session=False, httpx_client=http
        )
        return cls(await AsyncClient.create(url, secret, options), http, url)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def call(self, function: str, argument: Mapping[str, object]) -> Json:
        """See `Database.call`.

        A call is repeated only if it was certainly not carried out: there was no connection to
        PostgREST, PostgREST did not know the function yet, or PostgreSQL rolled the call back to
        end a deadlock.
        """
        for pause in (*_PAUSES, None):
            try:
                return await self._ask(function, argument)
            except (APIError, httpx.RequestError) as error:
                if pause is None or not _was_not_done(error):
                    # Not "from error": the error's text contains the details, which a traceback
                    # would print.
                    raise self._translated(error, function) from None
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _ask(self, function: str, argument: Mapping[str, object]) -> Json:
        try:
            answer = await self._client.rpc(function, {"p": argument}).execute()
        except ProxyAnswer as answered:
            raise what_proxy_says(answered, function, self._url) from answered
        except UnicodeEncodeError as error:
            raise unstorable() from error
        except (aiohttp.ClientError, httpx.StreamError, OSError, EOFError) as error:
            self._sayings.tell(function, repr(error))
            raise DatabaseAway(f"{function}: Supabase's answer broke off") from error
        if not isinstance(answer.data, dict):
            raise DatabaseAway(
                f"{function}: {self._url} answers, but not as Supabase does: set SUPABASE_URL to"
                " the Project URL (Dashboard, Settings, API)"
            )
        return answer.data

    def _translated(self, error: APIError | httpx.RequestError, function: str) -> Exception:
        if isinstance(error, APIError):
            return self._what_it_says(error.code or "", error.message or "", function)
        self._sayings.tell(function, repr(error))
        match error.__cause__:
            case aiohttp.ClientConnectorDNSError():
                return DatabaseAway(
                    f"the name in SUPABASE_URL ({self._url}) cannot be found: is it spelled as in"
                    " the dashboard, and is the project neither paused nor deleted?"
                )
            case aiohttp.ClientConnectorError():
                return DatabaseAway(f"cannot connect to Supabase at {self._url}")
        if isinstance(error, httpx.ReadTimeout):
            return DatabaseTooSlow(f"{function}: Supabase did not answer in time")
        return DatabaseAway(f"{function}: Supabase did not answer")

    def _what_it_says(self, code: str, message: str, function: str) -> Exception:
        translated = what_postgrest_says(code, message, function)
        if isinstance(translated, DatabaseAway):
            self._sayings.tell(function, in_log(code, message))
        return translated


def _was_not_done(error: APIError | httpx.RequestError) -> bool:
    """Whether a call was certainly not carried out, and may succeed in a moment.

    The transport also raises ConnectTimeout if the server closed the connection in the middle of a
    call: only the error's cause tells the two apart.
    """
    if isinstance(error, APIError):
        return is_deadlock(error.code) or is_schema_cache_behind(error.code)
    cause = error.__cause__
    return isinstance(cause, aiohttp.ClientConnectorError) and not isinstance(
        cause, aiohttp.ClientConnectorDNSError
    )


def _is_jwt(key: str) -> bool:
    return not key.startswith("sb_")


async def _drop_authorization(request: httpx.Request) -> None:
    """Send newer keys (sb_secret_…) only as `apikey`, because they are not JWTs.

    supabase-py also sends every key as a bearer token. Programs that expect a JWT there refuse it.
    """
    del request.headers["Authorization"]
