"""Unwraps answers: n8n's items, agents' outputs, LLMs' own responses, code fences. Pure.

The result is always an object of the contract, or BadAnswer: `text`, `messages`, `handoff`,
`silence`, `error`, `execution_id`, with the known cost as `usage`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from router.llm.endings import ending_of
from router.llm.errors import LlmAway, LlmFailed, LlmOutOfRoom, LlmRefused
from router.llm.reasoning import without_reasoning
from router.n8n.flow_errors import failure_of
from router.whatsapp.clean import clean
from router.whatsapp.splitting import finish_truncated

Said = Mapping[str, Any]

_DEEPEST = 8
_FENCED = re.compile(
    r"\A\s*(?:```|~~~)[a-zA-Z]{0,12}[ \t]*\r?\n(.*?)\r?\n?(?:```|~~~)\s*\Z", re.DOTALL
)
_LIKE_JSON = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*[{\"])")
_WRITTEN_DOWN = re.compile(r"\{\s*\"(?:text|messages|handoff|silence)\"\s*:")
_FENCE_BEGINS = re.compile(r"\A\s*(?:```|~~~)[a-zA-Z]{0,12}[ \t]*(?:\r?\n|\Z)")
_LIKE_JSON_CUT_OFF = re.compile(r"\s*(?:\{\s*(?:[\"}]|\Z)|\[\s*(?:[{\"]|\Z)|\Z)")
_JSON_CUT_OFF = "the model wrote JSON, and its limit of tokens cut it off"
OF_THE_CONTRACT = frozenset({"text", "messages", "handoff", "silence", "error"})
_OF_A_MESSAGE = frozenset({"text", "media", "audio", "sticker", "reaction", "location", "contact"})
_BESIDE = frozenset(
    {
        *("pairedItem", "binary", "intermediateSteps", "usage", "model", "provider", "index", "id"),
        *("tokenUsage", "finish_reason", "finishReason", "logprobs", "status", "metadata"),
        *("estimatedTokens", "created", "created_at", "object", "type", "role", "sessionId"),
        *("turn_id", "execution_id"),
    }
)
_INNER = ("json", "output", "response", "result", "answer", "data", "body", "reply")
_WHAT_IS_SAID = OF_THE_CONTRACT | {*_INNER, "content", "choices", "message"}
"""If these fields are all null, the answer says nothing, and does not report that a flow began."""


class BadAnswer(Exception):
    """The answer does not follow the contract; the text names what is wrong with it."""


def unwrapped(answer: object) -> Said:
    """Return the contract's object in an answer. Raises BadAnswer, and LlmError as an LLM would."""
    return _unwrapped(answer, 0)


def _unwrapped(value: object, depth: int) -> Said:
    if depth > _DEEPEST:
        raise BadAnswer("the answer is wrapped more than eight times")
    match value:
        case str():
            return _of_text(value, depth)
        case dict():
            return _of_object(value, depth)
        case list():
            return _of_list(value, depth)
        case None:
            raise BadAnswer("the answer is empty: nothing, null or {} is not silence")
        case _:
            raise BadAnswer(f"the answer is {_kind(value)}, and must be an object")


def _of_text(text: str, depth: int) -> Said:
    """Read a model's text: it is JSON of the contract, or the text to say."""
    text = without_reasoning(clean(text))
    inside = fenced[1] if (fenced := _FENCED.match(text)) else text
    if inside.lstrip()[:1] in ("{", "["):
        try:
            written = json.loads(inside, parse_constant=_no_number)
        except (ValueError, RecursionError):
            written = None
        if isinstance(written, dict | list) and written:
            return _that_says(_unwrapped(written, depth + 1))
    if (within := _written_within(text)) is not None:
        return _that_says(_unwrapped(within, depth + 1))
    if _LIKE_JSON.match(inside):
        raise BadAnswer("the text begins like JSON, but is not what the contract asks for")
    return {"text": text}


def _written_within(text: str) -> Said | None:
    """Return the only JSON answer within other words ("Here is the JSON: …"), or None."""
    if (found := _WRITTEN_DOWN.search(text)) is None:
        return None
    try:
        written, end = json.JSONDecoder(parse_constant=_no_number).raw_decode(text, found.start())
    except (ValueError, RecursionError):
        return None
    alone = _WRITTEN_DOWN.search(text, end) is None
    return written if alone and not written.keys() - OF_THE_CONTRACT - _BESIDE else None


def _that_says(said: Said) -> Said:
    """Return JSON from a text if it says something: a text never reports that a flow has begun.

    Raises BadAnswer.
    """
    if not said.keys() & OF_THE_CONTRACT:
        raise BadAnswer("the text is JSON, and has none of the contract's fields")
    return said


def _of_list(items: list[Any], depth: int) -> Said:
    """Read a list: items of n8n, or blocks of an LLM's content."""
    if not items:
        raise BadAnswer("the answer is an empty list: that is not silence")
    if len(items) == 1:
        return _unwrapped(items[0], depth + 1)
    if all(isinstance(item, dict) and isinstance(item.get("type"), str) for item in items):
        return {"text": _text_of_blocks(items)}
    bare = [_bare(item) for item in items]
    if all(isinstance(item, dict) and item.keys() & _OF_A_MESSAGE for item in bare):
        return {"messages": bare}
    raise BadAnswer(f"the answer is a list of {len(items)} items: which of them is it?")


def _of_object(found: dict[str, Any], depth: int) -> Said:
    said = {name: value for name, value in found.items() if value is not None}
    if not said.keys() - _BESIDE and (not _execution(said) or found.keys() & _WHAT_IS_SAID):
        raise BadAnswer("the answer is empty: nothing, null or {} is not silence")
    if (of_llm := _of_llm(said, depth)) is not None:
        return of_llm
    if said.keys() & OF_THE_CONTRACT:
        return _of_contract(said, depth)
    inner = [name for name in _INNER if name in said]
    if len(inner) == 1 and not said.keys() - _BESIDE - {inner[0]}:
        within = _unwrapped(said[inner[0]], depth + 1)
        usage = said.get("usage") or said.get("tokenUsage")
        cost = {"usage": usage} if usage and not within.get("usage") else {}
        return {**_execution(said), **within, **cost}
    if _execution(said):
        return said
    if said.keys() == {"message"} or {"code", "message"} <= said.keys() <= {
        "code",
        "message",
        "hint",
    }:
        return {"error": said}
    unknown = sorted(said.keys() - _BESIDE)
    raise BadAnswer(f"it has none of the contract's fields, but {_listed(unknown)}")


def _of_contract(said: dict[str, Any], depth: int) -> Said:
    """Read an object of the contract; its text may again contain JSON."""
    said = _filled(said)
    text = said.get("text")
    alone = not said.keys() - _BESIDE - {"text"}
    if alone and isinstance(text, dict | list):
        within = _that_says(_unwrapped(text, depth + 1))
    elif alone and isinstance(text, str):
        within = _of_text(text, depth + 1)
    else:
        return said
    beside = ("usage", "model", "execution_id")
    kept: Said = {name: said[name] for name in beside if name in said}
    return {**kept, **within}


def _filled(said: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty fields, because models fill in every field of a schema."""
    empty = {name for name in OF_THE_CONTRACT & said.keys() if is_left_empty(said[name])}
    if said.keys() & OF_THE_CONTRACT <= empty:
        return said
    return {name: value for name, value in said.items() if name not in empty}


def is_left_empty(value: object) -> bool:
    """Whether a field is so empty that it counts as missing."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value is False or value == []


def _of_llm(said: dict[str, Any], depth: int) -> Said | None:
    """An LLM API's response, passed on unchanged; None: it is something else."""
    content, choices, output = said.get("content"), said.get("choices"), said.get("output")
    if said.get("error") and any(isinstance(each, list) for each in (content, choices, output)):
        raise failure_of(said["error"], where="the LLM broke off its answer")
    if isinstance(choices, list):
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        return _with_cost(_of_choice(choice, depth), said, "openai")
    if isinstance(said.get("message"), dict) and "content" in said["message"]:
        return _with_cost(_of_choice(said, depth), said, "openai")
    if isinstance(content, list) and content and all(map(_is_block, content)):
        return _with_cost(_of_blocks(content, said.get("stop_reason"), depth), said, "anthropic")
    if isinstance(content, list) and said.get("type") == "message":
        return _with_cost(_of_blocks(content, said.get("stop_reason"), depth), said, "anthropic")
    state = said.get("incomplete_details")
    cut = state.get("reason") if isinstance(state, dict) else None
    if isinstance(output, list) and (cut or any(_is_message(each) for each in output)):
        blocks = [
            block
            for each in output
            if _is_message(each)
            for block in (each["content"] if isinstance(each["content"], list) else [])
        ]
        return _with_cost(_of_blocks(blocks, cut, depth), said, "openai")
    return None


def _of_choice(choice: dict[str, Any], depth: int) -> Said:
    if error := choice.get("error"):
        raise failure_of(error, where="the LLM broke off its answer")
    stop = choice.get("finish_reason") or choice.get("done_reason")
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        raise LlmRefused("the model declines to answer this conversation")
    content = message.get("content")
    if isinstance(content, list):
        return _of_blocks(content, stop, depth)
    if isinstance(content, dict):
        return _unwrapped(content, depth + 1)
    return _ended(content if isinstance(content, str) else "", stop, depth)


def _of_blocks(blocks: list[Any], stop: object, depth: int) -> Said:
    if any(isinstance(each, dict) and each.get("type") == "refusal" for each in blocks):
        raise LlmRefused("the model declines to answer this conversation")
    return _ended(_text_of_blocks(blocks), stop, depth)


def _ended(text: str, stop: object, depth: int) -> Said:
    """Read an LLM's response: the model's text, and how it ended."""
    ending = ending_of(stop)
    if ending == "refused":
        raise LlmRefused("the model declines to answer this conversation")
    if ending == "broken":
        raise LlmAway(f"the LLM broke off its answer: {stop}")
    if stop in ("tool_use", "tool_calls", "pause_turn"):
        raise LlmFailed("the model asks for a tool, and the flow has answered with that")
    if ending == "cut_off":
        return _of_cut_off(text, depth)
    return _of_text(text, depth + 1)


def _of_cut_off(text: str, depth: int) -> Said:
    """Read a text that was cut off at the token limit; JSON without its end is not a reply."""
    text = without_reasoning(clean(text))
    if not text.strip():
        raise LlmOutOfRoom("the model used up its tokens, and said nothing")
    inside = text[fence.end() :] if (fence := _FENCE_BEGINS.match(text)) else text
    if not _LIKE_JSON_CUT_OFF.match(inside):
        if _WRITTEN_DOWN.search(inside):
            return _of_written_cut_off(text, depth)
        return {"text": finish_truncated(text)}
    try:
        json.loads(fenced[1] if (fenced := _FENCED.match(text)) else inside)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(_JSON_CUT_OFF) from error
    return _of_text(text if fenced else inside, depth + 1)


def _of_written_cut_off(text: str, depth: int) -> Said:
    if (within := _written_within(text)) is None:
        raise BadAnswer(_JSON_CUT_OFF)
    return _that_says(_unwrapped(within, depth + 1))


def _text_of_blocks(blocks: list[Any]) -> str:
    texts = [
        block["text"]
        for block in blocks
        if isinstance(block, dict)
        and block.get("type") in ("text", "output_text", None)
        and isinstance(block.get("text"), str)
    ]
    return "".join(texts)


def _with_cost(said: Said, answer: dict[str, Any], provider: str) -> Said:
    usage = answer.get("usage")
    usage = dict(usage) if isinstance(usage, dict) else {}
    usage = {"provider": provider, "model": answer.get("model"), **usage}
    return {"usage": usage, **_execution(answer), **said}


def _execution(said: Said) -> dict[str, Any]:
    return {"execution_id": said["execution_id"]} if said.get("execution_id") else {}


def _bare(item: object) -> object:
    """Return an item of n8n without n8n's own wrapping."""
    if isinstance(item, dict) and isinstance(item.get("json"), dict):
        return item["json"]
    return item


def _is_block(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and value.get("type") == "message" and "content" in value


def _listed(names: list[str]) -> str:
    return ", ".join(name[:40] for name in names[:6]) or "nothing"


def _kind(value: object) -> str:
    return {bool: "true or false", int: "a number", float: "a number"}.get(type(value), "no object")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")
