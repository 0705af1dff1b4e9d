"""Who puts sound into words, and what it means when they cannot."""

from dataclasses import dataclass, field
from typing import Protocol


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

    The text has no word of the contact, and no key. `tokens` is what it cost all the same.
    """

    def __init__(self, message: str, *, final: bool, tokens: int = 0) -> None:
        super().__init__(message)
        self.final = final
        self.tokens = tokens


class NoRoom(Exception):
    """This process has too much to do to open it now; nothing is known of the file itself."""


class Listener(Protocol):
    """Puts sound into words."""

    async def load(self) -> None:
        """Load what the first sound needs, beside the event loop."""

    async def hear(self, sound: Sound, language: str | None) -> Heard:
        """Return what is said. Raises NotUnderstood."""

    async def close(self) -> None:
        """Close the connections."""
