"""Whether a customer asks for a human in words that need no model to be understood (pure)."""

import re
from collections.abc import Iterable, Sequence

from router.safety.promises import plain

NO_WORDS = ("-",)
"""What a tenant sets so that no words do it."""

_LONGEST = 300  # characters: who tells a story is read by the model
# Whole messages, beside words that only make them polite.
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
# Phrases, wherever they stand: a line each.
_TOLD = r"""
fal(?:ar|o|e) (?:com|por) {pt_a}{pt_who}
(?:conversar|atendid[oa]|atendimento) (?:com|por) {pt_a}{pt_who}
cham(?:a|ar|e|em) {pt_a}{pt_who}
(?:quero|preciso|prefiro|queria) (?:de )?uma? (?:atendente|humano|pessoa (?:real|de verdade))
(?:me pass\w+|(?:me )?(?:transf|encaminh|direcion)\w+) (?:para|pra|pro|a|ao) {pt_a}{pt_whom}
(?:atendimento|atendente|ajuda|suporte) human[oa]
(?:hablar|conversar|comunicar(?:me|se)?) con (?:(?:una?|el|la|alguna?) )?{es_who}
(?:me (?:pas|comuni|transf)\w+|pas[ae]me|comuni(?:ca|que)me) con (?:(?:una?|el|la) )?{es_who}
(?:atencion humana|agente humano|persona real)
(?:speak|talk|chat) (?:to|with) (?:(?:an?|the|some) )?{en_who}
(?:human agent|live agent|real person)
"""
_WHO = {
    "pt_a": r"(?:(?:um|uma|o|a|algum|alguma) )?",
    "pt_who": r"(?:atendente|(?:ser )?humano|pessoa|gente|alguem|gerente|responsavel|vendedora?"
    r"|funcionari[oa]|operadora?|don[oa]|proprietari[oa])",
    "pt_whom": r"(?:atendente|(?:ser )?humano|pessoa|alguem|gerente|responsavel)",
    "es_who": r"(?:agente|human[oa]|persona|alguien|asesora?|operador|encargad[oa]|gerente"
    r"|representante)",
    "en_who": r"(?:human|person|agent|someone|somebody|manager|representative|operator|real|live)",
}
_PHRASES = re.compile("|".join(rf"\b{each}\b" for each in _TOLD.format(**_WHO).split("\n") if each))
_NOT = re.compile(
    r"\b(?:nao|nem|sem|no|not|don't|dont|never|nunca|without|sin|ja)(?: [\w']+){0,3} $"
)


def asks_for_person(texts: Iterable[str], words: Sequence[str] = ()) -> bool:
    """Whether one of the messages asks for a human, by our words or by the tenant's `words`.

    A single word counts where it is the whole message, a phrase wherever it stands.
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
    rest = [token for token in tokens if token not in _POLITE]
    if 1 <= len(rest) <= 2 and all(token in _WHOLE for token in rest):
        return True
    for word in own:
        if said == word or rest == [word] or (" " in word and f" {word} " in f" {said} "):
            return True
    sentences = [" ".join(_tokens(sentence)) for sentence in re.split(r"[.!?;\n]", text)]
    return any(
        not _NOT.search(sentence[: found.start()])
        for sentence in sentences
        for found in _PHRASES.finditer(sentence)
    )


def _tokens(text: str) -> list[str]:
    return re.findall(r"[\w']+", plain(text))
