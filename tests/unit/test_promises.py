"""What an AI of a small business says in Portuguese, Spanish and English: who promises a human."""

from router.safety.promises import promises_person

_PROMISED = """
    Vou chamar alguém da equipe para te ajudar.
    Vou passar você para um atendente.
    Vou passar sua mensagem para a equipe.
    Vou passar o seu contato para a nossa equipe.
    Vou repassar sua dúvida para o time.
    Vou encaminhar seu pedido ao setor financeiro.
    Vou pedir para alguém da equipe te ligar.
    Vou pedir pra gerente te responder.
    Vou avisar a dona da loja agora mesmo.
    Já avisei a equipe e em breve te respondem.
    Vou verificar com o gerente e já te retorno.
    Só um momento, vou te transferir.
    Em instantes um de nossos atendentes falará com você.
    Um especialista entrará em contato ainda hoje.
    Nossa equipe te responde em alguns minutos.
    A equipe já vai te atender, tá?
    Já já alguém te chama por aqui.
    Alguém da equipe vai continuar o atendimento por aqui.
    Vou deixar com a nossa equipe, que te responde assim que possível.
    Sua solicitação foi encaminhada para o responsável.
    Seu caso foi repassado à equipe de suporte.
    Um humano vai assumir a conversa a partir daqui.
    Aguarde um instante que já te passo para um atendente.
    Vou acionar o responsável para resolver isso.
    Estou te encaminhando para o setor de vendas.
    A gente vai te ligar em breve.
    A gente entra em contato com você.
    Vamos retornar o contato assim que possível.
    O técnico vai entrar em contato para agendar a visita.
    Nossa equipe vai analisar o seu caso e te dar um retorno.
    Vou solicitar que um atendente fale com você.
    Em breve você será atendido por um de nossos consultores.
    Um dos nossos vendedores vai te chamar no WhatsApp.
    Registrei sua reclamação e o gerente vai te retornar amanhã.
    O responsável vai falar com você.
    Vou transferi-lo para um colega.
    Te transfiro para a Ana.
    Vou te transferir agora para o Marcos, que cuida das entregas.
    Vou levar sua dúvida ao responsável.
    Vou levar a sua reclamação para a nossa equipe.
    Vou transferi-la para a nossa equipa.
    Vou passar a sua mensagem à nossa equipa.
    Vou encaminhar o seu pedido para a equipa.
    Vou reencaminhar o assunto para um colega.
    Vou pedir a um colega que lhe responda.
    Vou pedir a um colega para o contactar.
    Um colega irá contactá-lo em breve.
    Um colega vai contactá-la ainda hoje.
    A nossa equipa irá contactá-lo.
    A nossa equipa entrará em contacto consigo.
    Alguém da equipa entra em contacto consigo.
    Vamos entrar em contacto consigo.
    Entraremos em contacto brevemente.
    Vou falar com o gerente e já lhe digo algo.
    Vou verificar com a equipa e já lhe respondo.
    Já avisei a equipa.
    Vou chamar um colega para o ajudar.
    Vou ligá-lo a um assistente humano.
    Será contactado por um dos nossos colaboradores.
    Um dos nossos colaboradores irá falar consigo.
    Um assistente irá responder-lhe em breve.
    O responsável vai ligar-lhe amanhã.
    A equipa vai ajudá-lo.
    A nossa equipa vai analisar o seu caso e responder-lhe.
    Encaminhei a sua questão para o departamento técnico.
    Vou deixar recado ao responsável para lhe ligar.
    Estou a transferi-lo para um operador.
    Vou colocá-lo em contacto com um colega.
    Alguém vai continuar a conversa consigo aqui.
    Voy a pasarte con un agente.
    Te voy a pasar con alguien del equipo.
    Voy a pasar tu consulta al equipo.
    Paso tu mensaje al equipo.
    Voy a derivar tu caso al área de soporte.
    Voy a avisar a la dueña ahora mismo.
    Voy a avisarle al encargado.
    Un compañero te escribirá en breve.
    Un asesor se comunicará contigo.
    Un ejecutivo te contactará hoy.
    Nuestro equipo se pondrá en contacto con usted.
    El equipo te responderá lo antes posible.
    Nos comunicaremos contigo.
    Nos pondremos en contacto contigo.
    Te llamaremos mañana.
    Le vamos a llamar en unos minutos.
    Te contactamos en breve.
    Ya avisé al equipo.
    He avisado a mis compañeros.
    Le he pasado tu mensaje al equipo.
    Tu caso fue derivado a un especialista.
    Voy a consultar con la gerente y te aviso.
    Déjame consultarlo con el equipo.
    Permíteme transferirte con un asesor.
    Te comunico con un asesor.
    En breve te atenderá un compañero.
    En un momento alguien te atiende.
    Una persona del equipo seguirá la conversación contigo.
    Voy a pedirle a un compañero que te llame.
    Voy a pedir que alguien te contacte.
    Alguien del equipo te va a ayudar con eso.
    Serás atendido por un asesor en breve.
    El encargado te llama en un rato.
    Te pondré en contacto con un compañero.
    Voy a ponerte en contacto con el equipo.
    La encargada va a revisar tu caso.
    I'll pass this on to the team.
    I'll pass your message to our manager.
    I will forward your request to our support team.
    Let me transfer you to a colleague.
    Let me get a colleague to help you.
    Let me check with the team and get back to you.
    I'll have someone call you back.
    I'll ask a team member to reach out.
    Someone will get back to you shortly.
    Someone from our team will reach out soon.
    A member of our team will contact you today.
    Our team will get back to you.
    One of our specialists will be in touch.
    The owner will reply to you here.
    The manager will call you tomorrow.
    A human will take over from here.
    I've notified the team.
    I've let the team know.
    I've passed this along to our staff.
    I have escalated this to a supervisor.
    Your request has been forwarded to our team.
    Your message has been passed to the manager.
    You'll hear from our team soon.
    You will hear back from someone shortly.
    We'll get back to you as soon as possible.
    We'll call you back in a few minutes.
    I'm connecting you with someone who can help.
    I'm handing you over to a colleague.
    Hold on, I'm getting someone for you.
    I'll flag this for the team.
    I'll ask our manager and let you know.
    Please wait while I transfer you.
    A colleague is going to help you with this.
    Our sales team will follow up with a quote.
    Someone will assist you in a moment.
    I'm going to loop in a colleague.
    Obrigada pela paciência! Um atendente vai te responder no horário comercial.
    Perfeito! Vou encaminhar seus dados para o nosso consultor e ele entra em contato ainda hoje.
    Entendi. Vou pedir para o gerente entrar em contato com você.
    Combinado! Alguém do nosso time vai te chamar por aqui em poucos minutos.
    Não tenho essa informação, mas vou confirmar com a nossa equipe e já te respondo.
    Vou transferir o seu atendimento para um especialista.
    Vou transferir você agora para o setor financeiro.
    Já registrei seu pedido e nossa equipe vai entrar em contato para combinar a entrega.
    Nossa equipe comercial vai retornar seu contato amanhã pela manhã.
    Um momento, por favor: vou chamar um atendente.
    Vou te colocar em contato com a nossa gerente.
    Pode deixar que vou avisar a equipe.
    Pode deixar, a equipe já foi avisada.
    Seu atendimento será transferido para um humano.
    Estou te transferindo para um de nossos atendentes humanos.
    Estou repassando suas informações para a equipe responsável.
    Logo um consultor fala com você.
    Nosso pessoal vai te ligar.
    Um profissional da nossa equipe vai te ajudar com isso.
    Vou encaminhar para a nossa equipe verificar.
    Um colega meu vai continuar com você.
    Passei para a equipe e eles te respondem em breve.
    Encaminhei o seu caso à direção, que lhe responderá em breve.
    A minha colega vai responder-lhe assim que possível.
    Vou pedir à equipa que entre em contacto consigo.
    Alguém da nossa equipa vai tratar do seu caso.
    Um dos nossos técnicos ligar-lhe-á amanhã.
    Iremos contactá-la brevemente.
    Vou passar a conversa a um colega.
    ¡Gracias por tu paciencia! Un agente te responderá en horario comercial.
    Voy a enviar tus datos a nuestro asesor para que te contacte.
    Entiendo. Le voy a pedir al gerente que te llame.
    No tengo esa información, pero voy a confirmar con el equipo y te respondo.
    Ahora mismo te transfiero con un especialista.
    Paso tu caso al departamento de administración.
    Te paso con un compañero.
    Te paso con mi compañera Laura.
    Ahora te atiende un compañero.
    Un compañero te atenderá enseguida.
    Un asesor humano tomará la conversación.
    Voy a escalar tu caso a un supervisor.
    Tu mensaje ha sido enviado al equipo de soporte.
    El dueño te va a contestar por acá.
    Nuestro equipo comercial te contactará para coordinar.
    Alguien de nuestro equipo te contactará a la brevedad.
    Se comunicará contigo un asesor.
    Le paso su consulta al encargado y le respondemos.
    Ya le avisé al encargado.
    Ya pasé tu mensaje al equipo.
    Voy a dejar un mensaje a la encargada para que te llame.
    El equipo ya está avisado y te escribirá en breve.
    En breve un representante se pondrá en contacto.
    Un humano continuará la conversación.
    Vamos a contactarte en breve.
    Espere un momento mientras le transfiero con un agente.
    Le atenderá una persona de nuestro equipo en breve.
    Permítame un momento, voy a llamar a un compañero.
    La gerente se comunicará con vos mañana.
    Un asesor te va a estar contactando.
    Thanks for your patience! An agent will reply during business hours.
    I've forwarded your details to our sales team, and they'll contact you today.
    I understand. I'll ask the manager to call you.
    I don't have that information, but I'll check with the team and let you know.
    I'm transferring you to a specialist now.
    I'll pass your details to the billing department.
    I'm going to connect you with one of our agents.
    Let me bring in a colleague.
    One of our staff will be with you shortly.
    A human agent will take over this conversation.
    I'll escalate your case to a supervisor.
    Your message was sent to the support team.
    The owner will get back to you.
    Our sales team will contact you to arrange it.
    Someone from the office will call you this afternoon.
    I've alerted our manager.
    I'll make sure someone calls you back.
    I'll make sure the team sees this.
    I'll have a colleague follow up.
    You'll be contacted by one of our representatives.
    I'm putting you through to our support team.
    A teammate will jump in shortly.
    A member of staff will contact you.
    Somebody will message you here.
    Our team is going to look into this for you.
    Our team will review your request and reply within 24 hours.
    The team has been notified.
    Let me hand you off to a person.
    Let me get someone to help with that.
    I've asked our technician to call you.
    Já chamo um atendente para você.
    Aviso o gerente agora mesmo.
    Avisarei a equipe.
    Transferirei você para um atendente.
    Encaminharei sua mensagem ao responsável.
    Passarei seu recado ao gerente.
    Pedirei para alguém te ligar.
    Falarei com o gerente e te retorno.
    Vou pedir para a Ana te ligar.
    Vou chamar a Ana para te atender.
    Estou encaminhando sua solicitação ao nosso financeiro.
    Seu pedido de reembolso foi encaminhado ao financeiro.
    Vou registrar sua reclamação e encaminhar à gerência.
    Já chamei um atendente, qualquer coisa é só escrever.
    Ahora mismo aviso al encargado.
    Avisaré al equipo.
    Le informaré al gerente.
    Hablaré con el gerente y te llamo.
    Consultaré con el equipo y te respondo.
    Enviaré tus datos al equipo.
    Someone will be right with you.
    Your inquiry will be reviewed by our team.
"""
_PROMISED_NOBODY = """
    Te transfiro para a lista de espera, tudo bem?
    Vou te transferir para a turma de terça.
    Te transfiro para a conta que você mandou, em até dois dias.
    Te transfiro para o Pix que você mandou.
    Vou levar o bolo para a dona Maria às dez.
    Vou levar seu pedido para a senhora às dez.
    Vou passar o café para a equipe.
    A equipe vai ligar o forno.
    Vou passar o valor para você.
    Vou te passar o endereço: Rua das Flores, 10.
    Vou encaminhar o boleto para o seu e-mail.
    Estou encaminhando o comprovante.
    Nosso time é formado por especialistas.
    A equipe de entrega vai até você entre 14h e 16h.
    O entregador vai te ligar quando chegar.
    O motoboy vai chamar no portão.
    Você pode falar com a equipe pelo telefone 3333-4444.
    Nossa equipe está à disposição.
    O atendimento é feito por um profissional qualificado.
    O dentista vai te atender na quinta às 15h.
    Você será atendida pela doutora Ana às 10h.
    A consulta com o especialista custa R$ 200.
    Temos pacotes para a equipe da sua empresa.
    O bolo serve uma pessoa.
    Vou anotar o seu pedido.
    Vou confirmar seu horário com a manicure às 14h?
    A manicure vai te esperar às 14h.
    Nosso gerente trabalha de segunda a sexta.
    Precisa falar com o responsável? Posso chamar.
    O time do setor de cozinha prepara tudo na hora.
    Vou pedir pizza para a equipe.
    Vou chamar um Uber para a pessoa.
    A equipe vai montar a mesa no sábado.
    Nossa equipe vai decorar o salão no dia da festa.
    Vou te passar o Pix da equipe de vendas.
    Vou passar o orçamento por pessoa.
    Vou encaminhar o cardápio para 10 pessoas.
    A equipe vai até a sua casa buscar o sofá.
    O técnico vai verificar a geladeira na visita de terça.
    Estou passando o roupão que a equipe usa.
    O vendedor da loja vai te mostrar os modelos na sua visita.
    A equipe vai embalar seu presente.
    Nosso time vai adorar te receber!
    A equipe vai ajudar a descarregar o caminhão.
    Vou passar seu pedido para a cozinha.
    Vou passar o café à equipa.
    A equipa vai ligar o forno.
    A nossa equipa atende-o de segunda a sexta.
    O colega da loja de Lisboa pode ajudá-lo.
    Pode contactar a nossa equipa através do 210 000 000.
    Vou enviar-lhe o orçamento.
    Vou passar-lhe a morada.
    A equipa fez um trabalho excelente.
    A nossa equipa recebe-o na quinta às 10h.
    Será atendido pelo Dr. Silva na segunda.
    O estafeta vai ligar-lhe à chegada.
    O menu para uma pessoa custa 10 euros.
    Se quiser, posso passar para um colega.
    Quer que chame um colega?
    Temos um desconto para equipas de futebol.
    Vou confirmar-lhe o horário.
    A equipa vai montar o móvel no sábado.
    O técnico vai verificar a caldeira na visita de terça.
    A nossa equipa vai entregar a encomenda amanhã.
    Vou passar a ferro as camisas da equipa.
    A nossa equipa está ao dispor.
    Vou pedir o prato para a equipa.
    O gerente vai estar de férias.
    O bilhete é por pessoa.
    O vendedor vai mostrar-lhe os modelos quando vier.
    Não vamos contactá-lo para fins de marketing.
    Vou reservar mesa para uma pessoa.
    A equipa vai abrir às 9h.
    Nunca o passamos a um colega sem avisar.
    Vou chamar um táxi para a pessoa.
    Te paso el precio del equipo.
    Te paso el precio por persona.
    Voy a pasar el café al equipo.
    Voy a pasarte la dirección.
    El equipo va a encender el horno.
    El equipo de sonido cuesta 200 euros.
    Te paso las fotos del equipo de aire acondicionado.
    Voy a llamar un taxi para la persona.
    Puedes hablar con nuestro equipo en el 900 100 100.
    Nuestro equipo está para servirte.
    El repartidor te llamará al llegar.
    El doctor te atenderá el jueves a las 10.
    Será atendido por el doctor Pérez el lunes.
    La mesa es para una persona.
    El menú por persona cuesta 15.
    ¿Quieres que llame a un compañero?
    Si prefieres, te paso con un asesor.
    Voy a anotar tu pedido.
    El técnico revisará tu lavadora el martes.
    Nuestro equipo te espera el sábado.
    El equipo va a montar el escenario.
    El encargado abre a las nueve.
    Le paso el número de cuenta.
    Te paso la lista de equipos disponibles.
    Voy a revisar el stock del equipo.
    Te comunico que el equipo ya está listo para recoger.
    Te llamo cuando llegue el equipo.
    Le aviso cuando el equipo esté reparado.
    Voy a avisar cuando llegue tu equipo.
    Tu equipo será revisado por el técnico.
    El equipo se pondrá a la venta mañana.
    El equipo se encargará de la decoración.
    Voy a pasar por la tienda con mi equipo.
    La vendedora te mostrará los modelos en la tienda.
    No te llamaremos para venderte nada.
    Nadie del equipo te pedirá la contraseña.
    El equipo te ayudará a perder peso.
    Estoy llamando al repartidor.
    Te voy a pasar la ficha del equipo.
    Nuestro equipo de estilistas te atiende con cita.
    I'll send you the price for the team package.
    Our team is available Monday to Friday.
    You can reach our team at 555-0100.
    Our team will deliver the sofa on Tuesday.
    Our team will heat the oven at six.
    The driver will call you when he arrives.
    The doctor will see you at 10 on Thursday.
    You'll be seen by Dr. Smith on Monday.
    The menu is 15 per person.
    I'll book a table for one person.
    Would you like me to get a manager?
    If you prefer, I can connect you with a colleague.
    I'll note your order.
    We have a discount for sports teams.
    The stylist will call your name when it's your turn.
    I'll call a taxi for the person.
    We'll contact the supplier about the team shirts.
    Our team will help you pick a dress in the store.
    The technician will check the boiler on Tuesday's visit.
    I'll put you down for the team yoga class.
    I'll put your name on the list for our team dinner.
    We'll get you a seat with your team.
    I'll pass by the office with the team shirts.
    I'm calling it a day, said our manager.
    Nobody from our team will ask you for a password.
    Our team will call out your number at the counter.
    I'll get the team jerseys printed.
    I'm passing the phone case to the packing team.
    The manager opens at nine.
    A person can take two items.
    Our agents will show you the apartment on Friday.
    Let me get you the agent's address.
    The staff will help you to your seat.
    We will call your name when the table is ready.
    I'll let you know once the team has baked it.
    The kit contacts: someone has to take care of the plug.
    Our team took care of the rest.
    Our staff will be with you on the tour.
    I'm getting the team photo framed.
    The team will take care of you during your stay.
    Oi! Sou a assistente virtual da Padaria da Ana.
    Nossa equipe prepara tudo com carinho.
    O corte com um especialista custa R$ 80.
    Temos horário com a técnica Joana amanhã às 15h.
    Você pode vir com mais uma pessoa.
    Vou reservar para você e mais uma pessoa.
    O valor é por pessoa, e a equipe de garçons está incluída.
    A equipe vai chegar às 8h para montar a festa.
    Nosso time vai passar na sua casa na sexta para instalar o ar.
    Vou anotar que você prefere a atendente Carla.
    Você prefere ser atendida por qual profissional?
    A consulta será com o responsável técnico, Dr. Paulo.
    Vou enviar o contrato para o seu gerente.
    Vou te enviar o contato da nossa equipe de vendas.
    Segue o telefone do gerente: 99999-0000.
    Ao chegar, fale com a recepção, que alguém te acompanha até a sala.
    A gerente liga o ar às 8h.
    O pessoal da cozinha já está preparando seu pedido.
    A equipe de entrega já saiu com seu pedido.
    A equipe vai finalizar seu pedido em 20 minutos.
    Seu pedido já foi enviado para a cozinha.
    A equipe te agradece!
    A equipe vai te surpreender com o sabor.
    Nossos atendentes falam inglês.
    Para falar com um atendente, digite 1.
    Qualquer dúvida, chame nossa equipe.
    Quer falar com um atendente? É só dizer.
    A nossa equipa deseja-lhe um bom dia.
    O responsável da loja abre às 9h.
    O estafeta entrega ao porteiro ou a outra pessoa.
    Hola, soy el asistente virtual de la tienda.
    El equipo de música está en oferta.
    Te paso el catálogo de equipos.
    ¿Para cuántas personas? Para una persona son 10 euros.
    Te paso con gusto el menú.
    Con gusto te paso los precios por persona.
    Puedes venir con otra persona.
    Nuestro equipo prepara todo con cariño.
    Tu cita es con la especialista Marta el lunes a las 9.
    Te espera nuestro equipo en la calle Mayor 3.
    Te envío el contacto de nuestro equipo de ventas.
    Para hablar con un agente, escribe 1.
    Pregunta por la encargada al llegar.
    El equipo ya está preparando tu pedido.
    Tu pedido ya fue enviado a la cocina.
    El repartidor te llamará.
    Voy a pasar tu pedido a cocina.
    El personal de cocina ya lo está preparando.
    La dueña abre a las diez.
    Voy a agendar tu cita con el técnico.
    El técnico irá a tu casa el jueves.
    El técnico te visitará el jueves.
    Nuestros asesores hablan inglés.
    El equipo te agradece tu compra.
    La persona que recoge debe traer el DNI.
    Te llamo Ana, ¿verdad?
    Una persona puede llevar dos.
    El equipo pesa diez kilos y se lo entregamos mañana.
    Voy a preguntar: ¿para cuántas personas?
    Le confirmo que el equipo tiene garantía.
    Hi! I'm the virtual assistant of Ana's bakery.
    Our team prepares everything with care.
    The cut with a specialist is $80.
    Your appointment is with our specialist Joan at 3.
    You can bring another person.
    I've booked it for you and one more person.
    The price is per person and the staff is included.
    The team will arrive at 8 to set up the party.
    Our team will come to your house on Friday to install it.
    I'll send you our sales team's number.
    To talk to an agent, type 1.
    Ask for the manager when you arrive.
    The kitchen staff is already preparing your order.
    Your order was sent to the kitchen.
    The driver will call you.
    I'll pass your order to the kitchen.
    The owner opens at ten.
    I'll schedule your appointment with the technician.
    The technician will visit on Thursday.
    Our agents speak English.
    Our team thanks you!
    The person who picks it up needs an ID.
    I'll add the team discount.
    Let me tell you about our team.
    I'm happy to help your team choose.
    We'll call it a deal then!
    I'll be with you and your team all day.
    I've reserved a table for the team on Friday.
    You are talking to an assistant, not a person.
    Would you rather speak with someone?
    O responsável deve entrar em contato com a escola.
    O responsável pelo aluno precisa assinar.
    A professora vai ligar para a mãe.
    Nossa equipe vai te buscar no aeroporto às 10h.
    A equipe vai falar sobre nutrição na palestra.
    O especialista vai falar sobre pele seca no evento.
    A técnica vai aplicar o produto em você.
    A equipe da cozinha já foi informada da sua alergia.
    O time vai jogar amanhã.
    O vendedor já separou seu tênis.
    A gerente já confirmou seu horário.
    O técnico vai hoje à tarde.
    A equipe vai hoje, entre 14h e 18h.
    O técnico liga antes de chegar.
    Nosso consultor te visita na quarta às 9h.
    Vou agendar você com a especialista.
    Vou marcar você com a nossa colaboradora Bia na sexta.
    Vou te mandar o contato do responsável.
    Vou colocar você na lista da equipe.
    Vou passar o pano com a equipe.
    Vou conectar o wi-fi para a equipe.
    Seu pedido foi enviado para o setor de entrega.
    Estamos contratando atendentes.
    Vou falar com você sobre a equipe.
    Nossa equipe fala com você sobre os tecidos na visita.
    A equipe vai cuidar do seu cabelo com carinho.
    A equipe vai cuidar de você.
    O suporte para TV custa R$ 90.
    Vou passar o suporte para o técnico instalar.
    O pessoal vai chamar seu nome no balcão.
    El equipo te avisa cuando esté listo.
    El técnico te llama antes de llegar.
    La encargada del local te mostrará el salón.
    El equipo ya está reparado y te avisamos mañana.
    El responsable del alumno debe firmar.
    El agente inmobiliario te espera a las 5 en el piso.
    Le confirmo la cita con el especialista el martes.
    Te agendo con la asesora de belleza.
    Le paso la ubicación del personal.
    El equipo se comunica por bluetooth con el móvil.
    El equipo se conecta solo.
    El equipo va a tomar 10 minutos en calentar.
    Te llamo al equipo de sonido "kit básico".
    El personal le indicará su mesa.
    El equipo te ayuda a entrenar en casa.
    Voy a preguntar por el equipo de música.
    Voy a llamar al repartidor.
    Vamos a ponerte en el equipo de los sábados.
    The coach will call the team on Friday.
    Our team will review the damage at the shop.
    The agent will show you the flat at five.
    I'll get the agent's number for you.
    Your parcel has been handed to the carrier's team in Madrid.
    Your order has been sent to our warehouse team.
    I'll put it with the team order.
    We'll get it to you by Friday.
    I'm sending this cake to your team today.
    I'll send the invoice to your manager.
    I'll let someone else have the slot then.
    I'll tell you about our team.
    Let me ask you: how many people are on the team?
    Our staff will look after your dog.
    The specialist will see you on Monday at 9.
    The technician will be there within two hours.
    The technician will call before arriving.
    The owner is here until six.
    The host will be with you at the door.
    A person will need to sign for it.
    Someone will need to sign for it.
    Your team will love it.
    The manager will help on Saturday.
    Our team will follow up on the recall next year.
    We will contact you only if something changes.
    Qualquer dúvida, a gente te responde por aqui.
    Cualquier duda, te respondemos por aquí.
    Vou passar para a equipe da cozinha seu pedido sem cebola.
    Vou pedir para o motoboy te chamar no portão.
    Vou pedir para a Ana separar o seu tamanho.
    Um aviso da equipe: amanhã fechamos às 15h.
    Te llamo Ana, del equipo de ventas.
    The technician will contact you on the day of the visit.
    Your order will be prepared by our team.
"""


def test_natural_sentences_that_promise_a_human_hand_off():
    said = _PROMISED.strip().splitlines()
    assert [each.strip() for each in said if not promises_person(each)] == []


def test_what_small_businesses_say_every_day_does_not():
    said = _PROMISED_NOBODY.strip().splitlines()
    assert [each.strip() for each in said if promises_person(each)] == []
