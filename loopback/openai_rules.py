"""The rules of OpenAI's API for requests, and its error texts.

There must be at least one message. `max_tokens` is deprecated, and the reasoning models (o…, gpt-5
and newer) accept only `max_completion_tokens`. In Responses, `max_output_tokens` must be 16 or
more.
"""

import re
from typing import Any

Json = dict[str, Any]

_REASONING = re.compile(r"o\d|gpt-([5-9]|\d\d)")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ROLES = ("developer", "system", "user", "assistant", "tool", "function")


def fault_in_chat(body: Json) -> Json | None:
    """Return the error for a wrong body of Chat Completions; None: it is right."""
    if wrong := _fault_in_common(body, "messages"):
        return wrong
    for place, message in enumerate(body["messages"]):
        if message.get("role") not in _ROLES:
            spelled = ", ".join(f"'{role}'" for role in _ROLES)
            fault = f"Invalid value: {message.get('role')!r}. Supported values are: {spelled}."
            return error(fault, param=f"messages[{place}].role", code="invalid_value")
        if message.get("content") is None and message["role"] != "assistant":
            return error(
                "Invalid value for 'content': expected a string, got null.",
                param=f"messages.[{place}].content",
            )
    if wrong := _fault_in_tools(body):
        return wrong
    if body.get("max_tokens") is not None and _REASONING.match(body["model"]):
        return error(
            "Unsupported parameter: 'max_tokens' is not supported with this model."
            " Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    return None


def _fault_in_tools(body: Json) -> Json | None:
    """Return what is wrong with the offered functions; strict ones must be fully described."""
    if "tools" in body and not body["tools"]:
        return error("Invalid 'tools': empty array.", param="tools", code="empty_array")
    for place, tool in enumerate(body.get("tools") or ()):
        function = tool.get("function") or {}
        where = f"tools[{place}].function"
        if tool.get("type") != "function" or not _NAME.fullmatch(function.get("name") or ""):
            return error(f"Invalid '{where}.name'.", param=f"{where}.name", code="invalid_value")
        takes = function.get("parameters") or {}
        if function.get("strict") and (
            takes.get("additionalProperties") is not False
            or set(takes.get("required", ())) != set(takes.get("properties", {}))
        ):
            return error(
                f"Invalid schema for function '{function['name']}': In context=(),"
                " 'additionalProperties' is required to be supplied and to be false, and 'required'"
                " to include every key in properties.",
                param=f"{where}.parameters",
                code="invalid_function_parameters",
            )
    return None


def fault_in_response(body: Json) -> Json | None:
    """Return the error for a wrong body of Responses; None: it is right."""
    if wrong := _fault_in_common(body, "input"):
        return wrong
    limit = body.get("max_output_tokens")
    if limit is not None and limit < 16:
        return error(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16,"
            f" but got {limit} instead.",
            param="max_output_tokens",
            code="integer_below_min_value",
        )
    return None


def _fault_in_common(body: Json, listed: str) -> Json | None:
    if not body.get("model"):
        return error("you must provide a model parameter")
    if listed not in body:
        return error(
            f"Missing required parameter: '{listed}'.",
            param=listed,
            code="missing_required_parameter",
        )
    if not body[listed]:
        return error(
            f"Invalid '{listed}': empty array. Expected an array with minimum length 1,"
            " but got an empty array instead.",
            param=listed,
            code="empty_array",
        )
    if body.get("stream"):
        return error("this loopback program answers in one piece only", param="stream")
    return None


def turns(given: str | list[Json]) -> list[tuple[str, str]]:
    """Return the role and text of each message."""
    if isinstance(given, str):
        return [("user", given)]
    return [(item.get("role", "user"), _text(item.get("content"))) for item in given]


def _text(content: str | list[Json] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.get("text", f"<{part.get('type')}>") for part in content)


def error(
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> Json:
    """Return an error in the API's format."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def unknown_model(model: str) -> Json:
    """Return the error for a model that does not exist."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return error(message, code="model_not_found")
