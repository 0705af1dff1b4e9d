"""The protocol of speech recognition, and its failures."""

from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Sound:
    """A file with sound. Servers go by its name, and many do not know .oga and .opus."""

    content: bytes = field(repr=False)
    name: str = "sound.ogg"
    mimetype: str = "audio/ogg"


@dataclass(frozen=True, slots=True)
class Heard:
    """What is said in a sound (empty if nothing is said), and the cost in tokens."""

    words: str = field(repr=False)
    tokens: int = 0


class NotUnderstood(Exception):
    """The media could not be put into words; the text says why. `final`: retrying does not help.

    The text contains no words of the contact, and no key. `tokens` is the cost; if it
    `may_have_cost` more, the number is unknown.
    """

    def __init__(
        self, message: str, *, final: bool, tokens: int = 0, may_have_cost: bool = False
    ) -> None:
        super().__init__(message)
        self.final = final
        self.tokens = tokens
        self.may_have_cost = may_have_cost


Need: TypeAlias = Literal["line", "speech", "describer"]
"""The services that a media job needs: Evolution, speech recognition, descriptions."""


class NeedAway(NotUnderstood):
    """A needed service is away: that says nothing about the file, and uses up no attempt."""

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
    """This process is too busy to open the file now; that says nothing about the file."""


class Listener(Protocol):
    """Puts sound into words."""

    async def load(self) -> None:
        """Load what the first sound needs, in a thread."""

    async def hear(self, sound: Sound, language: str | None, tenant: int) -> Heard:
        """Return what is said in a sound of the tenant. Raises NotUnderstood and NoRoom."""

    async def close(self) -> None:
        """Close the connections."""
