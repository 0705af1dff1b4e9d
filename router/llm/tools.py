"""Recognises models that accept no tools, by their servers' errors."""

import re

import orjson

from router.llm.provider import ToolCall

_ABOUT_TOOLS = re.compile(r"tool|function|strict", re.IGNORECASE)
_OF_THIS_CALL = re.compile(r"fail", re.IGNORECASE)  # the model made a wrong call this time
_REFUSALS = (400, 404, 422, 501)
_MOST = 1_000  # models that are remembered, because tenants may name any


class Toolless:
    """The models of one server that accept no tools."""

    def __init__(self) -> None:
        self._models: dict[str, None] = {}

    def __contains__(self, model: str) -> bool:
        """Whether this model is known to accept no tools."""
        return model in self._models

    def learn(self, model: str, reason: str) -> None:
        """Note that the model refused a question because of its tools."""
        if _OF_THIS_CALL.search(reason):
            return
        while len(self._models) >= _MOST:
            self._models.pop(next(iter(self._models)))
        self._models[model] = None


def refuses_tools(status: int, reason: str) -> bool:
    """Whether a server's error means that it would answer the same question without tools."""
    return status in _REFUSALS and _ABOUT_TOOLS.search(reason) is not None


def read_call(name: object, given: object) -> ToolCall:
    """Return a call from a server's answer; the arguments are an object, or JSON text."""
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError:
            given = {}  # the arguments were cut off; the call itself still counts
    fields = given if isinstance(given, dict) else {}
    return ToolCall(str(name), {str(key): value for key, value in fields.items()})
