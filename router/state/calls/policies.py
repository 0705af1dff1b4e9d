"""What a deployment says to the functions that ask: its rules, and the most of what costs it."""

from router.state.calls.model import Asked


class Policy(Asked):
    """The rules of the conversation that hold where a tenant has none of its own."""

    resume_after_hours: float
    answer_within_minutes: float
    debounce_seconds: float
    debounce_cap_seconds: float
    loop_replies: int
    loop_minutes: float


class Budgets(Asked):
    """What a tenant, and each contact of it, may spend in a day at most; None: any amount."""

    daily_turns: int | None = None
    daily_tokens: int | None = None
    contact_daily_turns: int | None = None
    contact_daily_tokens: int | None = None


class Ceilings(Budgets):
    """That, and what a tenant may choose of an LLM on the deployment's key."""

    llm_max_tokens: int
    llm_models: tuple[str, ...]
