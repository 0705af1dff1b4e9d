"""Recognises replies that end with "I will check and get back to you", in three languages. Pure.

Such a promise is empty: the AI speaks only when the customer does, so nobody comes back. It counts
if the reply has no other answer and asks for nothing: then the customer waits in vain.
"""

import re

from router.safety.promise_shapes import Promises, any_of, one
from router.safety.promises import CLAUSE_ENDS, SENTENCE, TAG, plain

_LONG = 5_000  # characters that are searched; a longer reply has certainly answered something
_END = r"\s*(?:$|[.!)]|,?\s*(?:ok|ta|viu|por favor|please)\b)"
_PT_SOON = one(rf"""
    (?=(?: (?:em (?:breve|instantes|seguida|alguns \w+|poucos \w+|um \w+)|brevemente|logo|ja|ja ja
    |agora|ainda hoje|hoje|amanha|aqui|por aqui|o (?:quanto antes|mais \w+ possivel)
    |daqui a \w+ ?\w*
    |assim que (?:possivel|puder|souber|tiver (?:a|uma|alguma) (?:resposta|posicao|informacao))
    |com (?:a|uma|essa|mais) (?:resposta|posicao|informac\w+|confirmacao|detalhes)
    |sobre (?:isso|o assunto)|certinho|direitinho)){{0,2}}{_END})
""")
_PT_BACK = one(r"""
    (?:(?:te|lhe|vos) (?:retorn|respond|avis|fal|inform|confirm)
    (?:o|[ae]|[ae]mos|[ae]r|[ae]rei|[ae]remos)
    |(?:te|lhe) (?:digo|diz|dizer|direi)(?: algo)?|(?:te|lhe) (?:dou|dar|da) (?:um |o |uma )?
    (?:retorno|resposta|posicao)|retorn(?:o|amos|ar|arei|aremos)(?: o contac?to)?
    |(?:volto|voltamos|voltar|voltarei)(?: a falar)?|(?:respondo|aviso|digo|informo)-(?:te|lhe))
    (?: (?:com|a|para) (?:voce|vc|o senhor|a senhora)| contigo| consigo)?
""")
_PT_CHECK = one(r"""
    (?:verific|chec|confer|confir|confirm|consult|ve|olh|apur|pesquis|averigu|pergunt|descobr
    |busc|procur|investig|analis)(?:ar?|er|ir|r|ando|endo|indo|o)?(?:-l[oa]s?)?
""")
PORTUGUESE = Promises(
    promise=any_of(
        rf"(?:vou|vamos|irei|iremos|deixa(?: eu)?|deixe-me|deixa-me|preciso|estou|estamos|a gente"
        rf"(?: vai)?)(?: a| ja| so| te| lhe){{0,2}} {_PT_CHECK}\b[^?]{{0,90}}?(?:,| e| que| para)"
        rf"(?: ja| logo| em breve| em seguida| depois){{0,2}} {_PT_BACK}{_PT_SOON}",
        rf"ja (?:te|lhe) (?:retorno|respondo|dou (?:um |uma )?(?:retorno|resposta)){_PT_SOON}",
        r"(?:te|lhe) (?:retorno|respondo|confirmo|informo|dou (?:um |uma )?(?:retorno|resposta))"
        r" (?:em (?:breve|instantes|alguns|poucos)|assim que (?:possivel|puder|souber))",
    ),
    offers=re.compile(
        r"\b(?:se|caso|quando|qualquer|depois|apos|posso|assim que (?:voce|vc|[oa] senhora?))\b"
    ),
    denies=re.compile(r"\b(?:nao|nem|nunca)\b"),
)
_ES_SOON = one(rf"""
    (?=(?: (?:en (?:breve|seguida|un \w+|unos \w+|cuanto (?:lo )?(?:sepa|pueda)|cuanto tenga
    (?:la |una )?(?:respuesta|informacion|confirmacion))|enseguida|pronto|ahora(?: mismo)?|ya|hoy
    |manana|aqui|por aqui|lo antes posible|cuanto antes|a la brevedad|con (?:la|una) (?:respuesta
    |informacion|confirmacion)|algo|al respecto)){{0,2}}{_END})
""")
_ES_BACK = one(r"""
    (?:(?:te|les?|os) (?:avis|respond|confirm|inform|cuent|coment|contest|escrib|dig)
    (?:o|amos|emos|imos|are|ere|ire|aremos|eremos)|(?:te|les?) (?:doy|dare) (?:una |la )?respuesta
    |(?:vuelvo|volvere|regreso|regresare)(?: (?:a escribir(?:te|le)|contigo|con usted))?
    |(?:avisar|responder|confirmar|informar)(?:te|les?))
""")
SPANISH = Promises(
    promise=any_of(
        r"(?:(?:(?:te|l[oa]s?) )?(?:voy|vamos) a|dej[ae]me|permit[ae]me|permit[ae]nos|estoy|estamos"
        r"|necesito|tengo que) (?:verific|revis|consult|confirm|chec|cheque|averigu|pregunt|comprob"
        r"|mir|ve|busc|investig)(?:ar|ando|er|r)?(?:l[oa]s?)?\b[^?]{0,90}?(?:,| y| para)"
        rf"(?: ya| ahora| en breve| enseguida| luego){{0,2}} {_ES_BACK}{_ES_SOON}",
        r"(?:dame|deme|permiteme|permitame|espera|espere|espereme|esperame) (?:un|unos|solo un) \w+"
        rf"(?: por favor)?,? (?:y|que) (?:ya |enseguida )?{_ES_BACK}{_ES_SOON}",
        r"(?:ya|enseguida|en breve|en un momento) (?:te|le) (?:respondo|contesto"
        rf"|doy (?:una )?respuesta|aviso|confirmo){_ES_SOON}",
    ),
    offers=re.compile(r"\b(?:si|cuando|cualquier|despues|tras|una vez|puedo)\b"),
    denies=re.compile(r"\b(?:no|nunca)\b"),
)
_EN_SOON = one(rf"""
    (?=(?: (?:to you|with you|shortly|soon|right away|asap|now|today|tomorrow|here|on (?:that|this)
    |about (?:that|this)|in (?:a|just a|a few) \w+|as soon as (?:possible|i (?:can|know|hear))
    |with (?:an|the|that) (?:answer|update|information|details))){{0,2}}{_END})
""")
_EN_BACK = one(r"""
    (?:(?:get|come|report|circle)(?: right)? back|let you know|update you|be (?:right )?back
    |follow up|reply to you|tell you)
""")
ENGLISH = Promises(
    promise=any_of(
        r"(?:(?:i|we)(?:'ll| will|'m going to| am going to|'re going to| need to)|let me)"
        r"(?: just| quickly)? (?:check|verify|confirm|find out|look (?:into|that|this|it)"
        r"|double-check|ask|see|review|investigate)\b[^?]{0,90}?(?:,| and)"
        rf"(?: (?:i|we)(?:'ll| will)| then| will){{0,2}} {_EN_BACK}{_EN_SOON}",
        rf"i(?:'ll| will) (?:get|come) (?:right )?back to you{_EN_SOON}",
    ),
    offers=re.compile(r"\b(?:if|when|whenever|unless|once|after|can)\b"),
    denies=re.compile(r"\b(?:no|not|never|cannot|can'?t|won'?t)\b"),
)
_LANGUAGES = (PORTUGUESE, SPANISH, ENGLISH)

# If the reply asks for something, the AI answers when the customer sends it.
_ASKS = re.compile(
    r"\?|\b(?:me (?:di[gz]a?|envi[ae]|mand[ae]|pass[ae]|fal[ae]|inform[ae]|confirm[ae]|cont[ae])"
    r"|(?:envi[ae]|mand[ae]|informe|escrev[ae]|preencha|basta|aguardo)(?:me)?\b"
    r"|(?:envia|manda|di|dime|digame|escribe|pasa)me\b|dime\b|digame\b"
    r"|please (?:send|tell|share|give)|(?:send|tell|give) me|share your|i(?:'ll)? need your)"
)
# Courtesies that may follow the promise: the customer still waits.
_COURTESY = re.compile(
    r"\b(?:obrigad[oa]|agradec\w+|aguard\w+|momento|minut\w+|instante\w*|pacienci?a|patience"
    r"|enquanto isso|mais alguma|algo mais|mais algo|outra (?:duvida|coisa)|desculp\w+|lamento"
    r"|tranquil[oa]|disposicao|disponh\w+|por favor|tudo bem|ta bo[mn]|pode ser|abraco"
    r"|gracias|mientras tanto|algo mas|otra (?:cosa|duda|consulta)|disculp\w+|perdon|espera"
    r"|thanks?|thank you|meanwhile|in the meantime|anything else|sorry|apologi[sz]e\w*|moment|wait"
    r"|hold on)\b"
)
_LETTER = re.compile(r"[a-z0-9]")


def promises_answer(text: str) -> bool:
    """Whether a reply only promises to find something out and to come back with an answer."""
    if len(text) > _LONG:
        return False
    sentences = SENTENCE.findall(plain(text))
    return any(
        _is_promised(sentence.strip())
        and not any(_ASKS.search(before) for before in sentences[:place])
        and all(_is_courtesy(after) for after in sentences[place + 1 :])
        for place, sentence in enumerate(sentences)
    )


def _is_courtesy(sentence: str) -> bool:
    return not _LETTER.search(sentence) or bool(_COURTESY.search(sentence))


def _is_promised(sentence: str) -> bool:
    said = TAG.sub("", sentence)
    if said.endswith("?"):
        return False
    return any(
        not language.offers.search(before := said[: promise.start()])
        and not _ASKS.search(before)
        and not language.denies.search(CLAUSE_ENDS.split(before)[-1])
        for language in _LANGUAGES
        for promise in language.promise.finditer(said)
    )
