"""Whether a reply promises that a human comes, in Portuguese, Spanish and English (pure).

A model likes to say so, and nobody is told. What it only offers ("I can transfer you, if you like")
or asks promises nothing.
"""

import re
import unicodedata

_LONG = 20_000  # characters that are looked at: no promise stands behind a book
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"


def _one(pattern: str) -> str:
    """Return a pattern that is written on several lines."""
    return "".join(line.strip() for line in pattern.splitlines())


# Who comes. Written without accents, as the text is then.
_PT_WHO = _one(r"""
    (?:(?:um|uma|algum|alguma|nosso|nossa|nossos|nossas|outro|outra|o|a|os|as|do|da|de|pra|para
    |pro|ao|com|por|seu|sua)\s+)*
    (?:atendentes?|atendimento humano|colegas?|humanos?|especialistas?|consultor(?:a|es)?
    |responsavel|responsaveis|gerentes?|supervisor(?:a|es)?|vendedor(?:a|es)?|equipe|time
    |setor\s+\w+|suporte humano|pessoa(?: real| de verdade| da equipe| do time)
    |alguem(?: da equipe| do time)?|funcionari[oa]|operadora?|representante)
""")
_ES_WHO = _one(r"""
    (?:(?:un|una|algun|alguna|nuestro|nuestra|otro|otra|el|la|los|las|al|a|del|de|con|por)\s+)*
    (?:agentes?|humanos?|coleg[ao]s?|companer[ao]s?|asesor(?:a|es)?|especialistas?|equipo
    |representantes?|encargad[oa]s?|responsables?|gerentes?|supervisora?
    |persona(?: real| del equipo)?|alguien(?: del equipo)?|operadora?|vendedora?)
""")
_EN_WHO = _one(r"""
    (?:(?:a|an|one|of|our|another|the|some|my|to|with|human|live|real|support|sales|team)\s+)*
    (?:colleagues?|humans?|persons?|agents?|representatives?|specialists?|team(?: members?)?
    |managers?|supervisors?|someone(?: from (?:the|our) team)?|somebody|staff|advisors?
    |operators?|co-?workers?|members? of (?:our|the) (?:team|staff))
""")
_NEAR = r"\b[^.!?\n]{0,60}?\b"
_PT_PASSES_ON = _one(r"""
    \b(?:vou|irei|vamos|estou|estamos)\s+(?:ja\s+)?(?:te |lhe |o |a |voce )?
    (?:transferi\w*|encaminha\w*|passa(?:r|ndo)|direciona\w*|redireciona\w*|conecta\w*|chama\w*
    |aciona\w*|pedi(?:r|ndo) (?:para|pra|a))
""")
_PT_PASSED_ON = _one(r"""
    \b(?:(?:te|lhe|voce foi|sua conversa foi|seu atendimento foi|ja)\s+
    (?:transferi|encaminhei|passei|transferid[oa]|encaminhad[oa]|chamei|acionei|avisei)
    |transferi|encaminhei|transferindo|encaminhando)
""")
_ES_PASSES_ON = _one(r"""
    \b(?:(?:voy a|vamos a|estoy|estamos)\s+(?:(?:te|lo|la|le)\s+)?
    (?:transferi\w*|transfiriendo\w*|deriva\w*|pasa\w*|conecta\w*|comunica\w*|llama\w*|avisa\w*)
    |(?:te|lo|la|le)\s+(?:transfiero|derivo|paso|conecto|comunico)|transfiriendo)
""")
_EN_PASSES_ON = _one(r"""
    \b(?:i'?m|i am|i'?ll|i will|let me|we'?re|we are|we'?ll|we will|i'?ve|i have)\s+
    (?:now\s+|just\s+|already\s+)?(?:going to\s+)?
    (?:transfer\w*|forward\w*|connect\w*|hand\w*|pass\w*|escalat\w*|get|getting|call\w*|notif\w+
    |put\w*|let(?:ting)?(?! you))|\btransferring you
""")
# Who asks first: the words stand right before who is asked.
_PT_ASKS = _one(r"""
    \b(?:vou|irei|vamos|estou|estamos)\s+(?:ja\s+)?(?:(?:consulta|pergunta)(?:r|ndo)
    |(?:verifica|confirma|checa|fala|conversa)(?:r|ndo)(?: \w+){0,3}? com)\s+
""")
_ES_ASKS = _one(r"""
    \b(?:voy a|vamos a|estoy|estamos)\s+(?:pregunta(?:r|rle|ndo)
    |(?:consulta|verifica|confirma|habla)(?:r|rlo|rla|ndo)(?: \w+){0,3}? con)\s+
""")
_EN_ASKS = _one(r"""
    \b(?:i'?m|i am|i'?ll|i will|let me|we'?re|we are|we'?ll|we will)\s+(?:going to\s+)?
    (?:ask(?:ing)?|(?:check|confirm|speak|talk|verify)(?:ing)?(?: \w+){0,3}? (?:with|to))\s+
""")
_PT_COMES = _one(r"""
    \s+(?:ja |logo |em breve |em instantes )?
    (?:vai|vao|ira|irao|entrara|entrarao|estara|respondera|continuara|assumira|retornara)\b\s*
    (?:ja |logo |em breve )?(?:te |lhe |voce )?
    (?:entrar|em contato|respond\w*|atend\w*|ajuda\w*|fala\w*|liga\w*|retorna\w*|continua\w*
    |assumi\w*|verifica\w*|aqui|com voce|por aqui|o seu|seu|chama\w*)
""")
_ES_COMES = _one(r"""
    \s+(?:ya |pronto |en breve )?(?:(?:te|lo|la|le|se)\s+)?
    (?:va a|van a|contactara|respondera|atendera|ayudara|llamara|escribira|pondra|comunicara
    |continuara)\b
""")
_EN_COMES = _one(r"""
    \s+(?:will|is going to|are going to)\s+(?:be\s+)?(?:soon\s+|shortly\s+)?
    (?:contact\w*|reach\w*|get back|call\w*|reply\w*|respond\w*|assist\w*|help\w*|take over
    |in touch|with you|join\w*|continue\w*|follow up|look into)
""")
_PROMISE = re.compile(
    "|".join(
        (
            rf"{_PT_PASSES_ON}{_NEAR}{_PT_WHO}\b",
            rf"{_PT_PASSED_ON}{_NEAR}{_PT_WHO}\b",
            rf"{_ES_PASSES_ON}{_NEAR}{_ES_WHO}\b",
            rf"{_EN_PASSES_ON}{_NEAR}{_EN_WHO}\b",
            rf"{_PT_ASKS}{_PT_WHO}\b",
            rf"{_ES_ASKS}{_ES_WHO}\b",
            rf"{_EN_ASKS}{_EN_WHO}\b",
            rf"\b{_PT_WHO}{_PT_COMES}",
            rf"\b{_ES_WHO}{_ES_COMES}",
            rf"\b{_EN_WHO}{_EN_COMES}",
        )
    )
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]?")
_CLAUSE_ENDS = re.compile(
    r"[,;:\u2013\u2014()]"
    r"|\b(?:porque|pois|ja que|mas|e|pero|y|ya que|because|since|as|but|and|so)\b"
)
# An offer or a condition, wherever it stands in the sentence, or a question. "Sim, te paso" is in
# Spanish, without accents, "si, te paso"; "se" may also belong to its verb: "se pondrá", "não se
# preocupe".
_ONLY_OFFERS = re.compile(
    r"(?<!\bnao )\bse\b(?! (?:pondra|pondran|va|van|comunicara|contactara|encargara|ocupara|chama"
    r"|llama)\b)|\bsi\b(?!\s*,)"
    r"|\b(?:quando|cuando|if|when|whenever|unless)\b|(?:^|,)\s*caso\b|\?$"
)
# The contrary of a promise, where it stands in the promise's own clause.
_NOT = re.compile(r"\b(?:nao|no|not|nunca|never|cannot|can'?t|won'?t)\b")


def promises_person(text: str) -> bool:
    """Whether it says that a human of the business comes, answers or was called."""
    return any(
        not _ONLY_OFFERS.search(sentence) and any(map(_is_meant, _PROMISE.finditer(sentence)))
        for sentence in _SENTENCE.findall(plain(text[:_LONG]))
    )


def _is_meant(promise: re.Match[str]) -> bool:
    """Whether nothing in its own clause denies it."""
    before = _CLAUSE_ENDS.split(promise.string[: promise.start()])[-1]
    behind = _CLAUSE_ENDS.split(promise.string[promise.end() :])[0]
    return not _NOT.search(before + promise[0] + behind)


def plain(text: str) -> str:
    """Return the text in small letters and without accents."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(each for each in letters if not unicodedata.combining(each))
    return bare.replace(_APOSTROPHE, "'")
