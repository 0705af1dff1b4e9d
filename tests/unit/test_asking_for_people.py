"""Who asks for a human, and what promises one, in words that need no model."""

import pytest

from router.replies.asking import asks_for_person
from router.safety.promises import promises_person
from router.whatsapp.languages import language_of


@pytest.mark.parametrize(
    "text",
    [
        "Quero falar com um atendente humano",
        "atendente",
        "ATENDENTE!!",
        "humano por favor",
        "Oi, quero falar com uma pessoa",
        "falar com alguém",
        "chama o gerente",
        "preciso de um atendente",
        "quero hablar con una persona",
        "agente, por favor",
        "I want to talk to a human",
        "can i speak with someone?",
        "human agent please",
        "Isso não resolve. Quero falar com o responsável!",
        "quero falar com um ser humano",
        "me passa pra um atendente",
        "me transfere para uma pessoa por favor",
        "preciso de ajuda humana",
        "falar com o dono",
        "pásame con un agente",
    ],
)
def test_who_asks_for_a_human(text: str):
    assert asks_for_person([text])


@pytest.mark.parametrize(
    "text",
    [
        "o ser humano é bom",
        "não quero falar com atendente",
        "já falei com o atendente ontem",
        "a pessoa que me vendeu o bolo",
        "vocês têm bolo para uma pessoa?",
        "preciso de uma pessoa para a festa",
        "I am a person of few words",
        "don't want to talk to an agent",
        "o agente imobiliário ligou",
        "você passa para uma pessoa o endereço?",
        "não me transfere para um atendente",
        "oi",
        "",
        "falar com uma pessoa " * 50,
    ],
)
def test_who_does_not(text: str):
    assert not asks_for_person([text])


_ASKED = """
    Quero falar com um atendente
    quero falar com alguem
    quero falar com um humano
    Posso falar com uma pessoa?
    Tem como falar com alguém de verdade?
    Tem algum humano aí?
    tem atendente?
    Quero atendimento humano
    Não quero falar com robô
    nao quero robo
    Me passa pra alguém
    Passa para o gerente
    quero falar com a gerente
    quero falar com o dono da loja
    Quero falar com a responsável
    preciso falar com alguém da loja
    Preciso falar com um vendedor
    Gostaria de falar com um atendente por favor
    Gostaria de ser atendido por uma pessoa
    Chama alguém pra mim
    Pode chamar um atendente?
    pode chamar a gerente por favor
    atendente por favor
    falar com atendente
    Falar com suporte
    Preciso de suporte humano
    Quero falar com a equipe
    Quero falar com o setor financeiro
    Queria falar com um colaborador
    Posso falar com um assistente humano?
    Quero falar com uma pessoa a sério
    Preciso de falar com alguém
    Pode passar-me a um colega?
    Passe-me a um operador
    Quero ser contactado por um colaborador
    quiero hablar con alguien
    quiero hablar con una persona
    ¿Puedo hablar con un humano?
    Quiero hablar con el encargado
    necesito un asesor
    Necesito hablar con un asesor
    me puede atender una persona?
    Pásame con el gerente
    pasame con alguien
    comunícame con un asesor
    No quiero hablar con un robot
    quiero hablar con la dueña
    Quiero que me atienda una persona
    Quiero hablar con un ejecutivo
    quiero hablar con soporte
    asesor
    operador por favor
    I want to talk to a person
    I need to speak to someone
    Can I talk to a real person?
    Let me speak to the manager
    get me a manager
    I want to speak with the owner
    I don't want to talk to a bot
    is there a human there?
    transfer me to an agent
    connect me with support
    I'd like to speak with a representative
    speak to agent
    agent
    real human please
    put me through to someone
    can I speak to a staff member?
"""
_NOT_ASKED = """
    Quero falar com vocês sobre o bolo
    bolo para uma pessoa
    mesa para uma pessoa, por favor
    uma pessoa só
    uma pessoa
    pessoa física
    sou gerente de uma loja
    Meu gerente vai pagar
    A atendente foi muito simpática
    Adorei o atendimento humano de vocês
    falei com um atendente ontem
    Já falei com a gerente
    vou falar com meu marido
    Vou falar com alguém aqui em casa e te aviso
    preciso falar com minha mãe antes
    Vou falar com o dono do apartamento
    O humano errou
    Preciso de um pacote para uma pessoa
    quero um quarto para uma pessoa
    Quero uma pessoa para limpar a casa
    quero uma pessoa para tomar conta da festa
    vocês têm vaga de atendente?
    Vaga para atendente
    Quero trabalhar como atendente
    É para falar com o gerente?
    Qual o telefone do gerente?
    me transfere o valor
    Pode passar para a pessoa que vai buscar?
    Fala com o gerente que eu deposito amanhã
    Chama a pessoa pelo nome
    chame o dono do carro
    Vou mandar alguém buscar
    Alguém pode ir buscar?
    menú para una persona
    habitación para una persona
    soy agente inmobiliario
    Ya hablé con el encargado
    voy a hablar con mi esposo
    Voy a hablar con alguien de mi familia
    busco trabajo de asesora
    necesito una persona para limpiar
    Necesito un agente de seguros
    quiero una persona para cuidar a mi mamá
    agente de viajes
    cuánto por persona
    la persona que me atendió fue amable
    I'm a person with allergies
    table for one person
    I spoke to an agent yesterday
    I'll talk to someone at home first
    I need a person to clean
    I need an agent to sell my house
    My manager will pay
    Do you have a manager position?
    The human body
    Can I bring a person?
    one person
    I talk to people all day
    I will chat with the manager of my bank
    Need to speak with my wife
    preciso falar com um colega antes
    preciso falar com a equipe daqui antes de fechar
    quero chamar um colega para a festa
    quero chamar a equipe toda para jantar
    posso chamar alguém para ir comigo?
    I need to talk to a colleague first
    I need to talk to the team first
    tengo que hablar con mi equipo
    o suporte da TV quebrou
    tem suporte para TV?
    tem atendente mulher?
    não quero robô aspirador
    no quiero robot de cocina
    quero um robô aspirador
    o equipo de sonido
    quiero hablar con ustedes sobre el equipo
    atendimento humanizado
    vocês têm atendimento aos domingos?
    support for samsung
    do you have real leather?
    quero falar sobre uma pessoa
    me passa o preço por pessoa
    passe para a pessoa seguinte
    mi agente me dijo
    quem é o responsável pela entrega?
    Quantas pessoas? uma pessoa
    só uma pessoa
    duas pessoas
    una persona
    1 pessoa
    con persona mayor
    llevo a una persona mayor
    get me a cake
    is there a person limit?
    I'm an agent
    the real deal
    voy con una persona
    comunícame el precio
"""


def test_natural_ways_to_ask_for_a_human_are_understood():
    said = [each.strip() for each in _ASKED.strip().splitlines()]
    assert [each for each in said if not asks_for_person([each])] == []


def test_who_speaks_of_people_of_their_own_or_of_how_many_asks_for_nobody():
    said = [each.strip() for each in _NOT_ASKED.strip().splitlines()]
    assert [each for each in said if asks_for_person([each])] == []


def test_a_tenants_own_words():
    assert asks_for_person(["quero falar com a Ana!"], ["falar com a Ana"])
    assert asks_for_person(["Patroa, por favor"], ["patroa"])
    assert not asks_for_person(["a patroa gostou do bolo"], ["patroa"])
    assert not asks_for_person(["atendente"], ["-"]), "a hyphen switches all words off"
    assert asks_for_person(["atendente"], ["patroa"])
    assert not asks_for_person(["oi"], ["", "!"])


@pytest.mark.parametrize(
    "text",
    [
        "Claro! Vou te transferir para um atendente humano agora mesmo.",
        "Vou encaminhar seu caso para a nossa equipe.",
        "Um atendente vai entrar em contato com você em breve.",
        "Já chamei um colega.",
        "Nossa equipe entrará em contato.",
        "Estou chamando alguém da equipe.",
        "Voy a transferirte con un agente.",
        "Un asesor te contactará pronto.",
        "Le comunico con un representante.",
        "I'll transfer you to a human agent.",
        "A colleague will contact you.",
        "Let me connect you with our support team.",
        "Someone from our team will get back to you shortly.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m forwarding this to a manager.",
        # What stands before a promise, or behind it, denies nothing of it.
        "Não se preocupe, vou transferir você para um atendente.",
        "Como não consigo resolver isso por aqui, vou te transferir para um atendente.",
        "Vou te passar para um atendente porque não tenho essa informação.",
        "No te preocupes, te paso con un agente.",
        "Sí, te paso con un agente.",
        "Un compañero se pondrá en contacto contigo.",
        "No worries, I'll connect you with a colleague.",
        "Since I can't do that, I'm transferring you to a human agent.",
        "Encaminhei sua mensagem para o responsável.",
        "Transferindo para um atendente...",
        "Vou verificar com a equipe e te retorno.",
        "Voy a consultarlo con el equipo.",
        "I'll check that with our team.",
        "I will let our manager know.",
        # What somebody will do is done to the customer, to what they want, or soon.
        "A equipe vai te ligar amanhã.",
        "A equipe vai ligar para o senhor.",
        "Nosso time vai retornar em breve.",
        "O gerente vai verificar seu pedido.",
        "Um consultor vai assumir o atendimento.",
        "Um colega estará com você em instantes.",
        "Nuestro equipo te ayudará.",
        "Un agente va a llamarte.",
        "El equipo va a revisar tu pedido.",
        "Alguien del equipo responderá en breve.",
        "Our team will look into it.",
        "Someone will be with you shortly.",
        "Our staff will respond as soon as possible.",
        "A manager'll call you back.",
        # However it is turned.
        "Você será atendido por uma pessoa.",
        "Em breve o senhor será atendido por um de nossos atendentes.",
        "Avisei o gerente.",
        "Entraremos em contato para confirmar.",
        "Le llamará un asesor.",
        "Nos pondremos en contacto con usted.",
        "I'll have someone call you.",
        "You will be contacted by our team.",
        "We will get back to you.",
        # In the present tense it is one where it says when.
        "Um atendente te responde em breve.",
        "Vou chamar uma pessoa para ajudar.",
        "Un compañero te contacta en breve.",
        "Ya avisé a la encargada.",
        "I have handed this over to our team.",
        "I'll get a person to help you.",
    ],
)
def test_what_promises_a_human(text: str):
    assert promises_person(f"Entendo. {text} Obrigado!")


@pytest.mark.parametrize(
    "text",
    [
        "Se quiser, posso transferir você para um atendente.",
        "Quer que eu chame alguém da equipe?",
        "Não vou transferir você para um atendente.",
        "If you like, I'll transfer you to an agent.",
        "Vou passar o preço do bolo.",
        "O entregador vai chamar na porta.",
        "Nossa equipe faz bolos desde 1990.",
        "Would you like me to get a colleague?",
        "Temos bolo de cenoura.",
        "Our team bakes every morning.",
        "Si quieres, te paso con un agente.",
        "No puedo, por ahora no voy a pasarte con un agente.",
        "I won't be transferring you to an agent.",
        "Vou confirmar com você o horário.",
        "I'll let you know when our team opens.",
        "Vou consultar o preço do bolo.",
        # People of the business do other things, too.
        "A equipe vai ligar o forno às 6h.",
        "O time vai entrar em campo no domingo.",
        "A equipe vai responder às perguntas do quiz.",
        "O vendedor vai retornar de férias na segunda.",
        "A equipe vai atender até as 18h no sábado.",
        "A equipe vai verificar os ingredientes antes de assar.",
        "Vou pedir a receita para a equipe.",
        "El equipo va a encender el horno.",
        "Nuestro equipo va a entregar el pedido.",
        "La gerente va a estar de vacaciones.",
        "El encargado va a abrir a las 9.",
        "Our team will heat the oven.",
        "Our team will continue baking on Sunday.",
        "The manager will respond to reviews on Google.",
        "Our team will help set up the tables.",
        "The team will be with you at the wedding to serve the cake.",
        "I'll get the price for the team cake.",
        "Se não gostar, entraremos em contato.",
        "We will not contact you.",
        # What everybody says who sells something.
        "Vou te passar o valor da ceia para uma pessoa: R$ 80.",
        "Nossa equipe te atende de segunda a sexta, das 8h às 18h.",
        "É só chegar à loja que alguém te ajuda a escolher.",
        "Te paso el precio por persona: 20 euros.",
        "Al llegar a la clínica, avise a nuestra encargada.",
        "Nuestro equipo te ayuda a elegir la talla en la tienda.",
        "We are passionate about bread, and our team loves it.",
        "We will handle the catering for your team lunch.",
        "I'll get you the price for one person.",
        "We will have staff at the door on Saturday.",
        # An appointment.
        "Você será atendida por um especialista na terça às 10h.",
        "A equipe vai te atender das 9h às 18h.",
        "Le atenderá un especialista el martes a las 10.",
        "Será atendido por la responsable el lunes.",
        "You will be helped by our staff at the counter.",
        "",
    ],
)
def test_what_promises_nobody(text: str):
    assert not promises_person(text)


def test_a_long_text_is_judged_at_once():
    assert not promises_person("vou o a um uma de da com por " * 20_000)
    for word in ("a", "o", "de um", "con el", "team", "a equipe vai ligar", "we will be", "sera"):
        assert not promises_person(f"{word} " * 20_000)
    assert not asks_for_person(["falar com " * 20_000])


@pytest.mark.parametrize(
    ("jid", "text", "language"),
    [
        ("5511955550001@s.whatsapp.net", "", "pt"),
        ("5491155550001@s.whatsapp.net", "", "es"),
        ("4915155550001@s.whatsapp.net", "", "en"),
        ("5511955550001@s.whatsapp.net", "hello, I want to talk to a person please", "en"),
        ("99999999999@lid", "oi, vocês têm bolo? obrigada", "pt"),
        ("99999999999@lid", "", "en"),
    ],
)
def test_the_language_in_which_somebody_is_spoken_to(jid: str, text: str, language: str):
    assert language_of([jid], [text]) == language
