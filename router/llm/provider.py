"""The protocol of LLM providers: what HybridFlow asks, and what it gets back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import SecretStr

from router.llm.standing import Known
from router.whatsapp.clean import as_line

MOST_TOKENS = 100_000_000
"""In one reply."""
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt; roles alternate, the first is the user's."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG in base64, and the text before it."""

    label: str
    jpeg: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the LLM may call; `takes` is the JSON Schema of its arguments."""

    name: str
    description: str
    takes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool. `given` are its arguments, unchecked; unreadable ones are left out."""

    name: str
    given: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the LLM gets: a conversation, and the tools, if its server supports tools.

    `pictures` come before the text of the last message.
    """

    system: str
    messages: tuple[PromptMessage, ...]
    pictures: tuple[Picture, ...] = ()
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class LlmReply:
    """The LLM's answer; `truncated` if it reached the token limit.

    If it calls tools, the text may be empty.
    """

    text: str
    provider: str
    model: str
    tokens_in: int
    tokens_out: int
    truncated: bool
    calls: tuple[ToolCall, ...] = ()


class LlmProvider(Protocol):
    """A provider with its key, URL, default model and timeout."""

    name: str

    @property
    def has_key(self) -> bool:
        """Whether the deployment has a key for this provider."""

    def with_key(self, key: SecretStr) -> "LlmProvider":
        """Return the same provider with a tenant's own key; it is closed with this one."""

    @property
    def account(self) -> str:
        """A name for the key's account, which reveals nothing of the key."""

    @property
    def known(self) -> Known | None:
        """The account's state, from turns and looks; None: unknown."""

    async def look(self) -> None:
        """Ask for the list of models, which costs no tokens; then `known` has the result."""

    async def load(self) -> None:
        """Load what the first question needs, in a thread; return when it is loaded."""

    async def complete(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        """Ask once. Raises LlmError."""

    async def close(self) -> None:
        """Close the connections."""


def tokens_told(count: object) -> int:
    """Return a token count from a provider; 0 if it is not a number or cannot be stored.

    The SDKs do not check it, and a wrong count is no reason to lose the reply, which was paid for.
    """
    if isinstance(count, bool) or not isinstance(count, int | float):
        return 0
    return int(count) if 0 <= count <= MOST_TOKENS else 0


def model_told(name: object) -> str:
    """Return the name of a model from a provider."""
    return as_line(name)[:_LONGEST_NAME] or "not told"
