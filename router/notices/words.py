"""The texts of notices, in the three languages that a business's people can choose.

Each language has the same words, with the same placeholders (tests/unit/test_words.py).
"""

from collections.abc import Mapping
from typing import TypeAlias

from router.tenants.delivery import CURE
from router.whatsapp.languages import Language

Words: TypeAlias = Mapping[str, str]

_ENGLISH: Words = {
    "lost_close": "WhatsApp of {name} is not connected any more. Evolution API tries to connect"
    " again; until then customers get no answer.",
    "lost_refused": "WhatsApp refuses the connection of {name}. Until it is linked again customers"
    " get no answer.",
    "lost_logged_out": "{name} was logged out of WhatsApp. Until the phone is linked again"
    " customers get no answer.",
    "lost_removed": "The instance {name} was removed from Evolution API. Customers get no answer"
    " any more.",
    "qr": "{name} waits for its QR code to be scanned. Until the phone is linked customers get no"
    " answer.",
    "given_up": "{name} could not send a part of a reply to {who}: {reason}. The rest of the reply"
    " is sent all the same. If it matters, send it by hand.",
    "lost": "it is lost",
    "failing": "The flow {flow} of {name} in n8n has failed {failures} times in a row. {meanwhile}"
    " Its last executions in n8n show why.",
    "meanwhile_fallback": "Until it works again, HybridFlow's own AI is asked instead.",
    "meanwhile_queue": "Until it works again, customers get no answer.",
    "undelivered": "WhatsApp did not deliver {failed} of {name}. {cure}",
    "last_reply": "the last reply",
    "last_replies": "the last {count} replies",
    "to_contact": "{what} (to 1 contact)",
    "to_contacts": "{what} (to {count} contacts)",
    "or_more": "{count} or more",
    "cure": CURE,
    "needs": "{who} needs a person: {why}",
    "has_waited": "{who} has waited for a person for {long}, and nobody has answered: {why}",
    "asked_for_person": "the customer asked for one",
    "not_known": "the AI does not know the answer",
    "not_allowed": "the AI may not decide this",
    "upset": "the customer is upset",
    "tool_failed": "something that the AI needs does not work",
    "other": "the AI asked for one",
    "promised": "the AI said that a person will come",
    "promised_answer": "the AI said that it will find out and answer later",
    "looped": "two bots seem to talk to each other: the same again and again",
    "not_answered": "the AI could not answer",
    "not_sent": "the AI's reply was not sent",
    "declined": "the AI declines to answer",
    "not_told": "The customer could not be told that somebody is coming.",
    "a_customer": "a customer",
    "minutes": "{minutes} min",
    "hours": "{hours} h {minutes} min",
}
_PORTUGUESE: Words = {
    "lost_close": "O WhatsApp de {name} não está mais conectado. A Evolution API está tentando"
    " reconectar; até lá, os clientes ficam sem resposta.",
    "lost_refused": "O WhatsApp recusa a conexão de {name}. Até conectar de novo, os clientes"
    " ficam sem resposta.",
    "lost_logged_out": "{name} foi desconectado do WhatsApp. Até o celular ser conectado de novo,"
    " os clientes ficam sem resposta.",
    "lost_removed": "A instância {name} foi removida da Evolution API. Os clientes não recebem"
    " mais resposta.",
    "qr": "O código QR de {name} espera para ser lido. Até o celular ser conectado, os clientes"
    " ficam sem resposta.",
    "given_up": "{name} não conseguiu enviar parte de uma resposta para {who}: {reason}. O"
    " resto da resposta é enviado mesmo assim. Se for importante, envie manualmente.",
    "lost": "ela se perdeu",
    "failing": "O fluxo {flow} de {name} no n8n falhou {failures} vezes seguidas. {meanwhile} As"
    " últimas execuções no n8n dizem por quê.",
    "meanwhile_fallback": "Até ele voltar a funcionar, pergunta-se à IA do próprio HybridFlow.",
    "meanwhile_queue": "Até ele voltar a funcionar, ninguém é respondido.",
    "undelivered": "O WhatsApp não entregou {failed} de {name}. {cure}",
    "last_reply": "a última resposta",
    "last_replies": "as últimas {count} respostas",
    "to_contact": "{what} (para 1 contato)",
    "to_contacts": "{what} (para {count} contatos)",
    "or_more": "{count} ou mais",
    "cure": "O WhatsApp pode ter restringido o número (erro 463): abra-o no celular (na Cloud API:"
    " no Gerenciador do WhatsApp), onde isso aparece, e por quanto tempo. Responda por lá; até"
    " a restrição acabar, não escreva a ninguém primeiro e não envie nada em massa.",
    "needs": "{who} precisa falar com uma pessoa: {why}",
    "has_waited": "{who} espera por uma pessoa há {long}, e ninguém respondeu: {why}",
    "asked_for_person": "pediu um atendente",
    "not_known": "a IA não sabe a resposta",
    "not_allowed": "a IA não pode decidir isso",
    "upset": "demonstra irritação",
    "tool_failed": "algo de que a IA precisa não funciona",
    "other": "a IA pediu ajuda",
    "promised": "a IA disse que alguém virá",
    "promised_answer": "a IA disse que vai verificar e responder depois",
    "looped": "dois robôs parecem conversar um com o outro: sempre a mesma coisa",
    "not_answered": "a IA não conseguiu responder",
    "not_sent": "a resposta da IA não foi enviada",
    "declined": "a IA se recusa a responder",
    "not_told": "Não foi possível avisar o cliente de que alguém virá.",
    "a_customer": "um cliente",
    "minutes": "{minutes} min",
    "hours": "{hours} h {minutes} min",
}
_SPANISH: Words = {
    "lost_close": "El WhatsApp de {name} ya no está conectado. Evolution API intenta conectarlo de"
    " nuevo; hasta entonces no se responde a nadie.",
    "lost_refused": "WhatsApp rechaza la conexión de {name}. Hasta que se vincule de nuevo no se"
    " responde a nadie.",
    "lost_logged_out": "Se cerró la sesión de {name} en WhatsApp. Hasta que el teléfono se vincule"
    " de nuevo no se responde a nadie.",
    "lost_removed": "La instancia {name} fue eliminada de Evolution API. Ya no se responde a"
    " nadie.",
    "qr": "{name} espera a que se escanee su código QR. Hasta que el teléfono se vincule no se"
    " responde a nadie.",
    "given_up": "{name} no pudo enviar una parte de una respuesta a {who}: {reason}. El resto de"
    " la respuesta se envía igualmente. Si es importante, envíela usted.",
    "lost": "se perdió",
    "failing": "El flujo {flow} de {name} en n8n ha fallado {failures} veces seguidas. {meanwhile}"
    " Sus últimas ejecuciones en n8n dicen por qué.",
    "meanwhile_fallback": "Hasta que funcione de nuevo, se pregunta a la IA del propio HybridFlow.",
    "meanwhile_queue": "Hasta que funcione de nuevo, no se responde a nadie.",
    "undelivered": "WhatsApp no entregó {failed} de {name}. {cure}",
    "last_reply": "la última respuesta",
    "last_replies": "las últimas {count} respuestas",
    "to_contact": "{what} (a 1 contacto)",
    "to_contacts": "{what} (a {count} contactos)",
    "or_more": "{count} o más",
    "cure": "Puede que WhatsApp haya restringido el número (error 463): ábralo en el teléfono (en"
    " la Cloud API: en el Administrador de WhatsApp), donde lo dice, y por cuánto tiempo. Responda"
    " usted desde allí; hasta que termine no escriba primero a nadie ni envíe nada en masa.",
    "needs": "{who} necesita hablar con una persona: {why}",
    "has_waited": "{who} espera a una persona desde hace {long}, y nadie ha respondido: {why}",
    "asked_for_person": "pidió hablar con alguien",
    "not_known": "la IA no sabe la respuesta",
    "not_allowed": "la IA no puede decidir esto",
    "upset": "muestra enojo",
    "tool_failed": "algo que la IA necesita no funciona",
    "other": "la IA pidió ayuda",
    "promised": "la IA dijo que vendrá una persona",
    "promised_answer": "la IA dijo que averiguará y responderá más tarde",
    "looped": "dos bots parecen hablar entre ellos: siempre lo mismo",
    "not_answered": "la IA no pudo responder",
    "not_sent": "la respuesta de la IA no se envió",
    "declined": "la IA se niega a responder",
    "not_told": "No se pudo avisar al cliente de que vendrá alguien.",
    "a_customer": "un cliente",
    "minutes": "{minutes} min",
    "hours": "{hours} h {minutes} min",
}
NOTICE_WORDS: Mapping[Language, Words] = {"en": _ENGLISH, "pt": _PORTUGUESE, "es": _SPANISH}
