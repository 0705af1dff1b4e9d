"""Checks that a voice message is audio, by decoding it before it is sent.

If Evolution cannot decode a file, it sends an empty voice message, and reports success. So every
voice message that is not made by HybridFlow is checked here.
"""

import asyncio
import base64
import binascii

from router.outbound.media import NoMedia
from router.senses.decoding import Decoder
from router.senses.hearing import NoRoom, NotUnderstood

_WAIT = 20.0  # seconds to wait for a place, because a caller waits for the answer


class Sounds:
    """Checks sounds, with the program that opens files."""

    def __init__(self, decoder: Decoder | None = None) -> None:
        self._decoder = decoder or Decoder(wait=_WAIT)

    async def require(self, content: bytes | str, tenant_id: int) -> None:
        """Raise NoMedia if the content is not audio, or cannot be opened now; a `str` is base64."""
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
