"""Speech that is really spoken, by espeak-ng, and really heard, by PocketSphinx."""

import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import av
from pocketsphinx import Decoder

_WORDS = "one | two | three | four | five | six | seven | eight | nine | bread | coffee | please"
_GRAMMAR = f"#JSGF V1.0; grammar orders; public <order> = <word>+ ; <word> = {_WORDS} ;"


def spoken(text: str) -> bytes:
    """A voice message, Ogg/Opus as WhatsApp has it, with these words in it."""
    wav = recorded(text)
    kept = io.BytesIO()
    with av.open(io.BytesIO(wav), format="wav") as source, av.open(kept, "w", "ogg") as made:
        stream: Any = made.add_stream("libopus", rate=48_000)
        stream.layout = "mono"
        for frame in _resampled(source, stream.format.name, 48_000):
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return kept.getvalue()


def recorded(text: str) -> bytes:
    """The same as a WAV, as a server that reads aloud answers it."""
    program = shutil.which("espeak-ng")
    assert program is not None, "espeak-ng is not here: apt-get install espeak-ng"
    said = [program, "-v", "en-us", "-s", "130", "--stdout", text]
    return subprocess.run(said, capture_output=True, check=True, timeout=30).stdout


def heard(content: bytes) -> str:
    """The words in a sound, of the few that this listener knows."""
    with av.open(io.BytesIO(content), format="ogg") as source:
        raw = b"".join(
            bytes(frame.planes[0])[: 2 * frame.samples]
            for frame in _resampled(source, "s16", 16_000)
        )
    with tempfile.TemporaryDirectory() as folder:
        grammar = Path(folder, "orders.jsgf")
        grammar.write_text(_GRAMMAR)
        decoder = Decoder(logfn="/dev/null", jsgf=str(grammar), lm=None)
        decoder.start_utt()
        decoder.process_raw(raw, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
    return "" if found is None else str(found.hypstr)


def _resampled(source: Any, kind: str, rate: int) -> Any:
    resampler = av.AudioResampler(format=kind, layout="mono", rate=rate)
    for frame in source.decode(audio=0):
        frame.pts = None
        yield from resampler.resample(frame)
    yield from resampler.resample(None)
