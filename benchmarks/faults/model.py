"""The LLM. Its replies name the messages that they answer, for the judge."""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.faults.conversation import MARKER, Conversation, Directory
from benchmarks.faults.terms import Terms
from loopback.anthropic import Anthropic
from loopback.faults import Fault, FaultPlan, cut, hang
from loopback.replies import LlmRequest, Reply

_FILLER = " ".join(["palavra"] * 340)  # two such parts are longer than one WhatsApp message may be
_SHOP = re.compile(r"You answer for shop-(\d+)\.")


class Model(Anthropic):
    """Answers at once, with the faults that are planned for each conversation."""

    def __init__(self, directory: Directory, terms: Terms) -> None:
        super().__init__()
        self._directory = directory
        self._numbers = itertools.count(1)
        self.planned = PlannedAnswers(self, terms)
        self.faults = self.planned
        self.answers_always(self._reply)

    def conversation_in(self, text: str) -> Conversation | None:
        """Return the conversation of the last marker in a text."""
        found = MARKER.findall(text)
        return self._directory.by_number.get(int(found[-1][0])) if found else None

    def _reply(self, asked: LlmRequest) -> Reply:
        shop = _SHOP.search(asked.system)
        return Reply(self.says("\n".join(asked.unanswered), shop[1] if shop else "?"))

    def says(self, heard: str, shop: str) -> str:
        """Return the reply to a customer's messages to a shop."""
        markers = list(dict.fromkeys(found[0] for found in MARKER.finditer(heard)))
        conversation = self.conversation_in(heard)
        count = 1 if conversation is None else conversation.parts
        token = f"R{next(self._numbers):06}"
        if conversation is not None:
            conversation.note(f"the LLM answers {' '.join(markers)} with {token}")
        parts = [
            f"{token}.{place}/{count} S{shop} para {' '.join(markers)} fim."
            + (f" {_FILLER}" if count > 1 else "")
            for place in range(1, count + 1)
        ]
        return "\n\n".join(parts)


class PlannedAnswers(FaultPlan):
    """The faults of requests. `calm` ends them."""

    def __init__(self, model: Model, terms: Terms) -> None:
        super().__init__(model.changes)
        self._model = model
        self._terms = terms
        self.calm = False

    async def play(
        self, endpoint: str, request: Request, act: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Answer a request as planned."""
        del endpoint
        messages = orjson.loads(await request.body() or b"{}").get("messages", [])
        heard = str(messages[-1].get("content")) if messages else ""
        conversation = self._model.conversation_in(heard)
        if conversation is None:
            return await act()
        trouble, share, parts = conversation.fates.answer()
        conversation.parts = parts
        conversation.note("the LLM is asked")
        await conversation.reached("llm")
        if trouble == "none" or self.calm:
            return await act()
        conversation.meets(f"LLM {trouble}")
        faults: dict[str, Fault] = {
            "too_many": self._model.rate_limited(0.2 + share / 2),
            "broken": self._model.broken(),
            "cut": cut(),
            "never_answered": hang(),
        }
        if (fault := faults.get(trouble)) is not None:
            return await fault.strike(request, None)
        await asyncio.sleep(0.8 * share * self._terms.llm_timeout)
        return await act()
