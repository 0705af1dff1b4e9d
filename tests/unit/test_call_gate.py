"""How many calls are answered at once, and what the gate gives to the application behind it."""

import asyncio
from typing import Any

from router.limits.middleware import CallGate, CallLimits
from router.limits.rates import Rates

LIMITS = CallLimits(
    calls_per_minute=600,
    address_calls_per_minute=3000,
    at_once=4,
    max_bytes=100,
    flow_bytes=1000,
    max_depth=8,
)


class Calls:
    """A gate, an application that answers with what it was given, and callers with slow bodies."""

    def __init__(self) -> None:
        self.gate = CallGate(self._answer, LIMITS, Rates())
        self.sent = asyncio.Event()

    async def _answer(self, _: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def ask(
        self, key: str, *, slow: bool = False, body: bytes = b"", path: str = "/api/tenants"
    ) -> tuple[int, bytes, bytes]:
        """Return the status, Retry-After and the body."""
        answers: list[dict[str, Any]] = []
        chunks = [body[start : start + 30] for start in range(0, len(body), 30)] or [b""]

        async def receive() -> dict[str, Any]:
            if slow:
                await self.sent.wait()
            chunk = chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

        async def send(message: dict[str, Any]) -> None:
            answers.append(message)

        scope = {
            "type": "http",
            "path": path,
            "query_string": b"",
            "headers": [(b"x-api-key", key.encode())],
            "client": ("192.0.2.1", 1),
        }
        await self.gate(scope, receive, send)
        headers = dict(answers[0]["headers"])
        return answers[0]["status"], headers.get(b"retry-after", b""), answers[1]["body"]


async def test_one_caller_gets_half_of_the_places_and_the_next_gets_429():
    calls = Calls()
    held = [asyncio.create_task(calls.ask("a", slow=True)) for _ in range(2)]
    await asyncio.sleep(0)
    assert (await calls.ask("a"))[:2] == (429, b"1")
    assert (await calls.ask("b"))[0] == 200
    calls.sent.set()
    assert [(await task)[0] for task in held] == [200, 200]
    assert (await calls.ask("a"))[0] == 200


async def test_where_every_place_is_taken_the_next_gets_503_but_not_the_health_check():
    calls = Calls()
    held = [asyncio.create_task(calls.ask(key, slow=True)) for key in "abcd"]
    await asyncio.sleep(0)
    assert (await calls.ask("e"))[:2] == (503, b"1")
    for path in ("/health", "/health/live", "/webhook/padaria"):
        assert (await calls.ask("e", path=path))[0] == 200
    calls.sent.set()
    assert [(await task)[0] for task in held] == [200] * 4


async def test_a_caller_that_goes_away_gives_its_place_back():
    calls = Calls()
    held = [asyncio.create_task(calls.ask(key, slow=True)) for key in "abcd"]
    await asyncio.sleep(0)
    for task in held:
        task.cancel()
    await asyncio.wait(held)
    assert (await calls.ask("e"))[0] == 200


async def test_the_application_gets_the_whole_body():
    body = b'{"a": "' + b"x" * 80 + b'"}'
    assert (await Calls().ask("a", body=body))[2] == body


async def test_a_flow_may_send_more_than_an_operator():
    calls = Calls()
    large = b'"' + b"x" * 500 + b'"'
    assert (await calls.ask("a", body=large))[0] == 413
    assert (await calls.ask("a", body=large, path="/n8n/evolution/message/sendMedia/x"))[0] == 200
    assert (await calls.ask("a", body=b"[" * 9 + b"]" * 9, path="/n8n/turns/1/done"))[0] == 422
