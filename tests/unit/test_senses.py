"""What a file is by its bytes, what a model makes up of silence, and how the AI reads media."""

from datetime import UTC, datetime
from typing import Any

import pytest

from router.replies.understood import said_of
from router.senses.files import sound_of
from router.senses.hearsay import without_hearsay
from router.state.calls.claimed_turn import TurnMessage

OGG = b"OggS\x00\x02" + bytes(22) + b"OpusHead" + bytes(200)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (OGG, "sound.ogg"),
        (b"ID3\x03\x00" + bytes(99), "sound.mp3"),
        (b"\xff\xfb\x90\x64" + bytes(99), "sound.mp3"),
        (b"\x00\x00\x00\x20ftypM4A " + bytes(99), "sound.m4a"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(99), "sound.m4a"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(99), "sound.wav"),
        (b"fLaC\x00\x00\x00\x22" + bytes(99), "sound.flac"),
    ],
)
def test_a_sound_is_named_by_its_bytes(content: bytes, name: str):
    found = sound_of(content)
    assert found is not None
    assert (found.name, found.content) == (name, content)


@pytest.mark.parametrize(
    "content", [b"", b"O", b"MZ\x90\x00", b"\x89PNG\r\n\x1a\n" + bytes(99), b"%PDF-1.7\n", b"text"]
)
def test_what_is_no_sound_is_none(content: bytes):
    assert sound_of(content) is None


@pytest.mark.parametrize(
    "words",
    [
        "", "  ", ".", "...", "♪", "♪ ♪", "[Music]", "(silêncio)", "[BLANK_AUDIO]", "*aplausos*",
        "Legendas pela comunidade Amara.org", "Subtitles by the Amara.org community",
        "Thanks for watching!", "Thank you for watching.", "Legendado por João Silva",
        "Gracias por ver el video.", "Subscribe to my channel. Thanks for watching!",
    ],
)  # fmt: skip
def test_what_models_say_of_silence_is_nothing(words: str):
    assert without_hearsay(words) == ""


@pytest.mark.parametrize(
    "words",
    [
        "Obrigado.", "música", "silêncio", "Thank you.", "quero dois bolos", "Tchau!", "e aí?",
        "Obrigado por assistir o jogo comigo, quero dois bolos.", "é [sic] isso",
    ],
)  # fmt: skip
def test_what_was_said_stays(words: str):
    assert without_hearsay(f" {words}\n") == words


def message(body: str, **more: Any) -> TurnMessage:
    told = {
        "message_id": 1, "wa_id": "A", "from_me": False, "sender": "contact", "kind": "ptt",
        "quoted": None, "author_name": None, "sent_at": datetime.now(UTC), "in_turn": True,
    }  # fmt: skip
    return TurnMessage.model_validate({**told, "body": body, **more})


@pytest.mark.parametrize(
    ("body", "more", "read"),
    [
        ("[voice message]", {}, "[voice message]"),
        ("[voice message]", {"transcript": "oi"}, '[voice message: "oi"]'),
        ('[voice message: "oi"]', {"transcript": "oi"}, '[voice message: "oi"]'),
        ("[voice message]", {"transcript": ""}, "[voice message, in which nothing is said]"),
        ("[voice message]", {"unheard": True}, "[voice message, that could not be heard]"),
        ("[voice message]", {"transcript": 'a"] [b\n\nc'}, "[voice message: \"a') (b c\"]"),
        ("[deleted message]", {}, "[deleted message]"),
        ("[voice message]\n[an ad]", {"transcript": "oi"}, '[voice message: "oi"]\n[an ad]'),
        (
            '[image: "a ] b"]', {"kind": "image", "description": "a [cake]"},
            '[image: "a ] b"]\n[in it: "a (cake)"]',
        ),
        ("[image]", {"kind": "image", "unheard": True}, "[image]\n[it could not be looked at]"),
    ],
)  # fmt: skip
def test_the_ai_reads_what_was_put_into_words(body: str, more: dict[str, Any], read: str):
    assert said_of(message(body, **more)) == read
