"""The replies and the requests of a loopback LLM."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says, and why it stopped: it was done, reached its limit, or refused.

    `tool` is the name of the tool that it calls, with the arguments `given`.
    """

    text: str
    stop: Literal["end", "length", "refusal", "filtered", "tool"] = "end"
    tool: str | None = None
    given: Json | None = None


def truncated(text: str) -> Reply:
    """Return an answer that was cut off at the token limit."""
    return Reply(text, "length")


def refusal(text: str = "") -> Reply:
    """Return the model's refusal to answer."""
    return Reply(text, "refusal")


def filtered() -> Reply:
    """Return an answer that a content filter removed; with Anthropic, a refusal."""
    return Reply("", "filtered")


def calls_tool(name: str, *, saying: str = "", **given: Any) -> Reply:
    """Return a call of an offered tool, together with a text, as models write it."""
    return Reply(saying, "tool", name, given)


def written_arguments(reply: Reply) -> str:
    """Return the arguments of the tool's call in OpenAI's format: a text."""
    return json.dumps(reply.given or {}, ensure_ascii=False)


def empty() -> Reply:
    """Return an answer without any text."""
    return Reply("")


@dataclass(slots=True)
class LlmRequest:
    """One request as the provider read it; `status` is the answer's.

    A request that `was_deserted` got no answer: the client left, or was cut off.
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
        """The request's key."""
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        return self.headers.get("x-api-key", bearer)

    @property
    def unanswered(self) -> list[str]:
        """The user's texts since the model's last reply."""
        texts: list[str] = []
        for role, text in reversed(self.messages):
            if role == "assistant":
                break
            texts.insert(0, text)
        return texts

    @property
    def text(self) -> str:
        """Everything that the model got, as text."""
        return "\n".join([self.system, *(f"{role}: {text}" for role, text in self.messages)])


def greet(request: LlmRequest) -> Reply:
    """Answer with the messages that are answered: the default reply of a provider."""
    heard = " / ".join(" / ".join(text.split("\n")) for text in request.unanswered)
    return Reply(f"Olá! Sobre «{heard}»: já vou ajudar você.")


def tokens(text: str) -> int:
    """Return roughly how many tokens a text has."""
    return (len(text) + 3) // 4
