"""What a notice says of outages: why customers get no answer, and that they do again. Pure."""

from collections.abc import Mapping
from datetime import datetime

from router.state.calls.notices import OutageTold

MOST = 1000
"""So many turns are counted; that many stands for any more."""

_PROVIDERS = {"anthropic": "Anthropic", "openai": "OpenAI"}
_TOLD = "Who runs HybridFlow for you has to cure that, and sees it in its log and /health."
_WAITS = "When it works again, those who wait are answered by themselves, unless it is too late."

OF_OWN_KEY: Mapping[str, str] = {
    "account_empty": "The credit of your account at {provider} is used up. Add credit there. "
    + _WAITS,
    "account_refused": "{provider} refuses the key of your account (llm_api_key). Set another"
    " one, or see what {provider} says of it. " + _WAITS,
}
"""What is said of a business that has a key of its own, where that makes a difference."""

WHY: Mapping[str, str] = {
    "account_empty": "The credit of the AI's account at {provider} is used up. " + _TOLD,
    "account_refused": "{provider} refuses the key of the AI's account. " + _TOLD,
    "llm_away": "The AI at {provider} has not answered for some minutes. " + _WAITS,
    "n8n_away": "n8n, which makes the answers, is away. " + _TOLD,
    "misconfigured": "The AI's settings are wrong: its model, or what is asked of it (llm_model,"
    " llm_max_tokens), is refused, or it has no key. " + _TOLD,
    "flow_failed": "The flow in n8n that makes the answers fails. Its last executions in n8n say"
    " why.",
    "crashed": "Making an answer was broken off every time. " + _TOLD,
    "too_late": "Messages were not looked at before it was too late to answer them. " + _TOLD,
    "line_away": "WhatsApp, or Evolution API, could not be reached before it was too late to"
    " answer.",
    "budget": "The budget of this day is used up (daily_turns, daily_tokens). It begins anew at"
    " midnight UTC.",
    "contact_budget": "A customer has used up its own budget of this day (contact_daily_turns,"
    " contact_daily_tokens), and is answered again after midnight UTC.",
    "send_failed": "Evolution API refuses to send an answer, for good.",
    "in_doubt": "Nobody could find out whether an answer was sent. Look at the phone: it may be"
    " there.",
    "half_said": "A flow in n8n broke off in the middle of an answer, and what it would have said"
    " besides is not known.",
}
"""Why there is no answer, and who can cure that, for each cause of `hybridflow.endings`."""

ONE_BY_ONE = frozenset({"contact_budget", "send_failed", "in_doubt", "half_said"})
"""These concern a conversation, and not all of them."""


def say_unanswered(name: str, outages: tuple[OutageTold, ...]) -> str:
    """Return that customers of `name` get no answer, and why."""
    head = f"{name} does not answer its customers now."
    if outages and all(each.cause in ONE_BY_ONE for each in outages):
        head = f"{name} did not answer a customer."
    return "\n\n".join([head, *(f"{why(each)} {_count(each)}" for each in outages)])


def say_answered_again(name: str, outages: tuple[OutageTold, ...]) -> str:
    """Return that it is over, how long it took, and how many got no answer."""
    said = [f"{name} answers its customers again."]
    said += [f"{_what(each)} {_took(each)} {_lost(each)}" for each in outages]
    return "\n\n".join(said)


def why(outage: OutageTold) -> str:
    """Return why there is no answer, and who can cure that."""
    own = OF_OWN_KEY.get(outage.cause) if outage.has_own_key else None
    words = own or WHY.get(outage.cause, "The AI could not answer.")
    return words.format(provider=_provider(outage))


def reason_of_outages(outages: tuple[OutageTold, ...]) -> str:
    """Return the causes, by their names."""
    return ", ".join(each.cause for each in outages)


def _provider(outage: OutageTold) -> str:
    return _PROVIDERS.get(outage.provider or "", outage.provider or "its provider")


def _what(outage: OutageTold) -> str:
    """Return the first sentence of why it was."""
    return why(outage).partition(". ")[0].rstrip(".") + "."


def _count(outage: OutageTold) -> str:
    count = _number(outage.turns)
    if outage.turns <= 1:
        return "So far it concerns one conversation."
    return f"So far it concerns {count} answers."


def _took(outage: OutageTold) -> str:
    if outage.ended_at is None:
        return ""
    return f"That lasted {_length(outage.began_at, outage.ended_at)}."


def _lost(outage: OutageTold) -> str:
    if outage.unanswered == 0:
        return f"Of {_number(outage.turns)} answers none is lost."
    return (
        f"Of {_number(outage.turns)} answers {_number(outage.unanswered)} were not made: look at"
        " the chats of that time, and answer by hand."
    )


def _number(count: int) -> str:
    return f"{count} or more" if count >= MOST else str(count)


def _length(began: datetime, ended: datetime) -> str:
    minutes = max(1, round((ended - began).total_seconds() / 60))
    if minutes < 120:
        return "one minute" if minutes == 1 else f"{minutes} minutes"
    return f"{round(minutes / 60)} hours"
