"""The tool by which a model hands a conversation to a human of the business."""

from collections.abc import Iterable
from typing import Any

from router.llm.provider import LlmReply, Tool, ToolCall
from router.replies.making import Part
from router.replies.parts import prepared
from router.safety.promises import promises_person

REASONS = ("asked_for_person", "not_known", "not_allowed", "upset", "tool_failed", "other")
_LONGEST = 2000  # characters of a summary

HAND_OVER = Tool(
    name="hand_over",
    description=(
        "Give this conversation to a person of the business, who goes on with it in this chat."
        " Call it when the customer asks for a person or is upset, when you do not know or may not"
        " decide what they need, or when something that you need does not work. Never say that"
        " somebody will come, call or look into it without calling this. Write nothing besides:"
        " what the customer is to read stands in `say`."
    ),
    takes={
        "type": "object",
        "properties": {
            "reason": {
                "type": "string",
                "enum": list(REASONS),
                "description": "Why: asked_for_person, the customer asked for a person; not_known,"
                " you do not know the answer; not_allowed, you may not decide it; upset, the"
                " customer is angry or sad; tool_failed, something did not work; other.",
            },
            "summary": {
                "type": "string",
                "description": "For the person who comes, in the business's language: what the"
                " customer wants, and what was said and done so far. One to three sentences.",
            },
            "say": {
                "type": "string",
                "description": "What the customer reads, in the customer's language: that a person"
                " of the team goes on in this chat. One or two short sentences, no times or"
                " promises that you cannot know.",
            },
        },
        "required": ["reason", "summary", "say"],
        "additionalProperties": False,
    },
)


def call_of(reply: LlmReply) -> ToolCall | None:
    """Return the model's call of the tool, if it made one."""
    return next((call for call in reply.calls if call.name == HAND_OVER.name), None)


async def handed_over(call: ToolCall, said: Iterable[str]) -> tuple[Part, ...]:
    """Return the reply that hands off, after the texts that the model `said` in addition.

    The call's arguments are used as far as possible; the handoff is made even without them. A text
    that only announces the person, like `say`, is left out.
    """
    reason = call.given.get("reason")
    handoff: dict[str, Any] = {
        "reason": reason if reason in REASONS else "other",
        "summary": _text(call.given.get("summary"))[:_LONGEST] or None,
    }
    words = await prepared(_text(call.given.get("say")))
    if not words:
        return (*said, {"handoff": handoff})
    before = (each for each in said if not promises_person(each) and each not in words)
    return (*before, {"handoff": handoff, "text": words[0]}, *words[1:])


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
