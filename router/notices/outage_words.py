"""The texts of notices about outages, in three languages: the cause, and who can fix it.

Each language has the same words, with the same placeholders (tests/unit/test_words.py).
"""

from collections.abc import Mapping

from router.notices.words import Words
from router.whatsapp.languages import Language

_TOLD_EN = (
    "The people who run HybridFlow for you have to fix that; they see it in its log and in /health."
)
_WAITS_EN = (
    "When it works again, waiting customers are answered automatically, unless it is too late."
)
_TOLD_PT = "Quem cuida do HybridFlow para você precisa resolver isso: aparece no log e em /health."
_WAITS_PT = "Quando voltar, quem espera recebe a resposta automaticamente, se não for tarde demais."
_TOLD_ES = "Quien administra HybridFlow tiene que resolverlo: aparece en su log y en /health."
_WAITS_ES = (
    "Cuando vuelva, quien espera recibe su respuesta automáticamente, si no es demasiado tarde."
)

OF_OWN_KEY: Mapping[Language, Words] = {
    "en": {
        "account_empty": "The credit of your account at {provider} is used up. Add credit there. "
        + _WAITS_EN,
        "account_refused": "{provider} refuses the key of your account (llm_api_key). Set another"
        " key, or check it at {provider}. " + _WAITS_EN,
    },
    "pt": {
        "account_empty": "O crédito da sua conta na {provider} acabou. Adicione crédito lá. "
        + _WAITS_PT,
        "account_refused": "A {provider} recusa a chave da sua conta (llm_api_key). Troque a chave,"
        " ou veja o que a {provider} diz dela. " + _WAITS_PT,
    },
    "es": {
        "account_empty": "El crédito de su cuenta en {provider} se agotó. Añada crédito allí. "
        + _WAITS_ES,
        "account_refused": "{provider} rechaza la clave de su cuenta (llm_api_key). Ponga otra, o"
        " vea lo que {provider} dice de ella. " + _WAITS_ES,
    },
}
"""The texts for a business with its own key, where they differ."""

WHY: Mapping[Language, Words] = {
    "en": {
        "account_empty": "The credit of the AI's account at {provider} is used up. " + _TOLD_EN,
        "account_refused": "{provider} refuses the key of the AI's account. " + _TOLD_EN,
        "llm_away": "The AI at {provider} has not answered for some minutes. " + _WAITS_EN,
        "n8n_away": "n8n, which makes the answers, is away. " + _TOLD_EN,
        "misconfigured": "The AI's settings are wrong: its model or its limits (llm_model,"
        " llm_max_tokens) are refused, or it has no key. " + _TOLD_EN,
        "flow_failed": "The flow in n8n that makes the answers fails. Its last executions in n8n"
        " show why.",
        "crashed": "Every attempt to make an answer was interrupted. " + _TOLD_EN,
        "too_late": "Messages were not handled before it was too late to answer them. " + _TOLD_EN,
        "line_away": "WhatsApp, or Evolution API, could not be reached before it was too late to"
        " answer.",
        "budget": "Today's budget is used up (daily_turns, daily_tokens). A new one begins at"
        " midnight UTC.",
        "contact_budget": "A customer has used up their own budget for today (contact_daily_turns,"
        " contact_daily_tokens), and is answered again after midnight UTC.",
        "send_failed": "Evolution API permanently refuses to send an answer.",
        "in_doubt": "Nobody could find out whether an answer was sent. Look at the phone: it may"
        " be there.",
        "half_said": "A flow in n8n stopped in the middle of an answer. What else it would have"
        " said is not known.",
    },
    "pt": {
        "account_empty": "O crédito da conta da IA na {provider} acabou. " + _TOLD_PT,
        "account_refused": "A {provider} recusa a chave da conta da IA. " + _TOLD_PT,
        "llm_away": "A IA na {provider} não responde há alguns minutos. " + _WAITS_PT,
        "n8n_away": "O n8n, que faz as respostas, está fora do ar. " + _TOLD_PT,
        "misconfigured": "Os ajustes da IA estão errados: o modelo, ou o que se pede a ele"
        " (llm_model, llm_max_tokens), é recusado, ou falta a chave. " + _TOLD_PT,
        "flow_failed": "O fluxo no n8n que faz as respostas está falhando. As últimas execuções"
        " no n8n mostram por quê.",
        "crashed": "A criação de uma resposta foi interrompida todas as vezes. " + _TOLD_PT,
        "too_late": "Algumas mensagens só foram vistas quando já era tarde demais para"
        " responder. " + _TOLD_PT,
        "line_away": "O WhatsApp, ou a Evolution API, ficou fora do ar até ser tarde demais para"
        " responder.",
        "budget": "O limite de hoje acabou (daily_turns, daily_tokens). Ele recomeça à"
        " meia-noite UTC.",
        "contact_budget": "Um cliente já usou todo o limite que tem por dia (contact_daily_turns,"
        " contact_daily_tokens), e volta a ser respondido depois da meia-noite UTC.",
        "send_failed": "A Evolution API recusou de vez o envio de uma resposta.",
        "in_doubt": "Não foi possível saber se uma resposta foi enviada. Olhe no celular: ela pode"
        " estar lá.",
        "half_said": "Um fluxo no n8n parou no meio de uma resposta, e não se sabe o que mais ele"
        " diria.",
    },
    "es": {
        "account_empty": "El crédito de la cuenta de la IA en {provider} se agotó. " + _TOLD_ES,
        "account_refused": "{provider} rechaza la clave de la cuenta de la IA. " + _TOLD_ES,
        "llm_away": "La IA en {provider} no responde desde hace unos minutos. " + _WAITS_ES,
        "n8n_away": "n8n, que hace las respuestas, está fuera de servicio. " + _TOLD_ES,
        "misconfigured": "Los ajustes de la IA están mal: el modelo, o lo que se le pide"
        " (llm_model, llm_max_tokens), es rechazado, o falta la clave. " + _TOLD_ES,
        "flow_failed": "El flujo en n8n que hace las respuestas está fallando. Sus últimas"
        " ejecuciones en n8n muestran por qué.",
        "crashed": "La creación de una respuesta se interrumpió todas las veces. " + _TOLD_ES,
        "too_late": "Algunos mensajes se vieron cuando ya era demasiado tarde para responder. "
        + _TOLD_ES,
        "line_away": "WhatsApp, o Evolution API, estuvo fuera de servicio hasta que fue demasiado"
        " tarde para responder.",
        "budget": "El límite de hoy se agotó (daily_turns, daily_tokens). Empieza de nuevo a"
        " medianoche UTC.",
        "contact_budget": "Un cliente agotó su propio límite de hoy (contact_daily_turns,"
        " contact_daily_tokens), y se le responde de nuevo después de medianoche UTC.",
        "send_failed": "Evolution API rechazó de forma definitiva el envío de una respuesta.",
        "in_doubt": "No se pudo saber si una respuesta se envió. Mire en el teléfono: puede estar"
        " allí.",
        "half_said": "Un flujo en n8n se cortó en medio de una respuesta, y no se sabe qué más"
        " habría dicho.",
    },
}
"""Why there is no answer and who can fix it, for each cause of `hybridflow.endings`."""

FRAME: Mapping[Language, Words] = {
    "en": {
        "nobody": "{name} does not answer its customers at the moment.",
        "one": "{name} did not answer a customer.",
        "again": "{name} answers its customers again.",
        "unknown": "The AI could not answer.",
        "provider": "its provider",
        "one_conversation": "So far one conversation is affected.",
        "answers": "So far {count} answers are affected.",
        "lasted": "That lasted {long}.",
        "none_lost": "Of {count} answers, none was lost.",
        "some_lost": "Of {count} answers, {lost} were not made: look at the chats of that time, and"
        " answer by hand.",
        "or_more": "{count} or more",
        "minute": "one minute",
        "minutes": "{count} minutes",
        "hours": "{count} hours",
    },
    "pt": {
        "nobody": "{name} não responde aos clientes agora.",
        "one": "{name} não respondeu a um cliente.",
        "again": "{name} voltou a responder aos clientes.",
        "unknown": "A IA não conseguiu responder.",
        "provider": "empresa que a oferece",
        "one_conversation": "Até agora, isso afeta uma conversa.",
        "answers": "Até agora, isso afeta {count} respostas.",
        "lasted": "Isso durou {long}.",
        "none_lost": "De {count} respostas, nenhuma se perdeu.",
        "some_lost": "De {count} respostas, {lost} não foram dadas: olhe as conversas desse"
        " período, e responda manualmente.",
        "or_more": "{count} ou mais",
        "minute": "um minuto",
        "minutes": "{count} minutos",
        "hours": "{count} horas",
    },
    "es": {
        "nobody": "{name} no responde a sus clientes ahora.",
        "one": "{name} no respondió a un cliente.",
        "again": "{name} responde de nuevo a sus clientes.",
        "unknown": "La IA no pudo responder.",
        "provider": "su proveedor",
        "one_conversation": "Hasta ahora afecta a una conversación.",
        "answers": "Hasta ahora afecta a {count} respuestas.",
        "lasted": "Eso duró {long}.",
        "none_lost": "De {count} respuestas no se perdió ninguna.",
        "some_lost": "De {count} respuestas {lost} no se dieron: revise las conversaciones de ese"
        " período, y responda usted.",
        "or_more": "{count} o más",
        "minute": "un minuto",
        "minutes": "{count} minutos",
        "hours": "{count} horas",
    },
}
"""The sentences around the causes, with numbers and durations."""
