"""Who says that they find out and come back, and has no answer besides: nobody would come back."""

from router.safety.answers_promised import promises_answer

_PROMISED = """
    Vou verificar e já te retorno.
    Vou verificar e te retorno em breve!
    Não tenho essa informação, mas vou verificar e já te respondo.
    Vou verificar se temos em estoque e já te aviso.
    Vou verificar por que ainda não chegou e te aviso.
    Só um momento, vou consultar a disponibilidade e já te falo.
    Um momento, por favor, vou conferir o seu pedido e retorno em breve.
    Deixa eu verificar isso e já te respondo, tá?
    Vou checar aqui e te dou um retorno ainda hoje.
    Vou confirmar essa informação para você e volto com a resposta.
    A gente verifica e te retorna.
    Vamos verificar e lhe retornaremos o mais rápido possível.
    Estou verificando e já te retorno.
    Desculpe a demora! Vou verificar e já te retorno. Obrigado pela paciência! 🙏
    Vou ver com carinho e já te retorno. Posso ajudar em algo mais?
    Só um minutinho que já te respondo.
    Te retorno em breve.
    Vou verificar e já lhe digo algo.
    Vou averiguar o sucedido e respondo-lhe assim que possível.
    Voy a verificarlo y te aviso.
    Voy a revisar tu pedido y te confirmo en breve.
    Déjame consultar la disponibilidad y enseguida te respondo.
    No tengo ese dato, pero voy a averiguar y te aviso. ¡Gracias por tu paciencia!
    Permítame verificar y le informo a la brevedad.
    Dame un momento y te confirmo.
    En un momento te confirmo.
    I'll check and get back to you.
    Let me check that and I'll let you know.
    I don't know that yet, but I'll find out and get back to you shortly.
    Let me look into this and I will get back to you as soon as possible. Thank you for waiting!
    I'll get back to you soon.
"""
_PROMISED_NOTHING = """
    Vou verificar.
    Vou verificar o seu horário.
    Posso verificar e te retornar?
    Se quiser, vou verificar e te retorno.
    Vou verificar e já te retorno. Pronto: temos às 15h.
    Vou conferir aqui e já te digo: temos sim!
    Só um momento, já te respondo. O bolo custa R$ 80.
    Qual o seu CEP? Vou verificar e já te retorno.
    Vou verificar e já te retorno. Qual é o tamanho?
    Me envie o CEP que já te retorno com o frete.
    Me diga a data, vou verificar e te retorno.
    Assim que você enviar o comprovante, vou conferir e te aviso.
    Vou confirmar seu horário e te aviso um dia antes.
    Vou anotar o seu pedido e te aviso quando sair.
    Te aviso assim que seu pedido sair para entrega.
    Te aviso quando ficar pronto.
    Não vou conseguir verificar e te retornar.
    Retornamos do almoço às 14h.
    Volto às 14h.
    Vou te explicar como funciona e te respondo tudo.
    Confirmado! Te esperamos amanhã.
    Já te respondo por partes: primeiro, o preço é R$ 50.
    Vou ver você amanhã, te aviso do horário.
    Le confirmo su cita para el lunes.
    Te confirmo: el lunes a las 10.
    Te aviso cuando llegue tu pedido.
    Si me das tu dirección, voy a verificar y te aviso.
    ¿Me pasas tu número de pedido? Voy a revisar y te aviso.
    Voy a revisar y te aviso. ¿Cuál es tu número de pedido?
    Dame un momento y te confirmo. Listo, hay mesa a las nueve.
    Envíame el comprobante y te confirmo.
    I'll check you in at the door.
    If you send me the order number, I'll check and get back to you.
    What is your order number? I'll check and get back to you.
    Let me check and I'll let you know. Yes, we have it in blue.
    I'll let you know when it is ready.
    We'll get back to work at two.
    Check the menu and let me know.
"""


def test_who_only_says_that_they_will_answer_promises_it():
    said = _PROMISED.strip().splitlines()
    assert [each.strip() for each in said if not promises_answer(each)] == []


def test_who_answers_or_asks_besides_does_not():
    said = _PROMISED_NOTHING.strip().splitlines()
    assert [each.strip() for each in said if promises_answer(each)] == []


def test_a_long_text_is_judged_at_once():
    for words in ("vou verificar e ", "vou ver que te ", "let me check and ", "voy a ver y ", "a "):
        assert not promises_answer(words * 300)
