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


# Who comes. Written without accents, as the text is then. What may stand before them has an end: a
# text of nothing else would be read anew from each of its words, and keep the whole router waiting.
_PT_WHO = _one(r"""
    (?:(?:um|uma|algum|alguma|nosso|nossa|nossos|nossas|outro|outra|o|a|os|as|do|da|de|pra|para
    |pro|ao|com|por|seu|sua)\s+){0,5}
    (?:atendentes?|atendimento humano|colegas?|humanos?|especialistas?|consultor(?:a|es)?
    |responsavel|responsaveis|gerentes?|supervisor(?:a|es)?|vendedor(?:a|es)?|equipe|time
    |setor\s+\w+|suporte humano|pessoa(?: real| de verdade| da equipe| do time)
    |alguem(?: da equipe| do time)?|funcionari[oa]|operadora?|representante)
""")
_ES_WHO = _one(r"""
    (?:(?:un|una|algun|alguna|nuestro|nuestra|otro|otra|el|la|los|las|al|a|del|de|con|por)\s+){0,5}
    (?:agentes?|humanos?|coleg[ao]s?|companer[ao]s?|asesor(?:a|es)?|especialistas?|equipo
    |representantes?|encargad[oa]s?|responsables?|gerentes?|supervisora?
    |(?<!por )(?<!cada )(?<!para una )persona(?: real| del equipo)?|alguien(?: del equipo)?
    |operadora?|vendedora?)
""")
_EN_WHO = _one(r"""
    (?:(?:a|an|one|of|our|another|the|some|my|to|with|human|live|real|support|sales|team)\s+){0,5}
    (?:colleagues?|humans?|(?<!for one )(?<!for a )(?<!per )person|agents?|representatives?
    |specialists?|team(?: members?)?
    |managers?|supervisors?|someone(?: from (?:the|our) team)?|somebody|staff|advisors?
    |operators?|co-?workers?|members? of (?:our|the) (?:team|staff))
""")
_NEAR = r"\b[^.!?\n]{0,60}?\b"
_PT_PASSES_ON = _one(r"""
    \b(?:vou|irei|vamos|estou|estamos)\s+(?:ja\s+)?(?:te |lhe |o |a |voce )?
    (?:transferi\w*|encaminha\w*|passa(?:r|ndo)|direciona\w*|redireciona\w*|conecta\w*|chama\w*
    |aciona\w*)
""")
_PT_PASSED_ON = _one(r"""
    \b(?:(?:te|lhe|voce foi|sua conversa foi|seu atendimento foi|ja)\s+
    (?:transferi|encaminhei|passei|transferid[oa]|encaminhad[oa]|chamei|acionei|avisei)
    |transferi|encaminhei|transferindo|encaminhando)
""")
# "O valor para uma pessoa" is a price, and passed to nobody.
_PT_TO_PERSON = _one(r"""
    \b(?:(?!\b(?:valor(?:es)?|precos?|orcamentos?|custo|total|cardapio|menu|tabela|opc(?:ao|oes)
    |porc(?:ao|oes)|receita|quantidade)\b)[^.!?\n]){0,60}?\buma pessoa
""")
_ES_PASSES_ON = _one(r"""
    \b(?:(?:voy a|vamos a|estoy|estamos)\s+(?:(?:te|lo|la|le)\s+)?
    (?:transferi\w*|transfiriendo\w*|deriva\w*|pasa\w*|conecta\w*|comunica\w*|llama\w*|avisa\w*)
    |(?:te|lo|la|le)\s+(?:transfiero|derivo|paso|conecto|comunico)|transfiriendo)
""")
_EN_I_WILL = _one(r"""
    \b(?:i'?m|i am|i'?ll|i will|let me|we'?re|we are|we'?ll|we will|i'?ve|i have)\s+
    (?:now\s+|just\s+|already\s+)?(?:going to\s+)?
""")
_EN_PASSES_ON = _one(rf"""
    (?:{_EN_I_WILL}(?:transfer\w*|forward\w*|connect\w*|(?:hand|pass)(?:ing|ed)?\b(?! by\b)
    |escalat\w*|call\w*
    |notif\w+|put(?:ting)? (?:you|your|this)|get(?:ting)? (?:you|this)|let(?:ting)?(?! you))
    |\btransferring you)
""")
# Who asks, calls or tells somebody: the words stand right before who that is.
_PT_ASKS = _one(r"""
    \b(?:(?:vou|irei|vamos|estou|estamos)\s+(?:ja\s+)?(?:(?:consulta|pergunta|avisa|notifica)(?:r|ndo)
    |pedi(?:r|ndo)(?: ajuda| apoio| que)?
    |(?:verifica|confirma|checa|fala|conversa)(?:r|ndo)(?: \w+){0,3}? com)
    |avisei|chamei|acionei|notifiquei)\s+
""")
_ES_ASKS = _one(r"""
    \b(?:(?:voy a|vamos a|estoy|estamos)\s+(?:pregunta(?:r|rle|ndo)|pedir(?:le)?(?: ayuda| que)?
    |(?:consulta|verifica|confirma|habla)(?:r|rlo|rla|ndo)(?: \w+){0,3}? con)
    |ya (?:avise|llame)|he (?:avisado|llamado))\s+
""")
_EN_ASKS = _one(rf"""
    {_EN_I_WILL}(?:ask(?:ing)?|get(?:ting)?
    |(?:check|confirm|speak|talk|verify)(?:ing)?(?: \w+){{0,3}}? (?:with|to))\s+
""")
_EN_DO = _one(r"""
    \s+(?:contact|call|get|reach|reply|respond|help|assist|follow|look|take|check|come|give|message
    |text|write|join|be)\b
""")
# What somebody will do counts where it is done to the customer, or to what they want, or where
# nothing is said but when: a team that heats its oven comes to nobody.
_PT_YOU = r"(?:voces?|vc|o senhor|a senhora)"
_PT_DOES = r"(?:respond|atend|ajud|fal|lig|retorn|cham|orient|auxili|procur|contat)"
_PT_DOES_BUT_ATTEND = _PT_DOES.replace("atend|", "")
_PT_SOON = _one(r"""
    (?=\s*(?:$|[.,;:!)\u2013\u2014]|(?:em breve|em instantes|logo|ja ja|agora|hoje|amanha|aqui
    |por aqui|assim que|o (?:quanto|mais)|e (?:te|lhe|entra\w*)|dentro de|daqui a
    |nas? proxim\w+|em ate)\b))
""")
_PT_COMES = _one(rf"""
    \s+(?:ja |logo |em breve |em instantes )?(?:
    (?:vai|vao|ira|irao)\s+(?:ja |logo |em breve )?(?:te|lhe)
    (?:(?:{_PT_DOES_BUT_ATTEND}|dar)\w*|atend\w*{_PT_SOON})
    |(?:(?:vai|vao|ira|irao)\s+)?(?:ja |logo |em breve )?(?:
    entra(?:r|ra|rao) em contato|esta(?:r|ra|rao) (?:aqui )?(?:com {_PT_YOU}|por aqui)
    |(?:te|lhe) (?:{_PT_DOES}(?:[ea]rao?\b|\w*{_PT_SOON})|darao?)
    |{_PT_DOES}(?:er|ar|era|ara|erao|arao)
    (?: (?:para|pra|com|a))? {_PT_YOU}
    |(?:respond|retorn|lig)(?:er|ar|era|ara|erao|arao){_PT_SOON}
    |(?:verific|analis|confer|chec|resolv|assum|continu)(?:ar|er|ir|ara|era|ira|arao|erao|irao)
    (?:{_PT_SOON}| (?:isso|seu|sua|o seu|a sua|o que|com {_PT_YOU}|o atendimento|a conversa|daqui))
    ))\b
""")
_PT_BY = _one(r"""
    \b(?:sera|vai ser)\s+(?:contatad|contactad|chamad|transferid)[oa]\b[^.!?\n]{0,30}?\b
    (?:por|para|pra)\s+
""")
# Who attends to somebody on Tuesday at ten has an appointment: that is nobody's handoff.
_PT_ATTENDED_BY = r"\b(?:sera|vai ser)\s+atendid[oa]\b[^.!?\n]{0,30}?\bpor\s+"
_PT_WE_COME = _one(r"""
    \b(?:(?:entraremos|(?:vamos|iremos) entrar) em contato
    |(?:te|lhe) (?:ligaremos|retornaremos|chamaremos)|(?:vamos|iremos) (?:te|lhe) (?:liga|retorna)r
    |(?:ligaremos|vamos ligar|iremos ligar) (?:para|pra) (?:voce|o senhor|a senhora))\b
""")
_ES_YOU = r"(?:contigo|con usted|con ustedes|a usted)"
_ES_SOON = _one(r"""
    (?=\s*(?:$|[.,;:!)\u2013\u2014]|(?:en breve|pronto|ahora|hoy|manana|aqui|por aqui|lo antes
    |cuanto antes|tan pronto|en unos|en un|dentro de)\b))
""")
_ES_DOES = r"(?:contact|respond|contest|atend|ayud|llam|escrib|avis|asist|orient|explic|confirm)"
_ES_DOES_BUT_ATTEND = _ES_DOES.replace("atend|", "")
_ES_COMES = _one(rf"""
    \s+(?:ya |pronto |en breve )?(?:
    (?:te|lo|la|le|les)\s+(?:(?:va a|van a) {_ES_DOES}\w*|{_ES_DOES}(?:[aei]ran?\b|\w*{_ES_SOON}))
    |se\s+(?:va a |van a )?(?:pond|pon|comunic|contact|encarg|ocup)\w*
    |(?:va a|van a)\s+(?:{_ES_DOES}[aei]r(?:te|le|lo|la|les)
    |ponerse en contacto|comunicarse|(?:hablar|estar|seguir|continuar) {_ES_YOU})
    |(?:va a |van a )?(?:respond|contest)er(?:a|an)?{_ES_SOON}
    |(?:va a |van a )?(?:revis|verific|analiz|continu|segu|tom)[ai]r(?:a|an)?
    (?:{_ES_SOON}| (?:su|tu|esto|eso|el caso|la conversacion|{_ES_YOU}))
    )\b
""")
_ES_COMES_FIRST = _one(rf"""
    \b(?:(?:te|le|lo|la)\s+(?:va a )?{_ES_DOES_BUT_ATTEND}[aei]ra?
    |se (?:pondra en contacto|comunicara)(?: (?:{_ES_YOU}))?)\s+(?:en breve |pronto )?
""")
_ES_BY = _one(r"""
    \b(?:sera|va a ser)\s+(?:contactad|llamad|transferid|derivad)[oa]\b[^.!?\n]{0,30}?\b
    (?:por|a|con)\s+
""")
_ES_ATTENDED_BY = _one(r"""
    \b(?:(?:te|le|lo|la)\s+(?:va a )?atendera?
    |(?:sera|va a ser)\s+atendid[oa]\b[^.!?\n]{0,30}?\bpor)\s+(?:en breve |pronto )?
""")
_ES_WE_COME = _one(r"""
    \b(?:nos (?:pondremos|vamos a poner) en contacto
    |nos (?:comunicaremos|contactaremos) con(?:tigo| usted)
    |(?:te|le|lo|la) (?:llamaremos|contactaremos)
    |vamos a (?:llamar|contactar)(?:te|le|lo|la))\b
""")
_EN_SOON = _one(r"""
    (?=\s*(?:$|[.,;:!)\u2013\u2014]|(?:soon|shortly|in a|in the next|within|here|now|today|tomorrow
    |as soon|asap|right)\b))
""")
_EN_COMES = _one(rf"""
    (?:'ll|\s+(?:will|is going to|are going to))\s+(?:be\s+)?(?:soon\s+|shortly\s+)?(?:
    contact(?:ing)?(?: you|{_EN_SOON})|reach(?:ing)? (?:out|you)|get back|in touch|get in touch
    |call(?:ing)?(?: you| back|{_EN_SOON})|give you a call
    |(?:reply|respond)(?:ing)?(?: to (?:you|your|this)|{_EN_SOON})
    |(?:assist|help)(?:ing)?(?: you\b| with (?:this|that|your)|{_EN_SOON})|take over
    |with you{_EN_SOON}
    |join(?:ing)? (?:you|us|this|the (?:chat|conversation))
    |continue(?: with you| this| the (?:chat|conversation)|{_EN_SOON})
    |follow(?:ing)? up|look(?:ing)? into|take care of (?:this|that|it|you)
    )
""")
_EN_BY = _one(r"""
    \b(?:will|'ll|are going to) be
    (?: contacted| called| transferred| connected| answered)
    (?:\s\w+){0,2}? (?:by|to|with)\s+
""")
_EN_ATTENDED_BY = r"\b(?:will|'ll|are going to) be (?:helped|assisted)(?:\s\w+){0,2}? by\s+"
_EN_WE_COME = _one(r"""
    \bwe(?:'ll| will|'re going to| are going to) (?:shortly |soon )?
    (?:contact you|call you|get back to you|reach out to you|be in touch|get in touch)\b
""")
_PROMISE = re.compile(
    "|".join(
        (
            rf"{_PT_PASSES_ON}(?:{_NEAR}{_PT_WHO}|{_PT_TO_PERSON})\b",
            rf"{_PT_PASSED_ON}(?:{_NEAR}{_PT_WHO}|{_PT_TO_PERSON})\b",
            rf"{_ES_PASSES_ON}{_NEAR}{_ES_WHO}\b",
            rf"{_EN_PASSES_ON}{_NEAR}{_EN_WHO}\b",
            rf"{_PT_ASKS}{_PT_WHO}\b",
            rf"{_ES_ASKS}{_ES_WHO}\b",
            rf"{_EN_ASKS}{_EN_WHO}\b",
            rf"{_EN_I_WILL}have\s+{_EN_WHO}{_EN_DO}",
            rf"\b{_PT_WHO}{_PT_COMES}",
            rf"\b{_ES_WHO}{_ES_COMES}",
            rf"\b{_EN_WHO}{_EN_COMES}",
            rf"{_ES_COMES_FIRST}{_ES_WHO}\b",
            rf"{_PT_BY}(?:{_PT_WHO}|uma pessoa)\b",
            rf"{_ES_BY}{_ES_WHO}\b",
            rf"{_EN_BY}{_EN_WHO}\b",
            rf"{_PT_ATTENDED_BY}(?:{_PT_WHO}|uma pessoa){_PT_SOON}",
            rf"{_ES_ATTENDED_BY}{_ES_WHO}{_ES_SOON}",
            rf"{_EN_ATTENDED_BY}{_EN_WHO}{_EN_SOON}",
            _PT_WE_COME,
            _ES_WE_COME,
            _EN_WE_COME,
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
