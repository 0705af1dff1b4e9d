"""The health check of the LLM accounts: whether the deployment's keys work. Pure."""

from collections.abc import Mapping

from router.http.unanswered import Judged
from router.llm.standing import Known

_CURES = {
    "account_empty": "the credit of its account is used up: add some",
    "account_refused": "it refuses the key: set another as {variable}",
}


def judge_accounts(provider: str, accounts: Mapping[str, Known | None]) -> Judged:
    """Return the check's result: an error only if `provider`, the preferred one, is refused.

    A provider's own message is not shown, because anybody may call `/health`.
    """
    first = accounts.get(provider)
    said = [f"{provider}: {say_account(provider, first)}"]
    for name, known in accounts.items():
        if name != provider and known is not None and known.is_refused:
            said.append(f"warning: {name}: {say_account(name, known)}")
    is_refused = first is not None and first.is_refused
    return Judged("error" if is_refused else "ok", "; ".join(said))


def say_account(provider: str, known: Known | None, variable: str | None = None) -> str:
    """Return an account's state in words; `variable` is where its key is set."""
    if known is None:
        return "configured; its key is being looked at"
    variable = variable or f"{provider.upper()}_API_KEY"
    match known.standing:
        case "works":
            return "the key is accepted" if known.by == "look" else "it answers"
        case "account_empty" | "account_refused":
            return _CURES[known.standing].format(variable=variable)
        case "away":
            return f"warning: it is away, or cannot be reached ({known.said})"
        case "unknown":
            return f"configured; whether its key works is known after a reply ({known.said})"
