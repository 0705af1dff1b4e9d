"""Makes voice messages in the format that WhatsApp plays: Ogg with Opus, one channel, with length.

Undecodable audio would arrive as an empty voice message without any error, so everything is decoded
first. This takes CPU time, so callers run it in a thread.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

RATE = 48_000
_BITS = 32_000  # per second
_SHORTEST, _LONGEST = 0.2, 180.0  # seconds
_SILENT = 64  # of 32,768
_FORMATS = "ogg,mp3,wav,flac,aac,mov,matroska"  # no playlists or sessions: they name other files


class BadAudio(Exception):
    """The content is not audio that can be sent; the text says why."""


def voice_note(content: bytes) -> tuple[bytes, float]:
    """Return a recording as a voice message, and its length in seconds. Raises BadAudio."""
    import av
    from av.error import FFmpegError

    try:
        frames = _decoded(content)
        seconds = sum(frame.samples for frame in frames) / RATE
        if seconds < _SHORTEST:
            raise BadAudio("there is no sound in it")
        if max(_loudest(frame) for frame in frames) < _SILENT:
            raise BadAudio("there is nothing but silence in it")
        made = BytesIO()
        with av.open(made, "w", format="ogg") as container:
            stream = container.add_stream("libopus", rate=RATE, layout="mono")
            stream.bit_rate = _BITS
            for frame in frames:
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (FFmpegError, ValueError, StopIteration) as error:
        raise BadAudio(f"it cannot be decoded: {error}") from error
    return made.getvalue(), seconds


def _decoded(content: bytes) -> list[AudioFrame]:
    """Return all of the sound in one format. Raises BadAudio and FFmpegError."""
    import av

    frames: list[AudioFrame] = []
    with av.open(BytesIO(content), "r", options={"format_whitelist": _FORMATS}) as container:
        if not container.streams.audio:
            raise BadAudio("there is no sound in it")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        samples = 0
        for decoded in container.decode(audio=0):
            for frame in resampler.resample(decoded):
                frames.append(frame)
                samples += frame.samples
            if samples > _LONGEST * RATE:
                raise BadAudio(f"it is longer than {_LONGEST:g} seconds")
        frames += resampler.resample(None)
    for frame in frames:
        frame.pts = None  # frames follow each other without the file's gaps
    return [frame for frame in frames if frame.samples]


def _loudest(frame: AudioFrame) -> int:
    samples = memoryview(bytes(frame.planes[0]))[: 2 * frame.samples].cast("h")
    highest, lowest = max(samples), min(samples)
    return max(highest, -lowest)
