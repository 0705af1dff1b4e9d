"""A recording becomes a voice message that is known to play, or none at all."""

from io import BytesIO

import av
import pytest

from loopback.tts import tone
from router.speech.opus import BadAudio, voice_note


def test_a_recording_becomes_ogg_with_opus_in_one_channel_and_its_true_length():
    note, seconds = voice_note(tone(2.0))
    assert seconds == pytest.approx(2.0, abs=0.01)
    with av.open(BytesIO(note)) as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.layout.name) == ("opus", "mono")
        assert container.format.name == "ogg"
        assert (container.duration or 0) / 1_000_000 == pytest.approx(2.0, abs=0.05)


def test_a_voice_message_is_one_again():
    note, _ = voice_note(tone(1.0, channels=1))
    assert voice_note(note)[1] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"nonsense" * 500, tone(2.0)[:20], tone(0.05), tone(2.0, loudness=0)),
        *(b"OggS" + b"\0" * 90, b'{"error": "no voice"}', b"<html>not found</html>"),
        tone(190.0, channels=1),
    ],
    ids=range(9),
)
def test_what_would_arrive_as_an_empty_voice_message_is_refused(content: bytes):
    with pytest.raises(BadAudio):
        voice_note(content)


def test_a_list_that_names_a_file_of_ours_is_no_recording(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours.ogg").write_bytes(tone(2.0))
    with pytest.raises(BadAudio):
        voice_note(b"ffconcat version 1.0\nfile ours.ogg\n")
