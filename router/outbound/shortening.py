"""Shortens media in base64 in a response, while it arrives.

The response to a send may repeat the media that was sent, and nobody needs it. So it is received
but not kept: the memory that a server can make this process use does not grow with the sent media.

Long runs of base64 characters are cut. In a JSON text such a run is inside a string (or an absurdly
long number), so the text remains JSON.
"""

import string

from router.outbound.bounds import AnswerTooLong

_BASE64 = (string.ascii_letters + string.digits + "+/=-_").encode()
_LONG = 64 * 1024  # characters of a run that are kept; no id, token or sentence has so many
_SLICE = 16 * 1024  # bytes that are examined at once; a run within one is never too long


class Shortening:
    """Shortens one body piece by piece; at most `most` bytes may remain."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = 0
        self._run = 0  # base64 characters at the end of the data so far

    def shorten(self, piece: bytes) -> bytes:
        """Return what remains of a piece. Raises AnswerTooLong."""
        remains = b"".join(
            self._shorten(piece[start : start + _SLICE]) for start in range(0, len(piece), _SLICE)
        )
        self._kept += len(remains)
        if self._kept > self._most:
            raise AnswerTooLong(f"its answer is longer than {self._most} bytes beside media")
        return remains

    def _shorten(self, piece: bytes) -> bytes:
        room = max(0, _LONG - self._run)
        if not piece.translate(None, _BASE64):
            self._run += len(piece)
            return piece[:room]
        rest = piece.lstrip(_BASE64)
        begin = piece[: len(piece) - len(rest)]
        self._run = len(rest) - len(rest.rstrip(_BASE64))
        return begin[:room] + rest
