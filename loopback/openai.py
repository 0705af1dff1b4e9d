"""OpenAI's API as a loopback program: Chat Completions, Responses, the list of models.

It is written for the official SDK (3.54). OpenAI recommends Responses for new projects; compatible
servers offer Chat Completions.
"""

import argparse
import secrets
import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from loopback.faults import Fault, wrong_answer
from loopback.llm import LlmServer, Malformed, shown_key
from loopback.openai_rules import error, fault_in_chat, fault_in_response, turns, unknown_model
from loopback.pictures import fault_in_pictures
from loopback.replies import Json, LlmRequest, Reply, tokens, written_arguments
from loopback.serving import serve

_FINISHES = {
    "end": "stop",
    "length": "length",
    "refusal": "stop",
    "filtered": "content_filter",
    "tool": "tool_calls",
}
_REFUSAL = "I'm sorry, I can't help with that."


class OpenAI(LlmServer):
    """The provider. Give its `base_url` to the SDK."""

    def __init__(self, *, port: int = 0, key: str | None = None) -> None:
        paths = {"/v1/chat/completions": "chat", "/v1/responses": "response"}
        super().__init__(paths, port=port, key=key)

    @property
    def base_url(self) -> str:
        """The URL for the SDK's `base_url`."""
        return f"{self.url}/v1"

    def rate_limited(self, retry_after: float | None = None) -> Fault:
        """Return the fault 429, with Retry-After in seconds if given."""
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        message = "Rate limit reached for requests"
        return wrong_answer(
            429, error(message, kind="requests", code="rate_limit_exceeded"), headers
        )

    def overloaded(self) -> Fault:
        """Return the fault 503."""
        message = "That model is currently overloaded with other requests."
        return wrong_answer(503, error(message, kind="server_error"))

    def broken(self) -> Fault:
        """Return the fault 500."""
        message = "The server had an error while processing your request."
        return wrong_answer(500, error(message, kind="server_error"))

    def bad_key(self) -> Fault:
        """Return the fault 401."""
        return wrong_answer(401, error("Incorrect API key provided.", code="invalid_api_key"))

    def no_credit(self) -> Fault:
        """Return the fault 429 of an account without credit."""
        message = (
            "You exceeded your current quota, please check your plan and billing details. For more"
            " information on this error, read the docs."
        )
        kind = "insufficient_quota"
        return wrong_answer(429, error(message, kind=kind, code=kind))

    def no_such_model(self) -> Fault:
        """Return the fault 404."""
        return wrong_answer(404, unknown_model("gpt-nobody"))

    def error(self, status: int, message: str) -> Response:
        """Return an error in the API's format."""
        return JSONResponse(error(message), status_code=status, headers=_identifier())

    def understand(self, kind: str, request: Request, body: Json) -> LlmRequest:
        """Read a request. Raises Malformed with the API's refusal."""
        if (refused := self.refusal_of_key(request)) is not None:
            raise Malformed(refused)
        wrong = fault_in_chat(body) if kind == "chat" else fault_in_response(body)
        if wrong is not None:
            raise Malformed(JSONResponse(wrong, status_code=400))
        is_blind = body["model"] in self.blind_models
        if kind == "chat" and (seen := fault_in_pictures(body["messages"], is_blind=is_blind)):
            raise Malformed(JSONResponse(error(seen), status_code=400))
        if body["model"] in self.missing_models:
            raise Malformed(JSONResponse(unknown_model(body["model"]), status_code=404))
        spoken = turns(body["messages"] if kind == "chat" else body["input"])
        told = [text for role, text in spoken if role in ("system", "developer")]
        limits = ("max_completion_tokens", "max_tokens", "max_output_tokens")
        return LlmRequest(
            path=request.url.path,
            body=body,
            headers=dict(request.headers),
            model=body["model"],
            system="\n".join([*filter(None, [body.get("instructions")]), *told]),
            messages=tuple(turn for turn in spoken if turn[0] in ("user", "assistant")),
            max_tokens=next((body[name] for name in limits if body.get(name)), None),
        )

    def refusal_of_key(self, request: Request) -> Response | None:
        """Return the refusal of a request without a valid key; None: it has one."""
        key = shown_key(request)
        if key and self.key in (None, key):
            return None
        message = "Incorrect API key provided." if key else "You didn't provide an API key."
        return JSONResponse(error(message, code="invalid_api_key"), status_code=401)

    def may_only_answer(self) -> Fault:
        """Return the refusal of the list for a key that may only use models."""
        message = (
            "You have insufficient permissions for this operation. Missing scopes:"
            " api.model.read. Check that you have the correct role in your organization, and if"
            " you're using a restricted API key, that it has the necessary scopes."
        )
        return wrong_answer(403, error(message, code="missing_scope"))

    def put_list(self, _: Request) -> Response:
        """Return the list of models."""
        made = {"object": "model", "created": 1_700_000_000, "owned_by": "openai"}
        data = [{"id": name, **made} for name in ("gpt-5", "gpt-5-mini", "gpt-4o")]
        return JSONResponse({"object": "list", "data": data}, headers=_identifier())

    def put(self, kind: str, asked: LlmRequest, reply: Reply) -> Response:
        """Return the answer in the API's format."""
        put = _completion if kind == "chat" else _response
        return JSONResponse(put(asked, reply), headers=_identifier())


def _completion(asked: LlmRequest, reply: Reply) -> Json:
    declined = reply.stop == "refusal"
    message: Json = {"role": "assistant", "content": None if declined else reply.text}
    message |= {"refusal": (reply.text or _REFUSAL) if declined else None, "annotations": []}
    if reply.tool:
        called = {"name": reply.tool, "arguments": written_arguments(reply)}
        call = {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": called}
        message |= {"content": reply.text or None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "logprobs": None}
    read, written = tokens(asked.text), max(tokens(reply.text), 1)
    completion: Json = {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": "chat.completion"}
    completion |= {"created": int(time.time()), "model": asked.model}
    completion["choices"] = [choice | {"finish_reason": _FINISHES[reply.stop]}]
    completion["usage"] = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    return completion | {"service_tier": "default", "system_fingerprint": None}


def _response(asked: LlmRequest, reply: Reply) -> Json:
    why = {"length": "max_output_tokens", "filtered": "content_filter"}.get(reply.stop)
    status = "incomplete" if why else "completed"
    part: Json = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    if reply.stop == "refusal":
        part = {"type": "refusal", "refusal": reply.text or _REFUSAL}
    output = {"type": "message", "id": f"msg_{secrets.token_hex(12)}", "status": status}
    read, written = tokens(asked.text), max(tokens(reply.text), 1)
    response: Json = {"id": f"resp_{secrets.token_hex(12)}", "object": "response"}
    response |= {"created_at": int(time.time()), "status": status, "error": None}
    response |= {"incomplete_details": {"reason": why} if why else None, "model": asked.model}
    response |= {"instructions": asked.body.get("instructions"), "metadata": {}}
    response["output"] = [output | {"role": "assistant", "content": [part]}]
    response |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    response |= {"max_output_tokens": asked.max_tokens, "temperature": 1.0, "top_p": 1.0}
    response["usage"] = {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
    return response


def _identifier() -> dict[str, str]:
    return {"x-request-id": f"req_{secrets.token_hex(12)}"}


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m loopback.openai", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): a free port")
    parser.add_argument("--key", help="the only key that is accepted (default: any)")
    given = parser.parse_args()
    return serve(OpenAI(port=given.port, key=given.key))


if __name__ == "__main__":
    raise SystemExit(main())
