"""Reads the sound and frames of audio and video, in the program that opens files (`decoder`).

FFmpeg's libraries open the file, and are told its container, which is recognised by its bytes. If
they guessed it, they would accept a playlist, and open the files that it names.
"""

import array
import base64
import io
from collections.abc import Iterator
from typing import Any

import puremagic

from router.senses.refusals import Refused

MOST_SECONDS = 600  # of sound that is transcribed
FRAMES = 3  # of a video
_MOST_PIXELS = 10_000_000  # in a frame
_RATE = 16_000  # Hertz, which is enough for speech
_SOME_SOUND = 1.0  # seconds that are decoded to show that it is possible
_BITS = 24_000  # bits per second: ten minutes are 1.8 MB
_QUIET = 300  # of 32,768; the noise of a phone in a pocket is not louder
_LOOKED_AT = 4096  # bytes at the beginning
_PACKETS = 100_000
_CONTAINERS = {
    ".ogg": "ogg",
    ".oga": "ogg",
    ".opus": "ogg",
    ".mp3": "mp3",
    ".wav": "wav",
    ".flac": "flac",
    ".amr": "amr",
    ".webm": "matroska",
    ".mkv": "matroska",
    ".mp4": "mov",
    ".m4a": "mov",
    ".3gp": "mov",
    ".mov": "mov",
}  # by puremagic's extensions


def container_of(content: bytes) -> str:
    """Return FFmpeg's name of the container, recognised by the bytes. Raises Refused."""
    start = content[:_LOOKED_AT]
    if start[4:8] == b"ftyp":  # puremagic knows only some of the many brands
        return "mov"
    if start[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return "aac"
    if start[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):  # MP3 without a tag at the beginning
        return "mp3"
    try:
        found = [each.extension for each in puremagic.magic_string(start)]
    except (puremagic.PureError, ValueError):
        found = []
    for extension in found:
        if extension in _CONTAINERS:
            return _CONTAINERS[extension]
    raise Refused("its bytes are neither a sound nor a video that is known")


def sound_in(content: bytes) -> dict[str, Any]:
    """Return the sound as new Ogg/Opus in base64, its length, and whether it is silent."""
    with _container(content) as container:
        if not container.streams.audio:
            raise Refused("it has no sound")
        return _sound(container)


def voice_in(content: bytes) -> dict[str, Any]:
    """Decode only the beginning, to know that the file has sound. Return its length so far."""
    samples = 0
    with _container(content) as container:
        if container.streams.audio:
            for frame in _resampled(container):
                samples += frame.samples
                if samples >= _SOME_SOUND * _RATE:
                    break
    if not samples:
        raise Refused("it has no sound")
    return {"seconds": samples / _RATE}


def video_in(content: bytes) -> dict[str, Any]:
    """Return frames of a video as PIL images, and its sound, if it has any."""
    answer: dict[str, Any] = {"frames": []}
    with _container(content) as container:
        if container.streams.video:
            answer["frames"] = list(_frames(container))
    with _container(content) as container:
        if container.streams.audio:
            answer |= _sound(container)
    if not answer["frames"] and "sound" not in answer:
        raise Refused("it has no picture and no sound")
    return answer


def _container(content: bytes) -> Any:
    import av

    return av.open(io.BytesIO(content), mode="r", format=container_of(content))


def _sound(container: Any) -> dict[str, Any]:
    import av

    kept = io.BytesIO()
    samples, loudest, is_cut = 0, 0, False
    with av.open(kept, mode="w", format="ogg") as made:
        stream: Any = made.add_stream("libopus", rate=_RATE)
        stream.bit_rate, stream.layout = _BITS, "mono"
        stream.options = {"application": "voip", "compression_level": "1"}  # fast is good enough
        for frame in _resampled(container):
            loudest = max(loudest, _loudness(frame))
            samples += frame.samples
            made.mux(stream.encode(frame))
            if samples >= MOST_SECONDS * _RATE:
                is_cut = True
                break
        made.mux(stream.encode(None))
    if not samples:
        raise Refused("it has no sound")
    return {
        "sound": base64.b64encode(kept.getvalue()).decode(),
        "seconds": samples / _RATE,
        "is_silent": loudest < _QUIET,
        "is_cut": is_cut,
    }


def _resampled(container: Any) -> Iterator[Any]:
    """Yield the sound as 16-bit mono, up to the first broken part."""
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
    try:
        for number, frame in enumerate(container.decode(container.streams.audio[0])):
            if number > _PACKETS:
                return
            frame.pts = None
            yield from resampler.resample(frame)
    except av.FFmpegError:
        return
    yield from resampler.resample(None)


def _loudness(frame: Any) -> int:
    samples = array.array("h", bytes(frame.planes[0])[: 2 * frame.samples])
    loudest, deepest = (max(samples), min(samples)) if samples else (0, 0)
    return max(loudest, -deepest)


def _frames(container: Any) -> Iterator[Any]:
    """Yield the first frame and one of each later third; a short video may have only the first."""
    import av

    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    if stream.codec_context.width * stream.codec_context.height > _MOST_PIXELS:
        return
    length = container.duration or 0
    for third in range(FRAMES):
        try:
            if third:
                container.seek(third * length // FRAMES)
            frame = next(container.decode(stream), None)
        except av.FFmpegError:
            return
        if frame is None or frame.width * frame.height > _MOST_PIXELS:
            return
        yield frame.to_image()
        if not length:
            return
