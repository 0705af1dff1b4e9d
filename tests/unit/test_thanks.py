"""Who only says thanks may get a reaction; whoever says more is answered."""

from datetime import timedelta

import pytest

from router.replies.thanks import is_bare_thanks, thanked_with
from router.state.calls.claimed_turn import TurnMessage
from tests.unit.test_fallback import turn


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Obrigado!",
            "obg",
            "vlw",
            "Muito obrigada pela atenção 😊",
            "valeu demais",
            "🙏",
            "🙏🙏",
        ),
        *("ok, obrigado", "Perfeito, muito obrigada! Boa noite", "Gracias", "¡Muchas gracias!"),
        *("mil gracias por todo", "Thanks!", "thank you so much", "Thx 🙏", "Ok thanks a lot"),
        "OBRIGADA VIU",
    ],
)
def test_a_bare_thanks_is_one(text: str):
    assert is_bare_thanks(text)


@pytest.mark.parametrize(
    "text",
    [
        *("Não, obrigado", "no, gracias", "no thanks", "obrigado, e quanto custa", "obrigada?"),
        *("Obrigado mas ainda não chegou", "thanks, I'll take 2", "valeu a pena esperar", "ok"),
        *("", "👍", "obrigado " * 11, "tks, my order is late", "gracias pero quiero hablar"),
    ],
)
def test_what_says_more_or_less_is_none(text: str):
    assert not is_bare_thanks(text)


def _turn(said: str, *wrote: str, kind: str = "text", chat: str = "contact"):
    made = turn()
    (last,) = [message for message in made.history if message.in_turn]
    ours = TurnMessage(
        message_id=1, wa_id="3EB0A", from_me=True, sender="ai", kind="text", body=said,
        quoted=None, author_name=None, sent_at=last.sent_at - timedelta(minutes=1), in_turn=False,
    )  # fmt: skip
    asked = [
        last.model_copy(update={"body": body, "wa_id": f"3A{n}", "kind": kind})
        for n, body in enumerate(wrote)
    ]
    session = made.session.model_copy(update={"chat": chat})
    return made.model_copy(update={"history": (ours, *asked), "session": session})


def test_thanks_for_an_answer_is_reacted_to_at_its_last_message():
    assert thanked_with(_turn("O bolo custa R$ 45.", "Perfeito", "obrigada!")) is None
    assert thanked_with(_turn("O bolo custa R$ 45.", "valeu", "obrigada!")) == "3A1"


def test_thanks_after_a_question_may_be_the_answer_to_it():
    assert thanked_with(_turn("Posso confirmar?", "obrigada!")) is None
    asked = _turn("Posso confirmar?", "obrigada!")
    second = asked.history[0].model_copy(update={"body": "Estamos abertos até as 18h."})
    bubbles = (asked.history[0], second, *asked.history[1:])
    assert thanked_with(asked.model_copy(update={"history": bubbles})) is None


def test_there_is_none_in_a_group_nor_for_what_is_no_text():
    assert thanked_with(_turn("Custa R$ 45.", "obrigada", chat="group")) is None
    assert thanked_with(_turn("Custa R$ 45.", "obrigada", kind="image")) is None
