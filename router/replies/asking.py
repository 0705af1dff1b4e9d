"""Recognises without a model that a customer asks for a human. Pure."""

import re
from collections.abc import Iterable, Sequence

from router.safety.promises import plain

NO_WORDS = ("-",)
"""The value of `handoff_words` by which a tenant switches this off."""

_LONGEST = 300  # characters; longer messages are left to the model
# Words that count if they are the whole message, apart from polite words.
_WORDS = """
    atendente atendentes humano humana pessoa gerente agente asesor asesora persona operador
    operadora human agent person representative operator
"""
_BESIDE = """
    quero queria preciso prefiro gostaria de um uma uns o a por favor pfv pf gentileza oi ola bom
    boa dia tarde noite chama chame me com falar agora ai aqui ja quiero quisiera necesito un una
    el la hola buenos buenas dias tardes noches hablar con ahora i want need would like an the
    please hi hello hey talk speak to with now real
"""
_WHOLE, _POLITE = frozenset(_WORDS.split()), frozenset(_BESIDE.split())
_A_NUMBER = re.compile(r"(?:so |solo |only )?(?:uma?|una?|one|a) (?:pessoa|persona|person)")
"""The answer to "for how many?"."""
# Phrases, anywhere in a message: one per line.
_TOLD = r"""
fal(?:ar|o|e) (?:com|por) {pt_a}{pt_who}
(?:conversar|atendid[oa]|atendimento|contac?tad[oa]) (?:com|por) {pt_a}{pt_who}
cham(?:a|ar|e|em) {pt_a}(?:{pt_whom}(?! (?:pel[oa]|para ir))|{pt_owner}|vendedora?)
(?:quero|preciso|prefiro|queria) (?:de )?uma? (?:atendente|humano|pessoa (?:real|de verdade))
(?:me pass\w+|(?:me )?(?:transf|encaminh|direcion)\w+) (?:para|pra|pro|a|ao) {pt_a}{pt_whom}
pass(?:a|ar|e)(?: me)? (?:para|pra|pro|a|ao) {pt_a}(?:{pt_whom}|colega)$
(?:quero|queria|preciso|prefiro|gostaria|tem|ha|com)(?: de)?(?: um| uma| o)? {pt_human}
^{pt_human}(?: por favor)?$
(?:nao quero|chega de)(?: (?:falar|conversar) com| ser atendid[oa] por)?(?: um)? {pt_bot}$
tem (?:algum |alguma )?(?:atendente|humano|pessoa real)(?: ai| aqui)?$
(?:hablar|conversar|comunicar(?:me|se)?) con {es_a}{es_who}
(?:me (?:pas|comuni|transf)\w+|pas[ae]me|comuni(?:ca|que)me) con {es_a}{es_who}
(?:atienda|atender|atiende) {es_a}(?:persona|human[oa]|asesora?|agente)
(?:quiero|necesito|prefiero|hay|con)(?: un| una)? (?:atencion humana|agente humano|persona real)
no quiero (?:hablar con )?(?:un )?(?:robot|bot|maquina)$
(?:speak|talk|chat) (?:to|with) {en_a}{en_who}
(?:transfer|connect) me (?:to|with) {en_a}{en_who}
put me through to {en_a}{en_who}
get me {en_a}(?:human|person|agent|manager|supervisor)
is there (?:a|any) (?:human|real person)
(?:don't|dont) want to (?:speak|talk|chat) (?:to|with) (?:a |an )?(?:bot|robot|machine|ai)$
(?:human agent|live agent|real person)
"""
_OWNER = r"(?:don[oa]|proprietari[oa])(?! d[aeo]s? (?!loja|empresa|negocio|estabelecimento))"
_WHO = {
    "pt_a": r"(?:(?:um|uma|o|a|algum|alguma) )?",
    "pt_who": r"(?:atendente|(?:ser )?humano|(?:assistente|suporte) humano|pessoa(?! pel[oa])"
    r"|gente|alguem|gerente|responsavel|vendedora?|colaborador(?:a)?|consultor(?:a)?"
    r"|funcionari[oa]|operador(?:a)?|equip[ea]|suporte|setor|departamento"
    rf"|{_OWNER})",
    "pt_whom": r"(?:atendente|(?:ser )?humano|pessoa|alguem|gerente|responsavel|operador(?:a)?)",
    "pt_owner": _OWNER,
    "pt_human": r"(?:atendimento|atendente|ajuda|suporte) human[oa]",
    "pt_bot": r"(?:robo|bot|maquina)",
    "es_a": r"(?:(?:una?|el|la|alguna?) )?",
    "es_who": r"(?:agente|human[oa]|persona|alguien|asesora?|operador|encargad[oa]|gerente"
    r"|representante|ejecutiv[oa]|soporte|supervisor(?:a)?|equipo|duen[oa](?! de))",
    "en_a": r"(?:(?:an?|the|some|your) )?",
    "en_who": r"(?:human|person|agent|someone|somebody|manager|representative|operator|real|live"
    r"|owner(?! of)|staff|support|supervisor|employee)",
}
_PHRASES = re.compile(
    "|".join(rf"(?<!\S){each}(?!\S)" for each in _TOLD.format(**_WHO).split("\n") if each)
)
# Not a request: customers who say what they themselves will do or did, or what not to do, or who
# speak of people of their own.
_NOT = re.compile(
    r"(?:\b(?:nao|nem|sem|no|not|don't|dont|never|nunca|without|sin|ja|ya"
    r"|(?:vou|vamos|voy a|vamos a|i'll|i will)(?! (?:querer|precisar|necesitar|need)))"
    r"(?: [\w']+){0,3}|^e para) $"
)
_THEIR_OWN = re.compile(
    r"^ (?:d[aeo] (?:minha|meu)|de mi|of my|(?:aqui )?em casa|at home|en casa"
    r"|(?:\w+ ){0,3}(?:antes|primeiro|primero|first|before))\b"
)


def asks_for_person(texts: Iterable[str], words: Sequence[str] = ()) -> bool:
    """Whether one of the messages asks for a human, by our words or the tenant's `words`.

    A single word counts if it is the whole message, a phrase anywhere in it.
    """
    if tuple(words) == NO_WORDS:
        return False
    own = [said for word in words if (said := " ".join(_tokens(word)))]
    return any(_asks(text, own) for text in texts)


def _asks(text: str, own: Sequence[str]) -> bool:
    if len(text) > _LONGEST:
        return False
    tokens = _tokens(text)
    said = " ".join(tokens)
    if _A_NUMBER.fullmatch(said):
        return False
    rest = [token for token in tokens if token not in _POLITE]
    if 1 <= len(rest) <= 2 and all(token in _WHOLE for token in rest):
        return True
    for word in own:
        if said == word or rest == [word] or (" " in word and f" {word} " in f" {said} "):
            return True
    sentences = [" ".join(_tokens(sentence)) for sentence in re.split(r"[.!?;\n]", text)]
    return any(
        not _NOT.search(sentence[: found.start()]) and not _THEIR_OWN.match(sentence[found.end() :])
        for sentence in sentences
        for found in _PHRASES.finditer(sentence)
    )


def _tokens(text: str) -> list[str]:
    return re.findall(r"[\w']+", plain(text))
