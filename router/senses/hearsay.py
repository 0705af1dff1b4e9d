"""Removes the words that transcribing models invent for silence and noise. Pure.

Whisper and similar models never report that they heard nothing. Instead they invent lines from the
subtitles that they were trained on, or signs for music. Only a text that consists of nothing else
is removed: "obrigado" alone may really have been said.
"""

import re

_MADE_UP = (
    r"subtitles? by (the )?amara\.?org( community)?",
    r"legendas? (pela|por) (a )?comunidade (de )?amara\.?org",
    r"subt[ií]tulos (realizados )?por la comunidad de amara\.?org",
    r"legendado por .{1,40}",
    r"legendas? por .{1,40}",
    r"subtitles? by .{1,40}",
    r"transcri(ção|ption|pción|cao)( e legendas)? (por|by|de) .{1,40}",
    r"thanks? (you )?for watching( this video)?",
    r"(please )?(like and )?subscribe( to (my|our|the) channel)?",
    r"(muito )?obrigad[oa] por assistir( o v[ií]deo)?",
    r"gracias por ver( el v[ií]deo)?",
    r"inscreva-se no (meu |nosso )?canal",
    r"suscr[ií]bete( al canal)?",
)
_CREDITS = re.compile(f"(?:{'|'.join(_MADE_UP)})", re.IGNORECASE)
_SIGN = re.compile(r"[\[(*♪♫][^\])]{0,40}[\])*♪♫]?", re.IGNORECASE)  # [Music], ♪, (silence)
_AROUND = " \t.,!?…♪♫-\"'"


def without_hearsay(words: str) -> str:
    """Return what was said, or an empty text if a model invented it for silence."""
    said = " ".join(words.split())
    sentences = (each.strip(_AROUND) for each in re.split(r"(?<=[.!?])\s", said))
    if all(_is_made_up(each) for each in sentences):
        return ""
    return said


def _is_made_up(sentence: str) -> bool:
    is_sign = _SIGN.fullmatch(sentence) is not None
    return not sentence or is_sign or _CREDITS.fullmatch(sentence) is not None
