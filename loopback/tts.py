"""A voice as a loopback program: POST /v1/audio/speech, for OpenAI's SDK (3.54).

It answers with a tone that lasts as long as speaking the text would. The answer is always WAV,
whatever format is requested, like many servers. With `sound` it answers with those bytes.
"""

import argparse
import math
import struct
import wave
from collections.abc import Callable
from io import BytesIO

from starlette.requests import Request
from starlette.responses import Response

from loopback.llm import LlmServer, Malformed, shown_key
from loopback.openai import OpenAI
from loopback.replies import Json, LlmRequest, Reply
from loopback.serving import serve

_RATE = 16_000
_SECONDS_A_CHARACTER = 0.06
_LONGEST_INPUT = 4096


class Tts(OpenAI):
    """The voice. Give its `base_url` to the SDK."""

    def __init__(self, *, port: int = 0, key: str | None = None) -> None:
        LlmServer.__init__(self, {"/v1/audio/speech": "speech"}, port=port, key=key)
        self.sound: bytes | None = None
        """The bytes of the answer, in place of a tone."""
        self.speaks: Callable[[str], bytes] = lambda text: tone(len(text) * _SECONDS_A_CHARACTER)
        """Makes the sound of a text."""
        self.breaks_off = False
        """Whether the connection is cut in the middle of the sound."""

    @property
    def read(self) -> list[str]:
        """The texts of all requests, in order."""
        return [str(request.body["input"]) for request in self.requests]

    def understand(self, kind: str, request: Request, body: Json) -> LlmRequest:
        """Read a request. Raises Malformed with the API's refusal."""
        del kind
        key = shown_key(request)
        if not key or self.key not in (None, key):
            raise Malformed(self.error(401, "Incorrect API key provided."))
        for name in ("model", "input", "voice"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise Malformed(self.error(400, f"Missing required parameter: '{name}'."))
        if len(body["input"]) > _LONGEST_INPUT:
            raise Malformed(self.error(400, "string too long: input"))
        return LlmRequest(
            path=request.url.path,
            body=body,
            headers=dict(request.headers),
            model=body["model"],
            system="",
            messages=(("user", body["input"]),),
            max_tokens=None,
        )

    def put(self, kind: str, asked: LlmRequest, reply: Reply) -> Response:
        """Return the sound."""
        del kind, reply
        text = str(asked.body["input"])
        sound = self.speaks(text) if self.sound is None else self.sound
        answer = Response(sound, media_type="audio/wav")
        if self.breaks_off:
            answer.headers["content-length"] = str(2 * len(sound))
        return answer


def tone(seconds: float, *, loudness: int = 8000, channels: int = 2) -> bytes:
    """Return a WAV of a tone; its first second is repeated."""
    made = BytesIO()
    count = int(seconds * _RATE)
    samples = [int(loudness * math.sin(number / 6)) for number in range(min(count, _RATE))]
    second = b"".join(struct.pack("<h", each) * channels for each in samples)
    whole, rest = divmod(count, _RATE)
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(second * whole + second[: rest * 2 * channels])
    return made.getvalue()


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m loopback.tts", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): a free port")
    parser.add_argument("--key", help="the only key that is accepted (default: any)")
    given = parser.parse_args()
    return serve(Tts(port=given.port, key=given.key))


if __name__ == "__main__":
    raise SystemExit(main())
