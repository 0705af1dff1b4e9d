"""What the loopback LLM providers share: answers, failures, and the record of requests."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopback.faults import Fault, FaultPlan, cut, hang, heard_status, slow
from loopback.replies import LlmRequest, Reply, greet, tokens
from loopback.server import LoopbackServer
from loopback.waiting import DEADLINE, Changes, Gate

Json = dict[str, Any]
_CALL = "the model"
_LIST = "the list of models"


Answerer = Callable[[LlmRequest], str | Reply]


class Malformed(Exception):
    """A request that the provider answers with the error `answer`."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


class LlmServer(LoopbackServer, ABC):
    """A provider. `key`: the only accepted key; None: any. Subclasses implement a protocol."""

    def __init__(self, paths: Mapping[str, str], *, port: int = 0, key: str | None = None) -> None:
        self.key = key
        self.changes = Changes(self.story)
        self.faults = FaultPlan(self.changes)
        self.requests: list[LlmRequest] = []
        self.missing_models: set[str] = set()
        """Models that the provider does not know."""
        self.blind_models: set[str] = set()
        """Models that refuse a request with pictures."""
        self.looks: list[str] = []
        """The keys of requests for the list of models."""
        self._script: list[str | Reply] = []
        self._answerer: Answerer = greet
        routes = [
            Route(path, self._endpoint(kind), methods=["POST"]) for path, kind in paths.items()
        ]
        routes += [
            Route("/v1/models", self._list_models),
            Route("/_control/requests", self._list_requests),
            Route("/_control/answers", self._set_answers, methods=["POST"]),
            Route("/_control/faults", self._set_fault, methods=["POST", "DELETE"]),
        ]
        super().__init__(Starlette(routes=routes), port=port)

    def answers(self, *replies: str | Reply) -> None:
        """Answer the next requests with these, in this order; then as before."""
        with self.changes.lock:
            self._script.extend(replies)

    def answers_always(self, answerer: str | Reply | Answerer) -> None:
        """Answer every request with this from now on, after those of `answers`."""
        self._answerer = answerer if callable(answerer) else lambda _: answerer

    def fail(self, fault: Fault, *, times: int | None = 1) -> None:
        """Let the next `times` requests (None: all, until `heal`) fail with this fault."""
        self.faults.fail(_CALL, fault, times=times)

    def fail_list(self, fault: Fault, *, times: int | None = None) -> None:
        """Let all requests for the list of models fail with this fault, until `heal`."""
        self.faults.fail(_LIST, fault, times=times)

    def heal(self) -> None:
        """Remove the faults and open the gates."""
        self.faults.heal()

    def hold(self) -> Gate:
        """Hold every request from now on, until the gate is opened."""
        return self.faults.hold(_CALL)

    async def asked(self, times: int = 1, *, within: float = DEADLINE) -> list[LlmRequest]:
        """Wait until there have been this many requests, and return all."""
        return await self.changes.until(
            lambda: self._enough(times), f"{times} request(s)", within=within
        )

    def block_until_asked(self, times: int = 1, *, within: float = DEADLINE) -> list[LlmRequest]:
        """Like `asked`, for callers without an event loop."""
        return self.changes.block_until(
            lambda: self._enough(times), f"{times} request(s)", within=within
        )

    async def looked_at(self, times: int = 1, *, within: float = DEADLINE) -> None:
        """Wait until there have been this many requests for the list of models."""
        await self.changes.until(
            lambda: len(self.looks) >= times, f"{times} look(s) at the models", within=within
        )

    async def deserted(self, times: int = 1, *, within: float = DEADLINE) -> None:
        """Wait until this many clients have left without an answer."""
        await self.changes.until(
            lambda: sum(r.was_deserted for r in self.requests) >= times,
            f"{times} request(s) that nobody waits for any more",
            within=within,
        )

    def never_answers(self) -> Fault:
        """Return the fault of an answer that never comes."""
        return hang()

    def cuts_connection(self) -> Fault:
        """Return the fault of a connection that is cut before the answer."""
        return cut()

    def is_late(self, seconds: float) -> Fault:
        """Return a correct answer that comes late."""
        return slow(seconds)

    @property
    @abstractmethod
    def base_url(self) -> str:
        """The URL for the official SDK's `base_url`."""

    @abstractmethod
    def rate_limited(self, retry_after: float | None = None) -> Fault:
        """Return the fault 429, with Retry-After in seconds if given."""

    @abstractmethod
    def overloaded(self) -> Fault:
        """Return the fault of an overloaded provider: Anthropic 529, OpenAI 503."""

    @abstractmethod
    def broken(self) -> Fault:
        """Return the fault 500."""

    @abstractmethod
    def bad_key(self) -> Fault:
        """Return the fault 401."""

    @abstractmethod
    def no_credit(self) -> Fault:
        """Return the fault of an account without credit: Anthropic 400, OpenAI 429."""

    @abstractmethod
    def no_such_model(self) -> Fault:
        """Return the fault 404."""

    @abstractmethod
    def understand(self, kind: str, request: Request, body: Json) -> LlmRequest:
        """Read a request. Raises Malformed for a request that the provider would refuse."""

    @abstractmethod
    def refusal_of_key(self, request: Request) -> Response | None:
        """Return the refusal of a request without a valid key; None: it has one."""

    @abstractmethod
    def put_list(self, request: Request) -> Response:
        """Return the list of models in the provider's format."""

    @abstractmethod
    def put(self, kind: str, asked: LlmRequest, reply: Reply) -> Response:
        """Return the answer in the provider's format."""

    @abstractmethod
    def error(self, status: int, message: str) -> Response:
        """Return an error in the provider's format."""

    def story(self) -> str:
        """Return the requests as text."""
        lines = [
            f"  {len(r.messages)} messages -> {r.status or 'no answer'}" for r in self.requests
        ]
        return "\n".join([f"{type(self).__name__} was asked {len(lines)} time(s):", *lines])

    def limited(self, asked: LlmRequest, reply: Reply) -> Reply:
        """Return the reply, cut at `max_tokens`."""
        limit = asked.max_tokens
        if limit is None or tokens(reply.text) <= limit:
            return reply
        return Reply(reply.text[: limit * 4], "length")

    def _endpoint(self, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            try:
                body = orjson.loads(await request.body())
            except orjson.JSONDecodeError:
                return self.error(400, "The request body is not valid JSON")
            if not isinstance(body, dict):
                return self.error(400, "Input should be a valid dictionary")
            try:
                asked = self.understand(kind, request, body)
            except Malformed as fault:
                return fault.answer
            with self.changes.made():
                self.requests.append(asked)

            async def answer() -> Response:
                return self.put(kind, asked, self.limited(asked, self._next(asked)))

            response = await self.faults.play(_CALL, request, answer)
            with self.changes.made():
                asked.status = heard_status(response)
                asked.was_deserted = asked.status is None
            return response

        return serve

    async def _list_models(self, request: Request) -> Response:
        with self.changes.made():
            self.looks.append(shown_key(request))

        async def answer() -> Response:
            return self.refusal_of_key(request) or self.put_list(request)

        return await self.faults.play(_LIST, request, answer)

    def _next(self, asked: LlmRequest) -> Reply:
        with self.changes.lock:
            reply = self._script.pop(0) if self._script else self._answerer(asked)
        return Reply(reply) if isinstance(reply, str) else reply

    def _enough(self, times: int) -> list[LlmRequest]:
        return list(self.requests) if len(self.requests) >= times else []

    async def _list_requests(self, _: Request) -> Response:
        return JSONResponse([{"body": r.body, "status": r.status} for r in self.requests])

    async def _set_answers(self, request: Request) -> Response:
        self.answers(*orjson.loads(await request.body())["texts"])
        return Response(status_code=204)

    async def _set_fault(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.heal()
            return Response(status_code=204)
        given = orjson.loads(await request.body())
        faults = {
            "never_answers": self.never_answers,
            "cuts_connection": self.cuts_connection,
            "rate_limited": self.rate_limited,
            "overloaded": self.overloaded,
            "broken": self.broken,
            "bad_key": self.bad_key,
            "no_credit": self.no_credit,
            "no_such_model": self.no_such_model,
        }
        self.fail(faults[given["fault"]](), times=given.get("times", 1))
        return Response(status_code=204)


def shown_key(request: Request) -> str:
    """Return the key of a request, in either header that providers know."""
    bearer = request.headers.get("authorization", "")
    return request.headers.get("x-api-key") or bearer.removeprefix("Bearer ").strip()
