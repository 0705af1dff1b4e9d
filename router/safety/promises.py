"""Recognises replies that promise a human, in Portuguese, Spanish and English. Pure.

Models tend to promise one although nobody is told. An offer ("I can transfer you, if you like") or
a question promises nothing. A promise must be about the customer, or the matter they talk about:
passing coffee to the team, or heating an oven, promises nobody.
"""

import re
import unicodedata

from router.safety.promise_shapes import Promises
from router.safety.promises_in_english import ENGLISH
from router.safety.promises_in_portuguese import PORTUGUESE
from router.safety.promises_in_spanish import SPANISH

_LONG = 20_000  # characters that are searched; no promise comes after so long a text
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_LANGUAGES = (PORTUGUESE, SPANISH, ENGLISH)
SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]?")
CLAUSE_ENDS = re.compile(
    r"[,;:\u2013\u2014()]"
    r"|\b(?:porque|pois|ja que|mas|e|pero|y|ya que|because|since|as|but|and|so)\b"
)
_YES = re.compile("\\bs(?:\u00ed|i\u0301)\\b")  # "sí, te paso": without its accent it is an "if"
# A tag that does not make a question of a sentence: "já te passo para um atendente, tá?"
TAG = re.compile(r",?\s*\b(?:ta(?: bom)?|viu|ok(?:ay)?|certo|combinado|vale|all ?right)\s*\?$")


def promises_person(text: str) -> bool:
    """Whether the text says that a human of the business comes, answers or was called."""
    said = plain(_YES.sub(",", text[:_LONG].casefold()))
    return any(
        _is_promised(sentence, language)
        for sentence in SENTENCE.findall(said)
        for language in _LANGUAGES
    )


def _is_promised(sentence: str, language: Promises) -> bool:
    said = TAG.sub("", sentence)
    if said.endswith("?") or language.offers.search(said):
        return False
    return any(
        not language.denies.search(_clause_of(promise))
        for promise in language.promise.finditer(said)
    )


def _clause_of(promise: re.Match[str]) -> str:
    before = CLAUSE_ENDS.split(promise.string[: promise.start()])[-1]
    behind = CLAUSE_ENDS.split(promise.string[promise.end() :])[0]
    return before + promise[0] + behind


def plain(text: str) -> str:
    """Return the text in lower case and without accents."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(each for each in letters if not unicodedata.combining(each))
    return bare.replace(_APOSTROPHE, "'")
