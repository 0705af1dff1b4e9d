"""What a customer is told when the AI hands the conversation to a human."""

from collections.abc import Iterable, Mapping

from router.replies.asking import asks_for_person
from router.replies.making import Part
from router.replies.texts import texts_of
from router.safety.answers_promised import promises_answer
from router.safety.promises import promises_person
from router.state.calls.claimed_turn import ClaimedTurn
from router.whatsapp.languages import Language, language_of

HANDOFF_MESSAGE: Mapping[Language, str] = {
    "pt": "Vou chamar alguém da equipe para continuar com você por aqui.",
    "es": "Voy a avisar a alguien del equipo para que continúe con usted por aquí.",
    "en": "I am getting someone from our team, who will continue with you here.",
}
PROMISED = "the AI said that a person will come"
PROMISED_ANSWER = "the AI said that it will find out and answer later"
_LONGEST = 500  # characters of what the customer wrote, as a summary


def handoff_message(turn: ClaimedTurn) -> str:
    """Return the text of a turn's handoff: see `words_of_handoff`."""
    wrote = [each.body for each in turn.history if each.in_turn]
    return words_of_handoff(turn.tenant.handoff_message, turn.session.jids, wrote)


def words_of_handoff(own: str | None, jids: Iterable[str], wrote: Iterable[str]) -> str:
    """Return the tenant's own text for a handoff, or ours in the contact's language."""
    return HANDOFF_MESSAGE[language_of(jids, wrote)] if own is None else own


def asked_for(turn: ClaimedTurn) -> tuple[Part, ...] | None:
    """Return the reply to a customer who asks for a human, or None; it needs no model."""
    wrote = [each.body for each in turn.history if each.in_turn and each.kind == "text"]
    if not asks_for_person(wrote, turn.tenant.handoff_words):
        return None
    summary = "\n".join(wrote)[-_LONGEST:]
    return ({"handoff": {"reason": "asked_for_person", "summary": summary}},)


def kept_promise(parts: tuple[Part, ...], turn: ClaimedTurn) -> tuple[Part, ...]:
    """Return the reply, with a handoff added if it promises a human without one.

    The handoff is made with the text that has the promise and the texts after it, so that neither
    happens without the other. If the promise is in a caption, the handoff is at the end. A reply
    that only promises an answer later gets a handoff, too, because only a human can give it.
    """
    hands_off = any("handoff" in part for part in parts if not isinstance(part, str))
    if hands_off or not turn.tenant.handoff_on_promise:
        return parts
    handoff = {"handoff": {"reason": "other", "why": PROMISED}}
    for place, part in enumerate(parts):
        if isinstance(part, str) and promises_person(part):
            return (*parts[:place], {**handoff, "text": part}, *parts[place + 1 :])
    if any(promises_person(texts_of(part["body"])) for part in parts if not isinstance(part, str)):
        return (*parts, handoff)
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) == len(parts) and promises_answer("\n".join(texts)):
        later = {"handoff": {"reason": "other", "why": PROMISED_ANSWER}}
        return ({**later, "text": texts[0]}, *texts[1:])
    return parts


def with_words(parts: tuple[Part, ...], turn: ClaimedTurn) -> tuple[Part, ...]:
    """Return the reply; a handoff without a text gets the default text."""
    if not parts or isinstance(parts[-1], str) or "handoff" not in parts[-1]:
        return parts
    return (*parts[:-1], {"text": handoff_message(turn), **parts[-1]})
