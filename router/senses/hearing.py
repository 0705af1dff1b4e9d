"""Who puts sound into words, and what it means when they cannot."""

from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Sound:
    """A file with sound in it. Servers go by its name: .oga and .opus many do not know."""

    content: bytes = field(repr=False)
    name: str = "sound.ogg"
    mimetype: str = "audio/ogg"


@dataclass(frozen=True, slots=True)
class Heard:
    """What is said in a sound, empty where nothing is, and what it cost in tokens."""

    words: str = field(repr=False)
    tokens: int = 0


class NotUnderstood(Exception):
    """There are no words; the text says why. `final`: nor will there be, however often it is tried.

    The text has no word of the contact, and no key. `tokens` is what it cost all the same; where it
    `may_have_cost`, nobody knows how many.
    """

    def __init__(
        self, message: str, *, final: bool, tokens: int = 0, may_have_cost: bool = False
    ) -> None:
        super().__init__(message)
        self.final = final
        self.tokens = tokens
        self.may_have_cost = may_have_cost


Need: TypeAlias = Literal["line", "speech", "describer"]
"""What understanding needs of others: the tenant's way to WhatsApp, who listens, who describes."""


class NeedAway(NotUnderstood):
    """Nobody can ask for it now: that says nothing of the file, and uses no attempt up."""

    def __init__(
        self,
        message: str,
        need: Need,
        retry_after: float | None = None,
        *,
        tokens: int = 0,
        may_have_cost: bool = False,
    ) -> None:
        super().__init__(message, final=False, tokens=tokens, may_have_cost=may_have_cost)
        self.need = need
        self.retry_after = retry_after


class NoRoom(Exception):
    """This process has too much to do to open it now; nothing is known of the file itself."""


class Listener(Protocol):
    """Puts sound into words."""

    async def load(self) -> None:
        """Load what the first sound needs, beside the event loop."""

    async def hear(self, sound: Sound, language: str | None, tenant: int) -> Heard:
        """Return what is said to the tenant. Raises NotUnderstood, and NoRoom."""

    async def close(self) -> None:
        """Close the connections."""
