"""Chooses one of three languages for HybridFlow's own messages to a contact."""

import re
from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

from router.whatsapp.jids import JidKind, kind_of

Language: TypeAlias = Literal["pt", "es", "en"]
_NAMED: dict[str, Language] = {name: name for name in get_args(Language)}

# Words that occur in only one of the languages.
_PORTUGUESE = """
    não você vocês oi olá obrigado obrigada quero falar com uma um meu minha bom boa dia tarde noite
    tem preciso alguém pessoa isso está são atendente pra vcs vc ainda muito
"""
_SPANISH = """
    hola usted ustedes gracias quiero hablar con una un mi buenos buenas días tardes noches tiene
    necesito alguien persona eso está son agente para todavía muy qué cómo
"""
_ENGLISH = """
    hello hi you thanks thank want talk to with a the my good morning afternoon have need someone
    person this is are agent for still very what how please speak
"""
_WORDS: dict[Language, frozenset[str]] = {
    "pt": frozenset(_PORTUGUESE.split()),
    "es": frozenset(_SPANISH.split()),
    "en": frozenset(_ENGLISH.split()),
}
_SPEAK_PORTUGUESE = ("55", "351", "238", "239", "244", "245", "258")
_SPEAK_SPANISH = (
    *("34", "51", "52", "53", "54", "56", "57", "58", "502", "503", "504", "505", "506", "507"),
    *("591", "593", "595", "598", "1809", "1829", "1849"),
)
_ENOUGH = 2  # words more than in any other language; fewer decide nothing


def language_of(jids: Iterable[str], texts: Iterable[str] = ()) -> Language:
    """Return the language of a person's texts, or if that is unclear, of their number's country."""
    words = set(re.findall(r"\w+", " ".join(texts).lower()))
    found: dict[Language, int] = {name: len(words & known) for name, known in _WORDS.items()}
    first, second = sorted(found, key=lambda name: found[name], reverse=True)[:2]
    if found[first] >= found[second] + _ENOUGH:
        return first
    numbers = [jid for jid in jids if kind_of(jid) is JidKind.PHONE]
    if any(number.startswith(_SPEAK_PORTUGUESE) for number in numbers):
        return "pt"
    if any(number.startswith(_SPEAK_SPANISH) for number in numbers):
        return "es"
    return "en" if numbers or not found[first] else first


def language_or_english(name: str) -> Language:
    """Return the language of that name, or English if it is not one of the three."""
    return _NAMED.get(name, "en")
