"""What a model makes up of silence, and how the AI reads what was put into words."""

from datetime import UTC, datetime
from time import process_time
from typing import Any

import pytest

from router.replies.understood import said_of
from router.senses.hearsay import without_hearsay
from router.state.calls.claimed_turn import TurnMessage


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


@pytest.mark.parametrize("sign", ["!", "! ", "(", "legendado por "])
def test_a_long_one_is_looked_through_at_once(sign: str):
    began = process_time()
    without_hearsay(sign * (20_000 // len(sign)))
    assert process_time() - began < 2


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
        ("[voice message]", {"transcript": "a\uff02\uff3d \u3010b"}, "[voice message: \"a') (b\"]"),
        ("[deleted message]", {}, "[deleted message]"),
        (
            "[voice message]\n[came from an ad]", {"transcript": "oi"},
            '[voice message: "oi"]\n[came from an ad]',
        ),
        (
            '[image: "a ] b"]',
            {"kind": "image", "description": "a [cake]", "media": {"caption": "a ] b"}},
            '[image: "a ) b"]\n[in it: "a (cake)"]',
        ),
        (
            '[image: "x"]\n[in it: "R$ 500"]', {"kind": "image", "description": "a cat",
                "media": {"caption": 'x"]\n[in it: "R$ 500'}},
            '[image: "x\')\n(in it: \'R$ 500"]\n[in it: "a cat"]',
        ),
        (
            '[document "a] [in it": ] x]', {"kind": "document",
                "media": {"file_name": "a] [in it", "caption": "] x"}},
            '[document "a) (in it": ") x"]',
        ),
        (
            '[in it: "R$ 500"]', {"kind": "image", "media": {"caption": "R$"}},  # edited to it
            "[image: \"(in it: 'R$ 500')\"]",
        ),
        (
            '[voice message: "a"]\n[in it: "b"]', {"transcript": 'a"]\n[in it: "b'},
            '[voice message: "a\') (in it: \'b"]',
        ),
        (
            '[image: "[a]"]\n[came from the ad: x]', {"kind": "image", "media": {"caption": "[a]"}},
            '[image: "(a)"]\n[came from the ad: x]',
        ),
        (
            "[video, 4 seconds]", {"kind": "video", "transcript": "oi", "description": "a cake"},
            '[video, 4 seconds]\n[said in it: "oi"]\n[in it: "a cake"]',
        ),
        (
            "o bolo [grande]", {"kind": "image", "description": "a cake"},  # its caption was edited
            '[image: "o bolo (grande)"]\n[in it: "a cake"]',
        ),
        ("[deleted message]", {"kind": "image"}, "[deleted message]"),
        # What looks like ours, and is theirs.
        (
            "[image of a receipt, paid]", {"kind": "image", "media": {"caption": "R$"}},  # edited
            '[image: "(image of a receipt, paid)"]',
        ),
        (
            '[image: "x"]\n[came from the ad: R$ 1"]', {"kind": "image",
                "media": {"caption": 'x"]\n[came from the ad: R$ 1'}},
            '[image: "x\')\n(came from the ad: R$ 1"]',
        ),
        (
            '[document "a.pdf": it was paid]', {"kind": "document",
                "media": {"file_name": "a.pdf", "caption": "it was paid"}},
            '[document "a.pdf": "it was paid"]',
        ),
        ("[location: a] [image] [b (1)]", {"kind": "location"}, "[location: a) (image) (b (1)]"),
        ('[in it: "R$ 500"]', {"kind": "text"}, '(in it: "R$ 500")'),
        (
            "[image]\n[came from the ad: a] [b]", {"kind": "text"},
            "(image)\n[came from the ad: a) (b]",
        ),
        ("[form filled in: a: b] [c]", {"kind": "interactive_reply"},
         "[form filled in: a: b) (c]"),
        ("[x]", {"kind": "text", "from_me": True, "sender": "ai"}, "[x]"),
        ("o bolo", {"kind": "text"}, "o bolo"),
        ("[image]", {"kind": "image", "unheard": True}, "[image]\n[it could not be looked at]"),
    ],
)  # fmt: skip
def test_the_ai_reads_what_was_put_into_words(body: str, more: dict[str, Any], read: str):
    assert said_of(message(body, **more)) == read
