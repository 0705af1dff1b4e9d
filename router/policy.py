"""The deployment's rules of the conversation, as the SQL functions take them."""

from router.settings import Settings


def policy(settings: Settings) -> dict[str, float]:
    """Return the `policy` argument: what holds where a tenant has no rule of its own."""
    return {
        "resume_after_hours": settings.resume_after_hours,
        "answer_within_minutes": settings.answer_within_minutes,
        "debounce_seconds": settings.debounce_seconds,
        "debounce_cap_seconds": settings.debounce_cap_seconds,
    }
