"""In which messages a reply is said, whatever a model has made of it."""

from dataclasses import replace

import pytest

from router.replies.parts import parts_of
from router.state.calls.claimed_turn import ClaimedTurn, DeliveryRules, OwnFile
from router.turns.saying import Pace, delivered, outgoing
from router.whatsapp.splitting import WHATSAPP_LIMIT
from tests.for_each import for_each
from tests.unit.test_fallback import turn

MENU = OwnFile(name="menu", description="The menu", kind="image", file_name="menu.jpg")


def _turn() -> ClaimedTurn:
    made = turn()
    tenant = made.tenant.model_copy(
        update={"delivery": DeliveryRules(max_bubbles=3), "files": (MENU,)}
    )
    return made.model_copy(update={"tenant": tenant})


@for_each("by_voice", [False, True], ids=["written", "aloud"])
@for_each(
    ("reply", "most"),
    [
        ("\n\n".join(["Um"] * 1300), 7),
        ("\n\n".join(["Veja https://a.example/x", "Oi, tudo bem?"] * 400), 20),
        ("\n\n".join(["\U0001f600"] * 1300), 7),
        ("\u200b\n\n" * 300 + "Oi!", 3),
        ("\u202eoi\u202c \u2067x\u2069\n\n" * 100, 6),
        ("> [[image:menu]]\n\n" * 200, 1),
        ("[[image:" * 200 + "]]" * 200 + " Oi!", 1),
        ("*_~" * 900, 1),
        ("maria@padaria.example", 1),
        ("https://padaria.example/c", 1),
    ],
    ids=range(10),
)
def test_whatever_a_model_writes_is_a_few_messages_that_are_seen(
    reply: str, most: int, by_voice: bool
):
    said = delivered(parts_of(reply), _turn(), by_voice=by_voice)
    assert 1 <= len(said) <= most
    for part in said:
        if isinstance(part, str):
            assert part.strip("\u200b\u2060 \n")
            assert len(part) <= WHATSAPP_LIMIT
            assert "[[image:" not in part


@pytest.mark.parametrize(
    "reply", ["", "\u200b", "\u2060\n\n\u200d\ufe0f", "\u3164", "[[image:none]]"]
)
def test_what_nobody_sees_is_no_reply(reply: str):
    assert delivered(parts_of(reply), _turn(), by_voice=False) == ()


def test_the_first_text_quotes_what_it_answers_also_behind_a_file():
    made = _turn()
    (asked,) = [message for message in made.history if message.in_turn]
    twice = tuple(asked.model_copy(update={"wa_id": name}) for name in ("3A0", "3A1"))
    delivery = DeliveryRules(max_bubbles=3, quote_replies=True)
    tenant = made.tenant.model_copy(update={"delivery": delivery})
    made = made.model_copy(update={"history": twice, "tenant": tenant})
    image, first, second = delivered(
        ("[[image:menu]]\n\nO menu é este.\n[[image:none]]", "Qual?"), made, by_voice=False
    )
    quoting = [
        outgoing(part, made, before).refers_to
        for part, before in ((image, ()), (first, (image,)), (second, (image, first)))
    ]
    assert quoting == [None, "3A1", None]


def test_all_the_typing_of_a_reply_is_bounded_and_nothing_short_is_typed():
    pace = Pace(speed=40, most=8)
    typed = 0.0
    for characters in (80, 4000, 4000, 10):
        typed += pace.seconds(characters, typed)
    assert typed == 8
    assert pace.seconds(10, 0) == 0  # a quarter of a second is not seen
    assert replace(pace, speed=0).seconds(4000, 0) == 0
