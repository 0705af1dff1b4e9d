"""A voice message is decoded before it is sent: it must be a sound.

If Evolution cannot decode a file, it makes an empty voice message, sends that, and reports success.
So every voice that is not made here is checked here, whoever provides it.
"""

import asyncio
import base64
import binascii

from router.outbound.media import NoMedia
from router.senses.decoding import Decoder
from router.senses.hearing import NoRoom, NotUnderstood

_WAIT = 20.0  # seconds for a place: somebody waits for the answer


class Sounds:
    """Recognises sounds, in the program that opens files."""

    def __init__(self, decoder: Decoder | None = None) -> None:
        self._decoder = decoder or Decoder(wait=_WAIT)

    async def require(self, content: bytes | str, tenant_id: int) -> None:
        """Raise NoMedia if it is not a sound, or cannot be opened now; a text is base64."""
        try:
            if isinstance(content, str):
                content = await asyncio.to_thread(base64.b64decode, content, validate=True)
            await self._decoder.open(content, "voice", tenant=tenant_id)
        except (binascii.Error, ValueError) as error:
            raise NoMedia("it is not a sound: it is not base64") from error
        except NoRoom as error:
            raise NoMedia(str(error), is_away=True) from error
        except NotUnderstood as error:
            raise NoMedia(f"it is not a sound: {error}", is_away=not error.final) from error
