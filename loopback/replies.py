"""What a loopback LLM says, and what it was asked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says, and why it stopped: of itself, at its limit, or because it would not.

    `tool` is the name of the tool that it calls, with `given` as its arguments.
    """

    text: str
    stop: Literal["end", "length", "refusal", "filtered", "tool"] = "end"
    tool: str | None = None
    given: Json | None = None


def truncated(text: str) -> Reply:
    """Return an answer that was cut off at the limit of tokens."""
    return Reply(text, "length")


def refusal(text: str = "") -> Reply:
    """Return the model's refusal to answer."""
    return Reply(text, "refusal")


def filtered() -> Reply:
    """Return an answer that a content filter took away; with Anthropic, a refusal."""
    return Reply("", "filtered")


def calls_tool(name: str, *, saying: str = "", **given: Any) -> Reply:
    """Return a call of a tool that the request offers, with a text besides, as models write it."""
    return Reply(saying, "tool", name, given)


def written_arguments(reply: Reply) -> str:
    """Return the arguments of the tool's call as OpenAI gives them: a text."""
    return json.dumps(reply.given or {}, ensure_ascii=False)


def empty() -> Reply:
    """Return an answer without any text."""
    return Reply("")


@dataclass(slots=True)
class LlmRequest:
    """One request as the provider understood it; `status` is what it was answered.

    One that `was_deserted` got no answer: the client went away, or was cut off.
    """

    path: str
    body: Json
    headers: Mapping[str, str]
    model: str
    system: str
    messages: tuple[tuple[str, str], ...]
    max_tokens: int | None
    status: int | None = None
    was_deserted: bool = False

    @property
    def key(self) -> str:
        """The key that was shown."""
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        return self.headers.get("x-api-key", bearer)

    @property
    def unanswered(self) -> list[str]:
        """The user's texts since the model last spoke."""
        texts: list[str] = []
        for role, text in reversed(self.messages):
            if role == "assistant":
                break
            texts.insert(0, text)
        return texts

    @property
    def text(self) -> str:
        """All that the model was shown, as text."""
        return "\n".join([self.system, *(f"{role}: {text}" for role, text in self.messages)])


def greet(request: LlmRequest) -> Reply:
    """Answer so that one sees to which messages: what a provider says unless told otherwise."""
    heard = " / ".join(" / ".join(text.split("\n")) for text in request.unanswered)
    return Reply(f"Olá! Sobre «{heard}»: já vou ajudar você.")


def tokens(text: str) -> int:
    """Return roughly how many tokens a text is."""
    return (len(text) + 3) // 4
