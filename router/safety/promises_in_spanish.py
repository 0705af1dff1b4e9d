"""The patterns that promise a human in Spanish. Pure."""

import re

from router.safety.promise_shapes import Promises, any_of, one

_WHO = one(r"""
    (?:(?:un|una|uno|algun|alguna|nuestr[oa]s?|otr[oa]|el|la|los|las|mis?|del?|su)\s+){0,4}
    (?:agentes?|humanos?|colegas?|companer[ao]s?|asesor(?:a|es|as)?|especialistas?|equipo
    |ejecutiv[oa]s?|representantes?|encargad[oa]s?|responsables?|gerentes?|gerencia
    |supervisor(?:a|es)?|operador(?:a|es)?|vendedor(?:a|es)?|duen[oa]s?|propietari[oa]s?
    |(?:area|departamento)(?: de)? \w+|soporte|tecnic[oa]s?|personal
    |(?<!por )(?<!cada )(?<!para una )persona(?: real| del equipo)?|alguien(?: del equipo)?)\b
""")
_MORE = r"(?: (?:human[oa]|comercial|especializad[oa]s?|del? (?:nuestro )?\w+)){0,2}"
_YOU = r"(?:contigo|con usted(?:es)?|con vos|a usted(?:es)?)"
_MATTER = one(r"""
    (?:mensaje|duda|pregunta|cuestion|pedido|solicitud|caso|asunto|queja|reclamo|reclamacion|contacto
    |conversacion|consulta|datos|situacion|problema|peticion|chat)
""")
_THEIRS = rf"(?:su|tu)s? {_MATTER}s?"
_THIS = rf"(?:usted|esto|eso|todo|{_THEIRS}(?: de \w+)?|(?:el|la|este|esta|ese|esa) {_MATTER})"
_SEEN_TO = rf"(?:esto|eso|ello|{_THEIRS}|(?:el|la) {_MATTER})"
_NOW = r"(?:ahora(?: mismo)?|ya|directamente|hoy|en contacto|en comunicacion|de inmediato)"
_SOON = one(r"""
    (?=\s*(?:$|[.,;:!)\u2013\u2014]|(?:en breve|pronto|ahora|ya|hoy|manana|aqui|por aqui|lo antes
    |cuanto antes|enseguida|en seguida|a la brevedad|en horario|tan pronto|en unos?|en un
    |en cuanto|en los proximos|dentro de|por whatsapp)\b))
""")
_WILL = one(r"""
    (?:voy a|vamos a|estoy|estamos|deja(?:me|nos)|deje(?:me|nos)|permite(?:me|nos)|permita(?:me|nos)
    |acabo de)(?: (?:te|l[oae]s?|os))?
""")
_WILL_HAVE = rf"(?:(?:te|l[oae]s?|os) (?:voy|vamos) a|{_WILL})"
_OR_YOU = r"(?:te|l[oae]s?|sel[oa]s?)?"
_PASSES = one(r"""
    (?:transferi|transfirie|deriva|pasa|conecta|comunica|remiti|enviar?|reenvia|traslada|eleva|escala
    |pone)
""")
_PASSING = one(rf"""
    (?:{_WILL_HAVE} {_PASSES}(?:r|ndo)?{_OR_YOU}
    |(?:(?:te|l[oae]s?|os|se l[oa]) )?(?:transfiero|derivo|paso|conecto|comunico|traslado|remito
    |pongo|pondre|transferire|derivare|pasare|comunicare
    |trasladare|remitire|enviare|escalare)
    |(?:(?:te|l[oae]s?|ya|se l[oa]) ){{0,3}}(?:he|hemos) (?:pasado|derivado|transferido
    |enviado|trasladado|remitido|comunicado)|(?:ya |le |te )(?:pase|derive|transferi|envie)
    |transfiriendo(?:te|l[oae])?)\b
""")
_TO = r"(?:con|al?|a la)"
_TELL = r"(?:avisa|notifica|llama|consulta|pregunta|contacta|informa)"
_ASKING = one(rf"""
    (?:{_WILL_HAVE} (?:{_TELL}(?:r|ndo)?{_OR_YOU}(?: (?:al?|con))?
    |pedir(?:les?)?(?: ayuda)?(?: (?:al?|que))?
    |(?:consulta|verifica|confirma|habla|revisa)(?:r|ndo)?(?:l[oa])?(?: \w+){{0,3}} con)
    |ya (?:les? )?(?:avise|llame|notifique)(?: al?)?
    |{_WILL_HAVE} dejar(?:le|les)?(?: un)? (?:mensaje|recado|aviso) al?
    |(?:he|hemos) (?:avisado|llamado|notificado|informado)(?: al?)?
    |{_TELL}re(?:mos)? (?:al?|con)|pedire(?:mos)?(?: ayuda)? (?:al?|que)
    |(?:habla|consulta|verifica|confirma|revisa)re(?:mos)?(?: \w+){{0,3}} con
    |(?<!\bun )(?<!\bel )aviso al?)
""")
_CONTACT = r"(?:contact|respond|contest|llam|escrib|avis|confirm)"
_HELP = r"(?:atend|atiend|ayud|asist|orient|explic)"
_SEE_TO = r"(?:revis|verific|analiz|continu|segu|tom|resolv|gestion)"
_WITH_THIS = rf"(?= con (?:{_SEEN_TO})\b)"
_COMES = one(rf"""
    {_MORE},?(?: ya| pronto| en breve)?,? (?:
    (?:te|l[oae]s?) (?:va a|van a) (?:{_CONTACT}[aei]r\b|estar {_CONTACT}[aei]e?ndo
    |{_HELP}[aei]r(?:{_SOON}|{_WITH_THIS}))
    |(?:te|l[oae]s?) (?:{_CONTACT}[aei]ran?\b|{_HELP}[aei]ran?(?:{_SOON}|{_WITH_THIS}))
    |(?:te|l[oae]s?) (?:{_CONTACT}|{_HELP})[ae]n?(?:{_SOON}|{_WITH_THIS})
    |(?:va a|van a) (?:{_CONTACT}[aei]r(?:te|l[oae]s?)|{_HELP}[aei]r(?:te|l[oae]s?){_SOON}
    |(?:ponerse|entrar) en contacto|comunicarse|(?:hablar|estar|seguir|continuar) {_YOU})
    |se (?:va a |van a )?(?:pond|pon)\w* en (?:contacto|comunicacion)
    |se (?:va a |van a )?(?:comunic|contact)\w*(?: {_YOU}|{_SOON})
    |se (?:va a |van a )?(?:encarg|ocup)\w*(?:{_SOON}| de (?:{_SEEN_TO}|ti|usted)\b)
    |entrara en contacto
    |(?:va a |van a )?(?:respond|contest)er(?:a|an)?{_SOON}
    |(?:va a |van a )?{_SEE_TO}[ai]r(?:a|an)?(?:{_SOON}| (?:{_SEEN_TO}|{_YOU})\b))
""")
_COMES_FIRST = one(rf"""
    (?:(?:te|l[oae]s?) (?:va a )?{_CONTACT}[aei]ra?
    |se (?:pondra en contacto|comunicara)(?: {_YOU})?) (?:en breve |pronto |ahora )?
""")
_PASSIVE = one(rf"""
    (?:(?:sera|seras|va a ser) (?:contactad|llamad|transferid|derivad)[oa](?: \w+){{0,3}}
    \s(?:por|al?|con) {_WHO}
    |{_WHO} (?:ya )?(?:esta|fue|ha sido) (?:avisad|informad|notificad)[oa]
    |{_THEIRS}(?: ya)? (?:fue|fueron|ha sido|sera|esta siendo) (?:derivad|transferid|enviad|pasad
    |remitid|trasladad|escalad)[oa]s? {_TO} {_WHO})
""")
_ATTENDED = one(rf"""
    (?:(?:te|l[oae]s?) (?:va a |van a )?(?:ati?ende(?:ra)?|ayudara?)|(?:sera|seras|va a ser)
    \satendid[oa](?: \w+){{0,3}} por) (?:en breve |pronto )?{_WHO}{_MORE}{_SOON}
""")
_REACH = r"(?:llama|contacta|responde|escribi)"
_WE_COME = one(rf"""
    (?:nos (?:pondremos|vamos a poner|ponemos) en contacto
    |nos (?:comunicaremos|contactaremos|comunicamos) con(?:tigo| usted)
    |(?:te|l[oae]s?) {_REACH}remos|(?:te|l[oae]s?) vamos a {_REACH}r\b
    |vamos a {_REACH}r(?:te|l[oae]s?)
    |(?:te|l[oae]s?) (?:llam|contact|respond|escrib)[aei]mos{_SOON})
""")
SPANISH = Promises(
    promise=any_of(
        rf"{_PASSING}(?: {_THIS})?(?: {_NOW})? {_TO} {_WHO}",
        rf"{_WILL_HAVE} transferir(?:te|l[oae]s?)(?: {_NOW})?(?=\s*(?:$|[.,;:!]))",
        rf"{_ASKING} {_WHO}",
        rf"{_WHO}{_COMES}",
        rf"{_COMES_FIRST}{_WHO}",
        _PASSIVE,
        _ATTENDED,
        _WE_COME,
    ),
    # "Sí" (yes) was removed before this, while it still had its accent.
    offers=re.compile(
        r"\bsi\b|^\W*cualquier (?:otra )?(?:cosa|duda|problema|pregunta|consulta)\b"
        r"|\bcuando\b(?! (?:pueda|este disponible|este libre|sea posible|vuelva))"
    ),
    denies=re.compile(r"\b(?:no|nunca|nadie|ningun\w*)\b"),
)
