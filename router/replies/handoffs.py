"""What a customer is told where the AI hands the conversation to a human."""

from collections.abc import Mapping

from router.replies.making import Part
from router.state.calls.claimed_turn import ClaimedTurn
from router.whatsapp.languages import Language, language_of

HANDOFF_MESSAGE: Mapping[Language, str] = {
    "pt": "Vou chamar alguém da equipe para continuar com você por aqui.",
    "es": "Voy a llamar a alguien del equipo para que siga con usted por aquí.",
    "en": "I am calling someone from our team, who will go on with you here.",
}


def handoff_message(turn: ClaimedTurn) -> str:
    """Return the tenant's words for it, or ours in the language that the contact writes."""
    if turn.tenant.handoff_message is not None:
        return turn.tenant.handoff_message
    wrote = [each.body for each in turn.history if each.in_turn]
    return HANDOFF_MESSAGE[language_of(turn.session.jids, wrote)]


def with_words(parts: tuple[Part, ...], turn: ClaimedTurn) -> tuple[Part, ...]:
    """Return the reply whose handoff, if it has one without a text, says what there is to say."""
    if not parts or isinstance(parts[-1], str) or "handoff" not in parts[-1]:
        return parts
    return (*parts[:-1], {"text": handoff_message(turn), **parts[-1]})
