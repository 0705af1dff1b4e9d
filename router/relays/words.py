"""The word back to the staff for each outcome, in three languages.

Each language has the same words, with the same placeholders (tests/unit/test_words.py).
"""

from collections.abc import Mapping
from typing import TypeAlias

from router.whatsapp.languages import Language

Words: TypeAlias = Mapping[str, str]

_ENGLISH: Words = {
    "a_customer": "a customer",
    "sent": "Sent to {who}.",
    "sent_again": "Sent to {who}. The AI had started to answer again; now it is quiet there.",
    "failed": "Not sent to {who}: {why}. Write to them by hand, or try again later.",
    "no_evolution": "Evolution API could not be reached",
    "in_doubt": "WhatsApp did not say whether that reached {who}. Look at the chat before you send"
    " it again.",
    "taken": "{who} is yours: the AI is quiet there. To give the conversation back, reply to the"
    " notice with resume, or with a time, such as 2h, 15:00 or tomorrow 9am.",
    "taken_again": "{who} is yours: the AI had started to answer again; now it is quiet there. To"
    " give the conversation back, reply to the notice with resume, or with a time, such as 2h,"
    " 15:00 or tomorrow 9am.",
    "resumed": "The AI answers {who} again.",
    "resumed_already": "The AI already answers {who}.",
    "until": "The AI is quiet, and answers {who} again from {until}.",
    "past": "{until} has passed, so nothing was changed. Say when the AI is to answer {who} again,"
    " such as 2h, 15:00 or tomorrow 9am, or resume.",
    "too_far": "Nothing was changed: the time must be within 30 days. Say when the AI is to answer"
    " {who} again, such as 2h, 15:00 or tomorrow 9am.",
    "no_notice": "Nothing was sent. What you quoted is not a notice about a customer, or is no"
    " longer kept. Reply to the notice about the customer you mean.",
    "no_session": "Nothing was sent. That notice is not about a customer.",
    "erased": "Nothing was sent. That conversation was erased.",
    "unsupported": "Nothing was sent. Only texts, pictures, videos, audio, documents and stickers"
    " can be passed on to {who}.",
    "no_media": "Nothing was sent. That file could not be fetched from WhatsApp. Send it to {who}"
    " by hand.",
    "unquoted": "To answer a customer, or to hand one back to the AI, reply to the notice about"
    " them: hold it, choose Reply, and write.",
    "too_old": "Nothing was sent. Your message arrived too late to be useful. If it still holds,"
    " reply to the notice about {who} again.",
    "too_many": "Nothing was sent. Too many of your messages are waiting to be sent: WhatsApp is"
    " slow, or cannot be reached. Write again when they are gone, or write to the customer by"
    " hand.",
    "switched_off": "Done, but the AI does not answer {who}: it is switched off there (the label"
    " no-ai), or for the whole business (is_active).",
    "answered": "Nothing was sent. {by} has already answered {who}: “{answer}”. To send yours too,"
    " reply to the notice again.",
    "a_colleague": "Somebody else at your business",
    "then": "then",
    "days": "Mon Tue Wed Thu Fri Sat Sun",
    "months": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
}
_PORTUGUESE: Words = {
    "a_customer": "um cliente",
    "sent": "Enviado para {who}.",
    "sent_again": "Enviado para {who}. A IA já tinha voltado a atender; agora ela fica quieta ali.",
    "failed": "Não enviado para {who}: {why}. Escreva manualmente, ou tente de novo mais tarde.",
    "no_evolution": "a Evolution API está fora do ar",
    "in_doubt": "O WhatsApp não disse se isso chegou a {who}. Olhe a conversa antes de enviar de"
    " novo.",
    "taken": "A conversa com {who} é sua: a IA fica quieta ali. Para devolvê-la, responda ao aviso"
    " com resume, ou com um horário, como 2h, 15:00 ou amanhã 9h.",
    "taken_again": "A conversa com {who} é sua: a IA já tinha voltado a atender; agora fica quieta"
    " ali. Para devolvê-la, responda ao aviso com resume, ou com um horário, como 2h, 15:00 ou"
    " amanhã 9h.",
    "resumed": "A IA volta a responder a {who}.",
    "resumed_already": "A IA já responde a {who}.",
    "until": "A IA fica quieta, e volta a responder a {who} a partir de {until}.",
    "past": "{until} já passou, e nada mudou. Diga quando a IA deve voltar a responder a {who},"
    " como 2h, 15:00 ou amanhã 9h, ou resume.",
    "too_far": "Nada mudou: o horário tem de ser dentro de 30 dias. Diga quando a IA deve voltar a"
    " responder a {who}, como 2h, 15:00 ou amanhã 9h.",
    "no_notice": "Nada foi enviado. O que você citou não é um aviso sobre um cliente, ou não está"
    " mais guardado. Responda ao aviso sobre o cliente com quem quer falar.",
    "no_session": "Nada foi enviado. Esse aviso não é sobre um cliente.",
    "erased": "Nada foi enviado. Essa conversa foi apagada.",
    "unsupported": "Nada foi enviado. Só textos, fotos, vídeos, áudios, documentos e figurinhas"
    " podem ser passados para {who}.",
    "no_media": "Nada foi enviado. O WhatsApp não entrega esse arquivo. Envie-o manualmente"
    " para {who}.",
    "unquoted": "Para responder a um cliente, ou devolvê-lo à IA, responda ao aviso sobre ele:"
    " segure o dedo no aviso, escolha Responder e escreva.",
    "too_old": "Nada foi enviado. O que você escreveu chegou tarde demais para ser útil. Se ainda"
    " valer, responda de novo ao aviso sobre {who}.",
    "too_many": "Nada foi enviado. Há mensagens suas demais na fila: o WhatsApp está lento, ou fora"
    " do ar. Escreva de novo quando elas tiverem saído, ou escreva manualmente ao cliente.",
    "switched_off": "Feito, mas a IA não responde a {who}: ela está desligada ali (a etiqueta"
    " no-ai), ou para a empresa toda (is_active).",
    "answered": "Nada foi enviado. {by} já respondeu a {who}: “{answer}”. Para enviar a sua também,"
    " responda de novo ao aviso.",
    "a_colleague": "Outra pessoa da empresa",
    "then": "então",
    "days": "seg ter qua qui sex sáb dom",
    "months": "jan fev mar abr mai jun jul ago set out nov dez",
}
_SPANISH: Words = {
    "a_customer": "un cliente",
    "sent": "Enviado a {who}.",
    "sent_again": "Enviado a {who}. La IA ya había vuelto a atender; ahora guarda silencio allí.",
    "failed": "No se envió a {who}: {why}. Escríbale usted, o inténtelo de nuevo más tarde.",
    "no_evolution": "Evolution API está fuera de servicio",
    "in_doubt": "WhatsApp no dijo si eso llegó a {who}. Mire la conversación antes de enviarlo de"
    " nuevo.",
    "taken": "La conversación con {who} es suya: la IA guarda silencio allí. Para devolverla,"
    " responda al aviso con resume, o con una hora, como 2h, 15:00 o mañana a las 9.",
    "taken_again": "La conversación con {who} es suya: la IA ya había vuelto a atender; ahora"
    " guarda silencio allí. Para devolverla, responda al aviso con resume, o con una hora, como"
    " 2h, 15:00 o mañana a las 9.",
    "resumed": "La IA vuelve a responder a {who}.",
    "resumed_already": "La IA ya responde a {who}.",
    "until": "La IA guarda silencio, y vuelve a responder a {who} a partir de {until}.",
    "past": "{until} ya pasó, y nada cambió. Diga cuándo debe volver la IA a responder a {who},"
    " como 2h, 15:00 o mañana a las 9, o resume.",
    "too_far": "Nada cambió: la hora tiene que ser dentro de 30 días. Diga cuándo debe volver la IA"
    " a responder a {who}, como 2h, 15:00 o mañana a las 9.",
    "no_notice": "No se envió nada. Lo que citó no es un aviso sobre un cliente, o ya no se guarda."
    " Responda al aviso sobre el cliente con quien quiere hablar.",
    "no_session": "No se envió nada. Ese aviso no es sobre un cliente.",
    "erased": "No se envió nada. Esa conversación fue borrada.",
    "unsupported": "No se envió nada. Solo textos, fotos, vídeos, audios, documentos y stickers se"
    " pueden pasar a {who}.",
    "no_media": "No se envió nada. WhatsApp no entrega ese archivo. Envíelo usted a {who}.",
    "unquoted": "Para responder a un cliente, o devolverlo a la IA, responda al aviso sobre él:"
    " manténgalo pulsado, elija Responder y escriba.",
    "too_old": "No se envió nada. Lo que escribió llegó demasiado tarde para servir. Si todavía"
    " vale, responda una vez más al aviso sobre {who}.",
    "too_many": "No se envió nada. Hay demasiados mensajes suyos en espera: WhatsApp está lento, o"
    " fuera de servicio. Escriba de nuevo cuando hayan salido, o escriba usted al cliente.",
    "switched_off": "Hecho, pero la IA no responde a {who}: está apagada allí (la etiqueta no-ai),"
    " o para toda la empresa (is_active).",
    "answered": "No se envió nada. {by} ya respondió a {who}: “{answer}”. Para enviar lo suyo"
    " también, responda una vez más al aviso.",
    "a_colleague": "Otra persona de la empresa",
    "then": "entonces",
    "days": "lun mar mié jue vie sáb dom",
    "months": "ene feb mar abr may jun jul ago sep oct nov dic",
}
WORDS_BACK: Mapping[Language, Words] = {"en": _ENGLISH, "pt": _PORTUGUESE, "es": _SPANISH}
