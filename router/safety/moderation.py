"""Asks a moderation service whether a text may be sent.

The service gets `{"input": text, "tenant_id", "instance_name", "session_id", "turn_id"}` and
answers `{"allowed": true}`, or `{"allowed": false, "reason": "…"}`. An answer in OpenAI's format,
`{"results": [{"flagged": …}]}`, is understood as well.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import httpx
from pydantic import SecretStr

from router.outbound.answers import read_beside_the_loop, read_json
from router.outbound.client import for_tenant

_LONGEST_ANSWER = 65_536  # bytes


class ModerationAway(Exception):
    """The service gave no usable answer; the text says why."""


@dataclass(frozen=True, slots=True)
class ModerationRules:
    """The deployment's service, if any, and its key; `timeout` in seconds.

    The key is sent only to that URL, never to a tenant's own service. `fail_open`: if the service
    cannot be asked, the text may be sent.
    """

    url: str | None
    key: SecretStr | None
    timeout: float
    fail_open: bool


class Moderation:
    """The moderation hook. It follows no redirects.

    A tenant's own service is called through `tenant_http`, which checks the address.
    """

    def __init__(
        self, http: httpx.AsyncClient, tenant_http: httpx.AsyncClient, rules: ModerationRules
    ) -> None:
        self._http = http
        self._tenant_http = tenant_http
        self.rules = rules

    async def objects(
        self, own_url: str | None, text: str, about: Mapping[str, object]
    ) -> str | None:
        """Return why the text may not be sent, or None. Raises ModerationAway.

        The deployment's service and the tenant's own are asked at the same time. One objection is
        enough, even if the other service fails.
        """
        asked = []
        if self.rules.url is not None:
            key = self.rules.key
            headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
            asked.append(self._asked(self._http, self.rules.url, headers, text, about))
        if own_url:
            asked.append(self._asked(self._tenant_http, own_url, {}, text, about))
        away: ModerationAway | None = None
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, ModerationAway):
                away = answer
            elif isinstance(answer, BaseException):
                raise answer
            elif answer is not None:
                return answer
        if away is not None:
            raise away
        return None

    async def _asked(
        self,
        http: httpx.AsyncClient,
        url: str,
        headers: Mapping[str, str],
        text: str,
        about: Mapping[str, object],
    ) -> str | None:
        try:
            async with asyncio.timeout(self.rules.timeout):
                answer = await self._ask(http, url, headers, {"input": text, **about})
                return await read_beside_the_loop(answer, partial(_read, answer))
        except TimeoutError as error:
            raise ModerationAway("the moderation service did not answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = type(error).__name__
            raise ModerationAway(f"the moderation service cannot be asked: {reason}") from error
        except ValueError as error:
            raise ModerationAway("the moderation service's answer cannot be read") from error

    async def _ask(
        self,
        http: httpx.AsyncClient,
        url: str,
        headers: Mapping[str, str],
        question: Mapping[str, object],
    ) -> bytes:
        request = http.stream(
            "POST",
            url,
            headers=headers,
            json=question,
            follow_redirects=False,
            extensions=for_tenant(str(question["instance_name"])),
        )
        async with request as answer:
            if answer.status_code != 200:
                raise ModerationAway(f"the moderation service answered {answer.status_code}")
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _LONGEST_ANSWER:
                    raise ModerationAway("the moderation service's answer is too long")
            return body


def _read(body: bytes) -> str | None:
    match read_json(body):
        case {"allowed": True}:
            return None
        case {"allowed": False, "reason": str(reason)}:
            return reason[:300]
        case {"allowed": False}:
            return "no reason given"
        case {"results": [*results]} if results:
            return _flagged(results)
        case _:
            raise ValueError("it says neither allowed nor results")


def _flagged(results: list[object]) -> str | None:
    for result in results:
        match result:
            case {"flagged": False}:
                continue
            case {"flagged": True, "categories": dict(categories)}:
                return ", ".join(str(name) for name, is_so in categories.items() if is_so)[:300]
            case {"flagged": True}:
                return "flagged"
            case _:
                raise ValueError("a result says nothing")
    return None
