"""Recognises a message that only says thanks, in Portuguese, Spanish or English. Pure.

A message with anything else in it (a question, a number, a no) is answered in words.
"""

import re
import unicodedata
from itertools import takewhile

from router.state.calls.claimed_turn import ClaimedTurn, TurnMessage

_MOST_WORDS = 10
_SAY_THANKS = """
    obrigado obrigada obrigadao obrigadinho obrigadinha obg obgd obgda brigado brigada brigadao
    valeu vlw agradeco agradecido agradecida grato grata gratidao
    gracias grax agradezco thanks thank thankyou thx tks tnx ty thnks
"""
_SAY_NOTHING_MORE = """
    muito muita muitissimo mesmo demais de do da por pela pelo pelas pelos tudo atencao ajuda
    resposta informacao informacoes retorno carinho paciencia viu ta ok okay certo beleza blz
    perfeito otimo otima show maravilha massa top legal entendi combinado voce voces vc vcs a o
    e eu deus te abencoe bom boa dia tarde noite amigo amiga moca moco querida querido
    muchas muchisimas muchisima mil todo la el tu su ayuda atencion informacion respuesta vale
    listo perfecto genial excelente bien muy le les y un una abrazo saludos
    you so very much lot many for the your help everything info information reply great perfect
    cool awesome nice appreciate it got all again and that is
"""
_THANKS = frozenset(_SAY_THANKS.split())
_BESIDE = frozenset(_SAY_NOTHING_MORE.split())
_SIGNS = frozenset("🙏🤝")
_WORD = re.compile(r"\w+")


def is_bare_thanks(text: str) -> bool:
    """Whether the text only says thanks."""
    letters = unicodedata.normalize("NFD", text.lower())
    plain = "".join(char for char in letters if not unicodedata.combining(char))
    words = _WORD.findall(plain)
    if "?" in plain or len(words) > _MOST_WORDS:
        return False
    if not words:
        return any(char in _SIGNS for char in plain)
    return any(word in _THANKS for word in words) and all(
        word in _THANKS or word in _BESIDE for word in words
    )


def _asks(message: TurnMessage) -> bool:
    return "?" in message.body or "\uff1f" in message.body


def thanked_with(turn: ClaimedTurn) -> str | None:
    """Return the id of the thank-you to react to, or None to answer in words.

    It must follow a reply of ours without a question: after a question, "thanks" may be the answer.
    """
    if turn.session.chat == "group":
        return None
    asked = [message for message in turn.history if message.in_turn]
    before = [message for message in turn.history if not message.in_turn]
    # A reply may have several messages, and the question may be in any of them.
    thanked_for = list(takewhile(lambda message: message.from_me, reversed(before)))
    if not asked or not thanked_for or any(map(_asks, thanked_for)):
        return None
    if not all(m.kind == "text" and is_bare_thanks(m.body) for m in asked):
        return None
    return asked[-1].wa_id
