"""The patterns that promise a human in Portuguese, of Brazil and of Portugal. Pure."""

import re

from router.safety.promise_shapes import Promises, any_of, one

# Who comes. The number of words before them is limited: otherwise a text of only such words would
# be searched again from each of them, and block the whole router.
_WHO = one(r"""
    (?:(?:um|uma|algum|alguma|noss[oa]s?|outr[oa]|[oa]s?|d[eoa]s?|seu|sua)\s+){0,4}
    (?:atendentes?|atendimento humano|colegas?|colaborador(?:a|es|as)?|humanos?|especialistas?
    |consultor(?:a|es|as)?|assistentes?(?! virtual)|responsavel|responsaveis|direcao
    |gerentes?|gerencia|supervisor(?:a|es)?|vendedor(?:a|es|as)?|financeiro
    |(?:equip[ea]s?|time|pessoal)(?! d[ae] (?:cozinha|limpeza|producao)\b)
    |(?:setor|departamento|area)(?: d[eoa])? \w+|suporte|funcionari[oa]s?|operador(?:a|es)?
    |representantes?|don[oa]|proprietari[oa]|tecnic[oa]s?
    |pessoas?(?: real| de verdade| d[ao] (?:nossa |nosso )?(?:equip[ea]|time))
    |alguem(?: d[ao] \w+)?)\b
""")
_PERSON = rf"(?:{_WHO}|(?:uma )?pessoa\b)"
_MORE = one(r"""
    (?:\s+(?:humano|meu|minha|comercial|especializad[oa]s?|responsavel
    |d[aeo]s?(?: noss[oa])? \w+)){0,2}
""")
_YOU = r"(?:voces?|vc|o senhor|a senhora)"
_TO_YOU = rf"(?:consigo|contigo|(?:com|para|pra|a) {_YOU})"
# The customer's matters: passing these on is a promise, passing coffee is not.
_MATTER = one(r"""
    (?:mensagem|duvida|pergunta|questao|pedido|solicitacao|caso|assunto|reclamacao|contac?to
    |conversa|recado|informac(?:ao|oe)|atendimento|chamado|dados|situacao|problema|demanda|encomenda)
""")
_THEIRS = rf"(?:[oa]s? )?(?:seu|sua|teu|tua)s? {_MATTER}s?"
_THIS = rf"(?:{_YOU}|isso|isto|tudo|{_THEIRS}(?: d[eoa] \w+)?|(?:[oa]|ess[ea]|est[ea]) {_MATTER})"
_SEEN_TO = rf"(?:isso|isto|(?:d?[oa] |n[oa] )?(?:seu|sua|teu|tua)s? {_MATTER}s?|[oa] {_MATTER})"
_NOW = r"(?:agora(?: mesmo)?|ja|logo|hoje|diretamente|imediatamente|em contac?to)"
_SOON = one(r"""
    (?=\s*(?:$|[.,;:!)\u2013\u2014]|(?:em (?:breve|instantes|alguns|poucos|ate|um)|brevemente|logo
    |ja ja|agora|ainda hoje|hoje|amanha|aqui|por aqui|no whatsapp|assim que|o quanto|o mais
    |dentro de|daqui a|nas? proxim\w+|e (?:te|lhe|entra\w*)|para (?:agendar|combinar|confirmar))\b))
""")
_WILL = one(r"""
    (?:vou|irei|vamos|iremos|estou|estamos|deixa(?: eu)?|deixe-me|acabei de)
    (?: a| ja| so| agora)?(?: te| lhe| [oa]s?| voce)?
""")
_OR_YOU = r"(?:-?(?:l[oa]s?|te|lhes?))?"
_PASSES = r"(?:transferi|(?:re)?encaminha|(?:re)?passa|(?:re)?direciona|conecta|coloca|liga(?=-))"
_PASSING = one(rf"""
    (?:{_WILL} {_PASSES}(?:r|ndo)?{_OR_YOU}
    |(?:te|lhe|[oa]|ja) (?:passo|repasso|transfiro|encaminho|direciono)
    |(?:ja )?(?:te |lhe |[oa] )?(?:transferi|(?:re)?encaminhei|(?:re)?passei|direcionei)
    |(?:transferi|(?:re)?encaminha|direciona|repassa)ndo
    |(?:transferi|(?:re)?encaminha|(?:re)?passa|direciona)re(?:i|mos)
    |(?:vou|vamos|irei) [^,;:]{{1,60}} e (?:ja )?(?:transferir|(?:re)?encaminhar|repassar))\b
""")
_TO = r"(?:para|pra|pro|aos?|as?|com)"
_TELL = r"(?:avisa|chama|aciona|notifica|consulta|contac?ta|informa)"
_ASK_WITH = r"(?:verifica|confirma|checa|confere|fala|conversa|consulta)"
_ASKING = one(rf"""
    (?:{_WILL} (?:{_TELL}(?:r|ndo)?(?: (?:ao?|com))?
    |(?:pergunta(?:r|ndo)|pedi(?:r|ndo)(?: ajuda| apoio)?|solicita(?:r|ndo))(?: (?:{_TO}|que))?
    |deixa(?:r|ndo)(?: isso| um recado| recado)? {_TO}
    |{_ASK_WITH}(?:r|ndo)(?: \w+){{0,3}} com)
    |(?:ja )?(?:avisei|chamei|acionei|notifiquei|informei)(?: ao?)?
    |{_TELL}re(?:i|mos)(?: (?:com|ao?))?|pedire(?:i|mos)(?: (?:{_TO}|que))?
    |(?:verifica|confirma|fala|conversa)re(?:i|mos)(?: \w+){{0,3}} com
    |(?<!\bum )(?<!\bo )(?:chamo|aviso)(?! d)(?: ao?)?)
""")
# What somebody will do counts if it concerns the customer or what they want, or if only a time is
# named. A team that heats its oven is no promise.
_WILL_THEY = r"(?:vai|vao|ira|irao)(?: ja| logo| em breve)?"
_CONTACT = r"(?:respond|fal|lig|retorn|cham|contac?t|escrev|procur|avis)"
_HELP = r"(?:atend|ajud|orient|auxili|esclarec|assist|acompanh)"
_SEE_TO = r"(?:verific|analis|confer|chec|resolv|assum|continu|avali|cuid|revis|trat)"
_END = r"(?:[aei]r(?:a|ao)?)"
_WITH_THIS = rf"(?= (?:com|n[oa]|ness[ea]|a (?:resolver|finalizar|concluir)) ?(?:{_SEEN_TO}|\b))"
_COMES = one(rf"""
    {_MORE},?(?: ja| logo| em breve| em instantes)?,? (?:
    {_WILL_THEY} (?:te|lhe|[oa]) (?:{_CONTACT}{_END}\b|dar\b|{_HELP}{_END}(?:{_SOON}|{_WITH_THIS}))
    |{_WILL_THEY} (?:{_CONTACT}[aei]-?(?:l[oa]s?)|{_CONTACT}[aei]r-(?:te|lhes?)|dizer-lhe|dar-lhe)\b
    |{_WILL_THEY} {_HELP}[aei](?:-?l[oa]s?|r-(?:te|lhes?))(?:{_SOON}|{_WITH_THIS})
    |(?:{_WILL_THEY} )?{_CONTACT}{_END} (?:{_TO_YOU}|{_YOU})\b
    |(?:{_WILL_THEY} )?{_HELP}{_END} {_YOU}(?:{_SOON}|{_WITH_THIS})
    |(?:{_WILL_THEY} )?(?:respond|retorn|lig){_END}{_SOON}
    |(?:{_WILL_THEY} )?(?:se )?comunicar(?:-se)? {_TO_YOU}
    |(?:te|lhe) (?:{_CONTACT}[aei]rao?\b|darao?\b|{_HELP}[aei]rao?{_SOON})
    |(?:te|lhe) (?:{_CONTACT}|{_HELP})[aeo]m?{_SOON}
    |(?:fala|conversa|continua) {_TO_YOU}{_SOON}
    |{_WILL_THEY} (?:continuar|retornar) (?:{_TO_YOU}|{_THEIRS})\b|{_CONTACT}[aei]r-(?:te|lhe)-a
    |(?:{_WILL_THEY} )?entra(?:r|ra|rao|m)? em contac?to(?: {_TO_YOU}|{_SOON})
    |(?:{_WILL_THEY} )?esta(?:r|ra|rao) (?:aqui )?(?:{_TO_YOU}|por aqui){_SOON}
    |(?:{_WILL_THEY} )?{_SEE_TO}{_END}(?:{_SOON}| (?:{_SEEN_TO}|{_TO_YOU}|daqui)\b))
""")
_PASSIVE = one(rf"""
    (?:(?:sera|seras|vai ser) (?:contac?tad|chamad|transferid)[oa](?: \w+){{0,3}}
    \s(?:por|pel[oa]s?|para|pra) {_PERSON}
    |{_WHO} (?:ja )?(?:foi|esta) (?:avisad|informad|notificad|acionad)[oa]
    |{_THEIRS}(?: ja)? (?:foi|foram|sera|esta sendo) (?:encaminhad|repassad|transferid|passad
    |direcionad|(?<!pedido foi )enviad)[oa]s? {_TO} {_WHO}
    |{_THEIRS} d[eo] (?:reembolso|estorno|cancelamento|troca|devolucao) (?:ja )?(?:foi|sera)
    \s(?:encaminhad|repassad|transferid|passad|enviad)[oa] {_TO} {_WHO}
    |(?:voce|o senhor|a senhora) foi (?:encaminhad|transferid)[oa] {_TO} {_WHO})
""")
# "Será atendido na terça às dez" is an appointment, not a handoff.
_ATTENDED = one(rf"""
    (?:sera|seras|vai ser) atendid[oa](?: \w+){{0,3}} (?:por|pel[oa]s?) {_PERSON}{_SOON}
""")
_WE_COME = one(rf"""
    (?:entraremos em contac?to|(?:vamos|iremos|a gente vai|a gente) entrar? em contac?to
    |a gente entra em contac?to
    |(?:te|lhe) (?:ligaremos|retornaremos|chamaremos|responderemos)
    |(?:vamos|iremos|a gente vai) (?:te |lhe )?(?:liga|retorna|responde)r(?:-lhe|-te)?
    (?: o contac?to)?(?: (?:para|pra) {_YOU}|{_SOON})
    |(?:vamos|iremos) contac?ta-l[oa]s?|a gente te (?:liga|retorna|chama|responde){_SOON}
    |(?:ligaremos|retornaremos)(?: o contac?to)?(?: (?:para|pra|a) {_YOU}|{_SOON}))
""")
# Somebody by name, but not a courier, who calls from the door.
_BY_NAME = one(r"""
    (?:vou|vamos|irei) (?:pedir (?:para|pra|pro|ao?|que)|chamar)(?: [oa])?
    (?! ?(?:[oa] )?(?:entregador|motoboy|motorista|taxista|porteir|transportador|correio))
    \s\w+(?: (?:para|pra))? (?:te|lhe) (?:ligar|chamar|responder|retornar|atender|ajudar)\b
""")
# "Vou te transferir para" a person who is only named, or a place: the customer is transferred.
_MOVED = one(rf"""
    (?:(?:vou|vamos|irei|estou|estamos)(?: ja| so)? (?:te|lhe) transferi(?:r|ndo)
    |(?:ja )?(?:te|lhe) transfiro|(?:vou|vamos|irei|estou) transferi(?:r|ndo) {_YOU})
    (?: {_NOW})? (?:para|pra|pro) (?!(?:[oa]s? )?
    (?:sua|seu|tua|teu|minha|essa|esta|outr[oa]|uma?|conta|pix|chave|carteira|lista|fila|data|dia
    |turma|horario|agenda|pagina|site|link|loja|plano|cadastro|\d)\b)(?:[oa]s? )?\w
""")
# A question or a problem is taken to somebody; a cake would be a delivery.
_CARRIED = one(rf"""
    (?:vou|vamos|irei) levar (?:isso|isto|(?:[oa]s? )?(?:(?:seu|sua|teu|tua)s? )?
    (?:duvida|pergunta|questao|caso|reclamacao|solicitacao|situacao|problema|sugestao)s?)
    \s{_TO} {_WHO}
""")
PORTUGUESE = Promises(
    promise=any_of(
        rf"{_PASSING}(?: {_THIS})?(?: {_NOW})? {_TO} {_WHO}",
        rf"{_WILL} transferi(?:r|ndo)(?:-l[oa]s?| {_YOU})?(?: {_NOW})?(?=\s*(?:$|[.,;:!]))",
        rf"{_WILL} chamar (?:um|uma|outra) pessoa\b",
        rf"{_ASKING} {_WHO}",
        _BY_NAME,
        _MOVED,
        _CARRIED,
        rf"{_WHO}{_COMES}",
        rf"uma pessoa{_COMES}",
        _PASSIVE,
        _ATTENDED,
        _WE_COME,
    ),
    # "Se" may also belong to its verb: "não se preocupe", "vai se comunicar".
    offers=re.compile(
        r"(?<!\bnao )(?<!\bvai )(?<!\bvao )(?<!\bira )\bse\b|(?:^|,)\s*caso\b"
        r"|\bquando\b(?! (?:puder|estiver|possivel|voltar|ficar livre))"
        r"|^\W*qualquer (?:outra )?(?:coisa|duvida|problema|pergunta)\b"
    ),
    denies=re.compile(r"\b(?:nao|nem|nunca|ninguem|nenhum\w*)\b"),
)
