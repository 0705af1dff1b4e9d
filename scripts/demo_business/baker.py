"""What the simulated AI says: a few sentences of a bakery, in the customer's language."""

import re
from dataclasses import dataclass

from loopback.replies import LlmRequest, Reply

PROMPT = (
    "You answer for Padaria Aurora, a bakery in São Paulo. It is open every day from 7 am, on"
    " Sundays until 1 pm. It delivers within 3 km. Sourdough and focaccia have no milk. Carrot cake"
    " costs R$ 32. Answer briefly, in the customer's language."
)


@dataclass(frozen=True, slots=True)
class _Topic:
    asked: re.Pattern[str]
    pt: str
    en: str
    es: str


def _about(pattern: str, *, pt: str, en: str, es: str) -> _Topic:
    return _Topic(re.compile(pattern, re.IGNORECASE), pt, en, es)


_TOPICS = (
    _about(
        r"sunday|domingo|open|abr[ei]|aberto|horas|horario|horário",
        pt="Sim! Aos domingos abrimos das 7h às 13h.",
        en="Yes, on Sundays from 7 am to 1 pm.",
        es="Sí, los domingos de 7 a 13 h.",
    ),
    _about(
        r"milk|dairy|vegan|leite|lactose|leche|lactosa",
        pt="O pão de fermentação natural e a focaccia não levam leite.",
        en="The sourdough and the focaccia have no milk.",
        es="El pan de masa madre y la focaccia no llevan leche.",
    ),
    _about(
        r"deliver|entrega|entregam|env[ií]o|domicilio",
        pt="Entregamos num raio de 3 km, sem taxa acima de R$ 60.",
        en="We deliver within 3 km, free above R$ 60.",
        es="Entregamos a 3 km a la redonda, gratis desde R$ 60.",
    ),
    _about(
        r"cake|bolo|pastel|torta|price|cost|quanto|cu[aá]nto|pre[cç]o|precio",
        pt="O bolo de cenoura sai por R$ 32.",
        en="The carrot cake is R$ 32.",
        es="El pastel de zanahoria cuesta R$ 32.",
    ),
    _about(
        r"person|human|pessoa|humano|persona|atendente|algu[eé]m|alguien",
        pt="Claro, já chamo alguém da equipe.",
        en="Of course, I am calling someone of the team.",
        es="Claro, ya llamo a alguien del equipo.",
    ),
)
_NOTHING = _about(
    r"$^",
    pt="Oi! Aqui é a Padaria Aurora. Como posso ajudar?",
    en="Hi! This is Padaria Aurora. How can I help?",
    es="¡Hola! Aquí la Padaria Aurora. ¿En qué puedo ayudar?",
)
_NOTES = re.compile(r"\[[^\]]*\]")  # the router's notes, in English; customers' words have none
_SPANISH = re.compile(
    r"[¿¡ñ]|\b(hola|ustedes|tienen|cu[aá]nto|abren|leche|est[aá]n|domicilio)\b", re.IGNORECASE
)
_ENGLISH = re.compile(
    r"\b(hi|hello|you|the|is|are|open|have|how|what|want|without|please|thanks)\b",
    re.IGNORECASE,
)


def answer(request: LlmRequest) -> Reply:
    """Answer everything that the customer has written since the AI's last reply."""
    heard = _NOTES.sub(" ", " ".join(request.unanswered))
    topics = [topic for topic in _TOPICS if topic.asked.search(heard)] or [_NOTHING]
    return Reply(" ".join(_said(topic, heard) for topic in topics))


def _said(topic: _Topic, heard: str) -> str:
    if _SPANISH.search(heard):
        return topic.es
    return topic.en if _ENGLISH.search(heard) else topic.pt
