"""Anthropic's Messages API as a loopback program: POST /v1/messages, count_tokens, GET /v1/models.

It is written for the official SDK (2.12), which sends the key as `Authorization: Bearer` (older
ones: `x-api-key`) and the header `anthropic-version`. Its rules: `max_tokens` is required; there is
at least one message; the first one is the user's; none is empty; the last one is not the
assistant's (current models accept no prefill); several messages of one role in a row are joined.
"""

import argparse
import re
import secrets

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from loopback.faults import Fault, wrong_answer
from loopback.llm import LlmServer, Malformed, shown_key
from loopback.pictures import fault_in_pictures
from loopback.replies import Json, LlmRequest, Reply, tokens
from loopback.serving import serve

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_MODELS = ("claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-4-5")
_STOPS = {
    "end": "end_turn",
    "length": "max_tokens",
    "refusal": "refusal",
    "filtered": "refusal",
    "tool": "tool_use",
}


class Anthropic(LlmServer):
    """The provider. Give its `base_url` to the SDK."""

    def __init__(self, *, port: int = 0, key: str | None = None) -> None:
        paths = {"/v1/messages": "message", "/v1/messages/count_tokens": "count"}
        super().__init__(paths, port=port, key=key)

    @property
    def base_url(self) -> str:
        """The URL for the SDK's `base_url`."""
        return self.url

    def rate_limited(self, retry_after: float | None = None) -> Fault:
        """Return the fault 429, with Retry-After in seconds if given."""
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        return _fault(429, "This request would exceed your organization's rate limit", headers)

    def overloaded(self) -> Fault:
        """Return the fault 529."""
        return _fault(529, "Overloaded")

    def broken(self) -> Fault:
        """Return the fault 500."""
        return _fault(500, "Internal server error")

    def bad_key(self) -> Fault:
        """Return the fault 401."""
        return _fault(401, "invalid x-api-key")

    def no_credit(self) -> Fault:
        """Return the fault 400 of an account without credit."""
        return _fault(
            400,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans &"
            " Billing to upgrade or purchase credits.",
        )

    def no_such_model(self) -> Fault:
        """Return the fault 404."""
        return _fault(404, "model: claude-nobody")

    def error(self, status: int, message: str) -> Response:
        """Return an error in the API's format."""
        body = _error(status, message)
        headers = {"request-id": str(body["request_id"])}
        return JSONResponse(body, status_code=status, headers=headers)

    def understand(self, kind: str, request: Request, body: Json) -> LlmRequest:
        """Read a request. Raises Malformed with the API's refusal."""
        if (refused := self.refusal_of_key(request)) is not None:
            raise Malformed(refused)
        if fault := _fault_in(body, needs_limit=kind == "message"):
            raise Malformed(self.error(400, fault))
        is_blind = body["model"] in self.blind_models
        if fault := fault_in_pictures(body["messages"], is_blind=is_blind):
            raise Malformed(self.error(400, fault))
        if body["model"] in self.missing_models:
            raise Malformed(self.error(404, f"model: {body['model']}"))
        return LlmRequest(
            path=request.url.path,
            body=body,
            headers=dict(request.headers),
            model=body["model"],
            system=_text(body.get("system") or ""),
            messages=tuple((m["role"], _text(m["content"])) for m in body["messages"]),
            max_tokens=body.get("max_tokens"),
        )

    def refusal_of_key(self, request: Request) -> Response | None:
        """Return the refusal of a request without a valid key; None: it has one."""
        key = shown_key(request)
        if not key:
            return self.error(401, "x-api-key header is required")
        if self.key is not None and key != self.key:
            return self.error(401, "invalid x-api-key")
        if "anthropic-version" not in request.headers:
            return self.error(400, "anthropic-version: header is required")
        return None

    def put_list(self, request: Request) -> Response:
        """Return the list of models, at most `limit`. An account without credit gets it, too."""
        limit = request.query_params.get("limit", "20")
        if not (limit.isdigit() and 1 <= int(limit) <= 1000):
            return self.error(400, "limit: Input should be between 1 and 1000")
        shown = _MODELS[: int(limit)]
        told = {
            "data": [
                {
                    "type": "model",
                    "id": name,
                    "display_name": name,
                    "created_at": "2026-02-04T00:00:00Z",
                }
                for name in shown
            ],
            "first_id": shown[0],
            "last_id": shown[-1],
            "has_more": len(shown) < len(_MODELS),
        }
        return JSONResponse(told, headers={"request-id": f"req_{secrets.token_hex(12)}"})

    def put(self, kind: str, asked: LlmRequest, reply: Reply) -> Response:
        """Return the answer in the API's format."""
        identifier = {"request-id": f"req_{secrets.token_hex(12)}"}
        if kind == "count":
            return JSONResponse({"input_tokens": tokens(asked.text)}, headers=identifier)
        content: list[Json] = [{"type": "text", "text": reply.text}] if reply.text else []
        if reply.tool:
            call = {"type": "tool_use", "id": f"toolu_{secrets.token_hex(12)}"}
            content.append({**call, "name": reply.tool, "input": reply.given or {}})
        stop = _STOPS[reply.stop]
        details = {"type": "refusal", "category": None, "explanation": None}
        message: Json = {"id": f"msg_{secrets.token_hex(12)}", "type": "message"}
        message |= {"role": "assistant", "model": asked.model, "content": content}
        message |= {"stop_reason": stop, "stop_sequence": None}
        message["stop_details"] = details if stop == "refusal" else None
        message["usage"] = {
            "input_tokens": tokens(asked.text),
            "output_tokens": max(tokens(reply.text), 1),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "standard",
        }
        return JSONResponse(message, headers=identifier)


def _fault_in(body: Json, *, needs_limit: bool) -> str | None:
    """Return what is wrong with a body, in the API's words."""
    required = ("model", "max_tokens", "messages") if needs_limit else ("model", "messages")
    for name in required:
        if name not in body:
            return f"{name}: Field required"
    if needs_limit and (not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1):
        return "max_tokens: Input should be greater than or equal to 1"
    if not isinstance(body["messages"], list):
        return "messages: Input should be a valid list"
    if not body["messages"]:
        return "messages: at least one message is required"
    if body.get("stream"):
        return "stream: this loopback program answers in one piece only"
    return _fault_in_tools(body) or _fault_in_messages(body["messages"])


def _fault_in_tools(body: Json) -> str | None:
    for place, tool in enumerate(body.get("tools") or ()):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool.get("name") or ""):
            return (
                f"tools.{place}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )
        if (tool.get("input_schema") or {}).get("type") != "object":
            return f"tools.{place}.custom.input_schema.type: Field required"
    return None


def _fault_in_messages(messages: list[Json]) -> str | None:
    for place, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant", "system"):
            return f"messages.{place}.role: Input should be 'user', 'assistant' or 'system'"
        if not message.get("content"):
            return f"messages.{place}: all messages must have non-empty content"
        if not _text(message["content"]).strip():
            return "messages: text content blocks must contain non-whitespace text"
    if messages[0]["role"] != "user":
        return 'messages: first message must use the "user" role'
    if messages[-1]["role"] == "assistant":
        return (
            "This model does not support assistant message prefill. The conversation must end with"
            " a user message."
        )
    return None


def _text(content: str | list[Json]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text", f"<{block.get('type')}>") for block in content)


def _error(status: int, message: str) -> Json:
    error = {"type": _TYPES[status], "message": message}
    return {"type": "error", "error": error, "request_id": f"req_{secrets.token_hex(12)}"}


def _fault(status: int, message: str, headers: dict[str, str] | None = None) -> Fault:
    return wrong_answer(status, _error(status, message), headers)


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m loopback.anthropic", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): a free port")
    parser.add_argument("--key", help="the only key that is accepted (default: any)")
    given = parser.parse_args()
    return serve(Anthropic(port=given.port, key=given.key))


if __name__ == "__main__":
    raise SystemExit(main())
