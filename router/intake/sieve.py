"""Reads a webhook that is too large because of its media, and leaves the media out.

On the Cloud channel, media comes only inside the webhook. The message must not be lost because its
media is too large: Evolution does not repeat a webhook that is refused for its size.
"""

import re

from router.intake.readers.messages import TOO_LARGE

_FIELD = re.compile(rb'"base64"[ \t\r\n]{0,9}:[ \t\r\n]{0,9}"')
_LONGEST = 28  # bytes of a field's beginning


class Sieve:
    """Passes a body on chunk by chunk, without the text of any field `base64`."""

    def __init__(self) -> None:
        self._kept = b""
        self._is_inside = False

    def pass_on(self, chunk: bytes, *, is_last: bool) -> bytes:
        """Return what is kept of `chunk`, and of the bytes that were held back before it."""
        body, self._kept = self._kept + chunk, b""
        passed = bytearray()
        while body:
            if self._is_inside:
                _, end, body = body.partition(b'"')
                self._is_inside = not end
                passed += end
            elif (field := _FIELD.search(body)) is not None:
                passed += body[: field.end()] + TOO_LARGE.encode()
                body = body[field.end() :]
                self._is_inside = True
            else:  # a field may begin at the end of the chunk
                ready = len(body) if is_last else max(0, len(body) - _LONGEST)
                self._kept = body[ready:]
                passed += body[:ready]
                break
        return bytes(passed)
