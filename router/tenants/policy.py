"""The deployment's rules of the conversation, as the SQL functions take them."""

from router.configuration.settings import Settings
from router.state.calls.policies import Budgets, Ceilings, Policy
from router.state.database import Json


def policy(settings: Settings) -> Json:
    """Return the `policy` argument: what holds where a tenant has no rule of its own."""
    return Policy(
        resume_after_hours=settings.resume_after_hours,
        answer_within_minutes=settings.answer_within_minutes,
        debounce_seconds=settings.debounce_seconds,
        debounce_cap_seconds=settings.debounce_cap_seconds,
        loop_replies=settings.loop_replies,
        loop_minutes=settings.loop_minutes,
    ).written()


def ceilings(settings: Settings) -> Json:
    """Return the `ceilings` argument: the most that a tenant may be given of what costs us."""
    return Ceilings(
        **budgets(settings),
        llm_max_tokens=settings.llm_max_tokens,
        llm_models=tuple(sorted(settings.allowed_models)),
    ).written()


def budgets(settings: Settings) -> dict[str, int]:
    """Return the budgets that no tenant can go beyond, without what is unlimited."""
    return Budgets(
        daily_turns=settings.daily_turns,
        daily_tokens=settings.daily_tokens,
        contact_daily_turns=settings.contact_daily_turns,
        contact_daily_tokens=settings.contact_daily_tokens,
    ).written()
