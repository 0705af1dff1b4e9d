"""Reads a flow's answer: the reply, a handoff, or why there is no reply. Pure.

An empty answer never counts as silence, because n8n answers 200 without a body if a flow crashed
before its Respond node. Technical texts never reach a customer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from router.llm.errors import LlmEmpty, LlmError, LlmFailed
from router.llm.reasoning import without_reasoning
from router.logs.scrubber import scrubbed
from router.n8n.answered_messages import Conversation, messages_of, text_parts
from router.n8n.flow_errors import failure_of
from router.n8n.flow_executions import Execution
from router.n8n.wrappings import BadAnswer, unwrapped
from router.outbound.answers import beginning, read_json
from router.replies.making import Part, Reply
from router.state.calls.model import Cost
from router.whatsapp.clean import clean

_LONGEST_REASON = 500
_LONGEST_SUMMARY = 2000
_LONGEST_SILENCE = 200
_LONGEST_NAME = 100
_MOST_TOKENS = 100_000_000
_REASON = "the AI asked for a human"
_STARTED = "workflow was started"
_BESIDE = frozenset({"usage", "execution_id", "model", "provider", "turn_id", "intermediateSteps"})
_OF_A_REPLY = ("text", "messages", "handoff", "silence", "output", "choices", "content")
_SAID = frozenset({"text", "messages", "handoff", "silence"})


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply in parts; the last may be a handoff. Without parts, `silence` says why."""

    parts: tuple[Part, ...]
    silence: str | None
    cost: Cost
    execution_id: object = None


@dataclass(frozen=True, slots=True)
class Begun:
    """The flow has begun and will send by itself, as in the gateway contract."""

    execution_id: object = None


Reading: TypeAlias = Answered | Begun


def reply_of(said: Answered, execution: Execution | None) -> Reply:
    """Return a flow's reply; tokens that it does not report are unknown."""
    cost = said.cost
    return Reply(
        parts=said.parts,
        handler="n8n",
        provider=cost.get("provider"),
        model=cost.get("model"),
        tokens_in=cost.get("tokens_in"),
        tokens_out=cost.get("tokens_out"),
        execution_id=None if execution is None else execution.execution_id,
        execution_url=None if execution is None else execution.url,
    )


def read_answer(body: bytes, about: Conversation) -> Reading:
    """Read a flow's answer that has a success status. Raises LlmError if there is no reply."""
    try:
        return _read(body, about)
    except BadAnswer as bad:
        raise LlmFailed(scrubbed(clean(f"the flow's answer: {bad}"))) from bad


def is_reply(body: bytes, about: Conversation) -> bool:
    """Whether a flow of the gateway contract answers with a reply, not that it has begun.

    Any other body of its own ({"result": "ok"}) is not a reply: it was never read.
    """
    try:
        said = read_json(body)
        while isinstance(said, list) and len(said) == 1:
            said = said[0]
        if isinstance(said, dict) and isinstance(said.get("json"), dict):
            said = said["json"]
        if not isinstance(said, dict) or said.get("execution_id"):
            return False
        if all(said.get(name) is None for name in _OF_A_REPLY):
            return False
        return isinstance(_read(body, about), Answered)
    except (ValueError, BadAnswer, LlmError):
        return False


def read_failure(status: int, body: bytes) -> LlmError:
    """Return the turn's failure from an error that a flow, or n8n for it, answered with."""
    try:
        said = read_json(body)
    except ValueError:
        said = None
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    where = f"n8n answered {status}"
    if isinstance(said, dict):
        error = said.get("error", said)
        return failure_of(
            {"status": status, "error": error} if status != 500 else error, where=where
        )
    text = "" if b"<" in body[:200] else beginning(body, 200)
    return failure_of({"status": status, "message": text} if status != 500 else text, where=where)


def _read(body: bytes, about: Conversation) -> Reading:
    if not body.strip():
        raise BadAnswer(
            "it is empty, and that is not silence: did the flow end before it answered?"
        )
    try:
        found = read_json(body)
    except ValueError:
        found = _text_of(body)
    said = unwrapped(found)
    if (error := said.get("error")) is not None and not said.keys() & _SAID:
        if _is_started(error):
            return Begun()
        raise failure_of(error, where="the flow failed")
    if said.keys() - {"usage"} == {"execution_id"}:
        return Begun(said["execution_id"])
    return _answered(said, about)


def _text_of(body: bytes) -> object:
    """Return the value of a body that models have wrapped in a code fence. Raises BadAnswer."""
    text = body.decode(errors="replace").strip()
    if text.startswith("```"):
        return text
    if text[:1] == "<":
        raise BadAnswer("it is a page of HTML: a proxy's, or of another program than n8n")
    raise BadAnswer('it is not JSON: answer {"text": "…"}')


def _answered(said: Mapping[str, Any], about: Conversation) -> Answered:
    said = {name: value for name, value in said.items() if value is not None}
    if error := said.get("error"):
        raise failure_of(error, where="the flow failed")
    if unknown := sorted(said.keys() - _SAID - _BESIDE - {"error"}):
        raise BadAnswer(f"{unknown[0][:40]}: the contract has no such field")
    if "text" in said and "messages" in said:
        raise BadAnswer("it has text and messages: put the text into messages")
    cost = _cost(said)
    silence = _silence(said)
    parts = _parts(said, about)
    if silence is not None and parts:
        raise BadAnswer("silence: it says something as well")
    if silence is None and not parts:
        raise BadAnswer("it says nothing, and does not say that it means to: that is not silence")
    return Answered(parts, silence, cost, said.get("execution_id"))


def _parts(said: Mapping[str, Any], about: Conversation) -> tuple[Part, ...]:
    parts: tuple[Part, ...] = ()
    if "text" in said:
        text = said["text"]
        if isinstance(text, str) and not without_reasoning(clean(text)).strip():
            raise LlmEmpty("the flow's answer: text: there is no text in it")
        parts = text_parts(text, "text")
    elif "messages" in said:
        parts = messages_of(said["messages"], about)
    if "handoff" not in said:
        return parts
    handoff = said["handoff"]
    if not isinstance(handoff, dict):
        raise BadAnswer('handoff: it must be an object: {"reason": "…"}')
    if unknown := sorted(handoff.keys() - {"reason", "summary", "say"}):
        raise BadAnswer(f"handoff.{unknown[0][:40]}: there is no such field")
    called = {
        "reason": _cut(handoff.get("reason"), "handoff.reason", _LONGEST_REASON) or _REASON,
        "summary": _cut(handoff.get("summary"), "handoff.summary", _LONGEST_SUMMARY),
    }
    if not handoff.get("say"):
        return (*parts, {"handoff": called})
    first, *rest = text_parts(handoff["say"], "handoff.say")
    return (*parts, {"handoff": called, "text": first}, *rest)


def _silence(said: Mapping[str, Any]) -> str | None:
    if "silence" not in said:
        return None
    why = said["silence"]
    told = without_reasoning(clean(why)).strip() if isinstance(why, str) else ""
    if not told:
        raise BadAnswer("silence: it must say why, in words")
    return told[:_LONGEST_SILENCE]


def _cut(value: object, where: str, longest: int) -> str | None:
    """Return a text for the people of the business; a long one is cut rather than refused."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadAnswer(f"{where}: it must be a text")
    return without_reasoning(clean(value)).strip()[:longest] or None


def _cost(said: Mapping[str, Any]) -> Cost:
    """Return the cost that the answer reports, without impossible values."""
    usage = said.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    told_in = _tokens(usage, "tokens_in", "input_tokens", "prompt_tokens", "promptTokens")
    told_out = _tokens(
        usage, "tokens_out", "output_tokens", "completion_tokens", "completionTokens"
    )
    for name in ("cache_read_input_tokens", "cache_creation_input_tokens"):
        if told_in is not None:
            told_in = min(told_in + (_tokens(usage, name) or 0), _MOST_TOKENS)
    cost = Cost(
        provider=_name(usage.get("provider") or said.get("provider")),
        model=_name(usage.get("model") or said.get("model")),
    )
    if told_in is not None or told_out is not None:
        cost["tokens_in"], cost["tokens_out"] = told_in or 0, told_out or 0
    return cost


def _tokens(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
            return value
    return None


def _name(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return " ".join(clean(value).split())[:_LONGEST_NAME] or None


def _is_started(error: object) -> bool:
    if isinstance(error, dict):
        error = error.get("message")
    return isinstance(error, str) and error.strip().lower() == _STARTED
