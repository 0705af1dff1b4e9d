"""One exchange with Evolution: a request for a tenant, and what its response means."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from json import JSONDecodeError
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from router.evolution.errors import (
    DEEPEST,
    MOST_OF_A_WORD,
    AnswerTooLarge,
    EvolutionAway,
    EvolutionRefused,
    SendInDoubt,
    judge_answer,
    judge_failure,
)
from router.outbound.answers import (
    MOST_VALUES,
    TooManyValues,
    read_beside_the_loop,
    read_json,
)
from router.outbound.client import for_tenant

LONGEST_WORD = 512 * 1024
"""Bytes of an answer about a call's result. Unpacking a long answer takes long, and a hostile
server may send one for every call. Evolution's longest answers contain a QR code, or a quoted
message with its thumbnail: less than a tenth of this."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One WhatsApp number on one Evolution server; the key is the instance's or the global one."""

    server_url: str
    api_key: SecretStr
    name: str


class Exchange:
    """Evolution over a shared HTTP client. Every call raises EvolutionRefused or EvolutionAway."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def _ask(
        self,
        instance: Instance,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        begin_by: float | None = None,
    ) -> Any:
        answer = await self._fetch(instance, method, path, body, begin_by=begin_by)
        return await read_beside_the_loop(answer, partial(read_answer, answer, most=MOST_OF_A_WORD))

    async def _fetch(
        self,
        instance: Instance,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        longest: int = LONGEST_WORD,
        begin_by: float | None = None,
    ) -> bytes:
        request = request_for(self._http, instance, method, path, body)
        begins_by(request, begin_by)
        request.extensions["longest"] = longest
        return (await self._exchange(request)).content

    async def _exchange(self, request: httpx.Request, *, is_send: bool = False) -> httpx.Response:
        try:
            response = await self._http.send(request)
        except httpx.RequestError as error:
            raise judge_failure(error, is_send=is_send) from error
        if response.is_success and not is_send:
            return response
        judge = partial(judge_answer, response, is_send=is_send)
        if (judged := await read_beside_the_loop(response.content, judge)) is not None:
            raise judged
        return response


def request_for(
    http: httpx.AsyncClient,
    instance: Instance,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
) -> httpx.Request:
    """Return a request for the tenant. Raises EvolutionRefused if it cannot be made."""
    url = f"{instance.server_url.rstrip('/')}/{path}/{quote(instance.name, safe='')}"
    key = instance.api_key.get_secret_value()
    if not (key.isascii() and key.isprintable()):
        raise EvolutionRefused("the key has characters that no HTTP header may hold")
    tenant = for_tenant(instance.name)
    try:
        return http.build_request(
            method, url, json=body, headers={"apikey": key}, extensions=tenant
        )
    except httpx.RequestError as error:
        raise judge_failure(error, is_send=False) from error
    except httpx.InvalidURL as error:
        raise EvolutionRefused(f"the server's URL is not valid: {error}") from error


def begins_by(request: httpx.Request, begin_by: float | None) -> None:
    """Set the time (monotonic) after which the request is not made any more; None: there is none.

    A late request is EvolutionAway.
    """
    if begin_by is not None:
        request.extensions["begin_by"] = begin_by


def read_answer(
    answer: bytes, deepest: int = DEEPEST, *, most: int = MOST_VALUES, is_send: bool = False
) -> Any:
    """Return the content of a response. Raises EvolutionAway, or SendInDoubt, if it is not JSON."""
    try:
        return read_json(answer, deepest, most)
    except ValueError as error:
        raise _unreadable(error, is_send=is_send) from error


def object_in(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _unreadable(error: ValueError, *, is_send: bool) -> EvolutionAway | SendInDoubt:
    if isinstance(error, TooManyValues) and not is_send:
        return AnswerTooLarge(f"its answer is too large: {error}")
    why = "" if isinstance(error, JSONDecodeError | UnicodeDecodeError) else f" ({error})"
    text = f"its answer is not JSON{why}: is this URL Evolution API's?"
    return SendInDoubt(text) if is_send else EvolutionAway(text)
