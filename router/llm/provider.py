"""What HybridFlow asks of an LLM provider, and what it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import SecretStr

from router.llm.standing import Known
from router.whatsapp.clean import as_line

MOST_TOKENS = 100_000_000
"""Of one reply."""
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt; roles alternate, the first is the user's."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG in base64, and what is said before it."""

    label: str
    jpeg: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """What the LLM may call instead of answering; `takes` is a JSON Schema of all its arguments."""

    name: str
    description: str
    takes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; of `given` nothing is checked, and what could not be read is left out."""

    name: str
    given: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the LLM is told, and which tools it is offered, where its server knows tools.

    `pictures` come before the text of the last message.
    """

    system: str
    messages: tuple[PromptMessage, ...]
    pictures: tuple[Picture, ...] = ()
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class LlmReply:
    """What it answered; `truncated` when it ran into the token limit.

    Where it calls tools, the text may be empty.
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
        """Whether the deployment has a key of it."""

    def with_key(self, key: SecretStr) -> "LlmProvider":
        """Return the same provider with a tenant's own key; it is closed with this one."""

    @property
    def account(self) -> str:
        """A name of the key's account, that tells nothing of the key."""

    @property
    def known(self) -> Known | None:
        """How its account stands, by turns and looks; None: nothing is known."""

    async def look(self) -> None:
        """Ask for the list of models, for no token; what that shows is `known` then."""

    async def load(self) -> None:
        """Load what the first question needs, beside the event loop; return when it is there."""

    async def complete(self, prompt: Prompt, *, model: str | None, max_tokens: int) -> LlmReply:
        """Ask once. Raises LlmError."""

    async def close(self) -> None:
        """Close the connections."""


def tokens_told(count: object) -> int:
    """Return a number of tokens as a provider tells it; 0 for what is none, or nobody could store.

    The SDKs do not check it, and its reply, which was paid for, is worth more than its count.
    """
    if isinstance(count, bool) or not isinstance(count, int | float):
        return 0
    return int(count) if 0 <= count <= MOST_TOKENS else 0


def model_told(name: object) -> str:
    """Return the name of a model as a provider tells it."""
    return as_line(name)[:_LONGEST_NAME] or "not told"
