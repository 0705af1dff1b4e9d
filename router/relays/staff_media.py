"""Fetches media that one of the staff sent from Evolution, to pass it on."""

from collections.abc import Iterator
from contextlib import contextmanager

from router.evolution.client import EvolutionClient, StoredMedia
from router.evolution.errors import EvolutionAway, EvolutionError
from router.http.bodies import Bodies, TooMuch
from router.sending.by_hand import MediaKind, media_by_hand
from router.sending.outgoing import Outgoing
from router.state.calls.relays import ClaimedRelay, StaffWords
from router.tenants.instance import InstanceKeys
from router.whatsapp.clean import as_text

_KINDS: dict[str, MediaKind] = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "ptt": "voice",
    "document": "document",
    "sticker": "sticker",
}
_TOO_LARGE = 413
_TIMES_IN_MEMORY = 2  # copies: as received, and in the request to Evolution


class NoStaffMedia(Exception):
    """The media is not available; `is_away`: it may be available later."""

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__(message)
        self.is_away = is_away


class StaffMedia:
    """Fetches media of at most `most` bytes. `bodies` limits how much of it is in memory."""

    def __init__(
        self, evolution: EvolutionClient, keys: InstanceKeys, bodies: Bodies, most: int
    ) -> None:
        self._evolution = evolution
        self._keys = keys
        self._bodies = bodies
        self._most = most

    @contextmanager
    def room(self, tenant_id: int, size: int | None) -> Iterator[None]:
        """Reserve memory for media during the block. Raises NoStaffMedia.

        `size` is its number of bytes, if known.
        """
        held = self._most if size is None else size
        if held > 2 * self._most:
            raise NoStaffMedia(f"it has more than {self._most} bytes")
        try:
            with self._bodies.keeping(str(tenant_id), _TIMES_IN_MEMORY * held):
                yield
        except TooMuch as error:
            # Media larger than the whole limit will never fit.
            raise NoStaffMedia(str(error), is_away=error.status != _TOO_LARGE) from error

    async def fetch(self, relay: ClaimedRelay, words: StaffWords) -> Outgoing:
        """Return the media as the message to send. Raises NoStaffMedia."""
        try:
            instance = self._keys.line(relay).instance()
            media = await self._evolution.media(instance, words.wa_id, self._most)
        except EvolutionAway as error:
            raise NoStaffMedia(str(error), is_away=True) from error
        except EvolutionError as error:
            raise NoStaffMedia(str(error)) from error
        if not media.base64:
            raise NoStaffMedia("Evolution has nothing of it")
        return _outgoing(words, media)


def _outgoing(words: StaffWords, media: StoredMedia) -> Outgoing:
    told = words.media or {}
    name = as_text(told.get("file_name")) or as_text(media.told.get("fileName")) or None
    path, body = media_by_hand(
        _KINDS[words.kind],
        media.base64,
        file_name=name,
        caption=as_text(told.get("caption")) or None,
    )
    return Outgoing.of(path, body)
