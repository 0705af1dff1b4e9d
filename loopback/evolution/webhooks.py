"""Posts webhooks like Evolution API 2.3.6, and records every attempt.

There are ten tries. The wait doubles each time, up to sixty times the first one, with 20 % jitter.
400, 401, 403, 404 and 422 are not retried. Retries are kept in memory, and end when the program
stops. The JWT of `jwt_key` is made once, before the tries (webhook.controller.ts). Unlike in
Evolution, the first tries of one chat's webhooks are made one after the other, so that a
conversation arrives in order unless a test wants otherwise. Retries do not hold up later webhooks,
as in Evolution.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import random
import ssl
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import httpx
import orjson

from loopback.waiting import Changes

Json = dict[str, Any]
State = Literal["held", "under way", "delivered", "refused", "given up", "dropped", "not wanted"]

TRIES = 10
NOT_RETRIED = frozenset({400, 401, 403, 404, 422})
_SETTLED = frozenset({"delivered", "refused", "given up", "dropped", "not wanted"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a delivery: the status and text of its answer, or why there was none."""

    status: int | None
    answer: str = ""
    error: str = ""


class Delivery:
    """The delivery of one event to one address. Await it to wait until it is settled."""

    def __init__(self, changes: Changes, url: str, headers: Mapping[str, str], body: Json) -> None:
        self._changes = changes
        self.url = url
        self.headers = dict(headers)
        self.body = body
        self.state: State = "under way"
        self.attempts: list[Attempt] = []
        self._on_release: Callable[[], None] = lambda: None

    @property
    def event(self) -> str:
        """The event's name, such as `messages.upsert`."""
        return str(self.body["event"])

    @property
    def wa_id(self) -> str:
        """The id of the event's message; empty if it has none."""
        data = self.body.get("data") or {}
        if not isinstance(data, dict):
            return ""
        return str(data.get("keyId") or data.get("id") or data.get("key", {}).get("id") or "")

    @property
    def answer(self) -> Any:
        """The JSON of the latest answer."""
        return orjson.loads(self.attempts[-1].answer)

    def release(self) -> None:
        """Release a held delivery."""
        self._on_release()

    def wait(self) -> Self:
        """Block until the delivery is settled."""
        self._changes.block_until(self._settled, self._expectation())
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self._changes.until(self._settled, self._expectation()).__await__()
        return self

    async def first_try(self) -> None:
        """Wait until the first try has ended."""
        await self._changes.until(lambda: self.attempts or self._settled(), self._expectation())

    def tell(self, state: State, attempt: Attempt | None = None) -> None:
        """Record the delivery's state."""
        with self._changes.made():
            self.state = state
            if attempt is not None:
                self.attempts.append(attempt)

    def on_release(self, act: Callable[[], None]) -> None:
        """Set what `release` does."""
        self._on_release = act

    def __repr__(self) -> str:
        tries = ", ".join(str(a.status or a.error) for a in self.attempts)
        return f"<{self.event} {self.wa_id} {self.state} [{tries}]>"

    def _settled(self) -> bool:
        return self.state in _SETTLED

    def _expectation(self) -> str:
        return f"an answer to {self!r}"


@dataclass(frozen=True, slots=True)
class Route:
    """How to deliver: the lane, the delay, and the delay of a repetition (None: no repetition)."""

    lane: str | None
    late: float = 0.0
    again_after: float | None = None


@dataclass(slots=True)
class Wire:
    """Posts deliveries in the program's event loop. `retry_seconds` is the first wait.

    Without `in_order`, webhooks of one chat do not wait for each other.
    """

    retry_seconds: float = 0.05
    timeout_seconds: float = 30.0
    in_order: bool = True
    _http: httpx.AsyncClient | None = None
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def open(self) -> None:
        """Start posting, in the current event loop."""
        # Like axios on Node 24, whose agent keeps a connection for five seconds.
        limits = httpx.Limits(max_connections=None, keepalive_expiry=5.0)
        self._http = httpx.AsyncClient(
            timeout=self.timeout_seconds,
            limits=limits,
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nothing: loopback has no TLS
        )
        self._turns.clear()

    async def close(self) -> None:
        """Stop posting."""
        if self._http is not None:
            await self._http.aclose()

    def lane(self, chat: str) -> str | None:
        """Return the lane in which a chat's webhooks wait for each other; None: they do not."""
        return chat if self.in_order else None

    async def deliver(self, delivery: Delivery, route: Route) -> None:
        """Post a delivery until it is settled."""
        try:
            await asyncio.sleep(route.late)
            await self._deliver(delivery, route)
        except asyncio.CancelledError:
            delivery.tell("dropped")
            raise

    async def _deliver(self, delivery: Delivery, route: Route) -> None:
        lane, again = route.lane, route.again_after
        lock = self._turns.setdefault(lane, asyncio.Lock()) if lane else asyncio.Lock()
        done = False
        async with lock:
            if again is not None:
                delivery.tell("under way", await self._post(delivery))
            if not again:
                done = await self._try(delivery, 1)
        if again:
            await asyncio.sleep(again)  # outside the lane: no other waits for this
            done = await self._try(delivery, 1)
        for tries in range(2, TRIES + 1):
            if done:
                return
            await asyncio.sleep(self._pause(tries - 1))
            done = await self._try(delivery, tries)

    async def _try(self, delivery: Delivery, tries: int) -> bool:
        attempt = await self._post(delivery)
        if attempt.status is not None and 200 <= attempt.status < 300:
            delivery.tell("delivered", attempt)
        elif attempt.status in NOT_RETRIED:
            delivery.tell("refused", attempt)
        elif tries == TRIES:
            delivery.tell("given up", attempt)
        else:
            delivery.tell("under way", attempt)
            return False
        return True

    async def _post(self, delivery: Delivery) -> Attempt:
        if self._http is None:
            raise RuntimeError("the wire is not open")
        headers = {"Accept": "application/json, text/plain, */*", "User-Agent": "axios/1.12.2"}
        headers |= {"Content-Type": "application/json", **delivery.headers}
        try:
            answer = await self._http.post(
                delivery.url, content=_encoded(delivery.body), headers=headers
            )
        except httpx.HTTPError as error:
            return Attempt(None, error=f"{type(error).__name__}: {error}")
        return Attempt(answer.status_code, answer.text)

    def _pause(self, failures: int) -> float:
        wait = self.retry_seconds * min(2.0 ** (failures - 1), 60.0)
        return max(self.retry_seconds, wait * (1 + 0.2 * random.uniform(-1, 1)))


def _encoded(body: Json) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair: escaped, like in JSON.stringify
        return json.dumps(body).encode()


def sent_headers(configured: Mapping[str, str], now: float) -> dict[str, str]:
    """Return the headers to send: `jwt_key` becomes a Bearer token for ten minutes, HS256."""
    headers = dict(configured)
    key = headers.pop("jwt_key", None)
    if key is not None:
        headers["Authorization"] = f"Bearer {_token(key, int(now))}"
    return headers


def _token(key: str, now: int) -> str:
    claims = {"iat": now, "exp": now + 600, "app": "evolution", "action": "webhook"}
    parts = (_base64url(orjson.dumps(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signed = b".".join(parts)
    return (signed + b"." + _base64url(hmac.digest(key.encode(), signed, hashlib.sha256))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
