"""A simulated n8n. Its only flow answers with the reply, like the LLM, and has the same faults."""

import asyncio

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.faults.model import Model
from benchmarks.faults.terms import Terms
from loopback.faults import Fault, cut, hang, wrong_answer
from loopback.server import LoopbackServer

PATH = "/webhook"
_CRASHED: Fault = wrong_answer(500, {"code": 0, "message": "Workflow execution failed"})
_TROUBLES: dict[str, Fault] = {
    "too_many": _CRASHED,
    "cut": cut(),
    "never_answered": hang(),
}


class AnsweringFlow(LoopbackServer):
    """Makes the replies of all tenants; the model's `calm` also ends the faults here."""

    def __init__(self, model: Model, terms: Terms) -> None:
        self._model = model
        self._terms = terms
        path = f"{PATH}/{{path:path}}"
        super().__init__(
            Starlette(
                routes=[
                    Route(path, self._responds, methods=["POST"]),
                    Route(path, _other_method, methods=["GET"]),
                ]
            )
        )

    async def _responds(self, request: Request) -> Response:
        given = orjson.loads(await request.body() or b"{}")
        if "turn_id" not in given:
            return JSONResponse({})  # a notice, or a check whether the webhook exists
        heard = "\n".join(str(message["text"]) for message in given["messages"])
        shop = str(given["tenant"]["instance_name"]).removeprefix("shop-")
        conversation = self._model.conversation_in(heard)
        trouble = "none"
        if conversation is not None:
            trouble, share, conversation.parts = conversation.fates.answer()
            conversation.note("the flow is asked")
            await conversation.reached("llm")
            if trouble != "none" and not self._model.planned.calm:
                conversation.meets(f"flow {trouble}")
                if trouble == "slow":
                    await asyncio.sleep(0.8 * share * self._terms.llm_timeout)
                elif trouble == "broken":
                    return Response()  # like n8n, if a flow crashed before its last node
                else:
                    return await _TROUBLES[trouble].strike(request, None)
        usage = {"input_tokens": 100, "output_tokens": 20}
        return JSONResponse({"text": self._model.says(heard, shop), "usage": usage})


async def _other_method(_: Request) -> Response:
    said = "This webhook is not registered for GET requests. Did you mean to make a POST request?"
    return JSONResponse({"code": 404, "message": said}, 404)
