"""What is checked in a reply: a tenant's settings, and the deployment's if it has none."""

from dataclasses import dataclass

_MOST_CHARACTERS = 100_000
"""Characters of a reply, if a tenant's own limit is higher than the deployment's. There must be a
limit, because the whole reply is checked again each time that a flow says more."""


@dataclass(frozen=True, slots=True)
class ReplyDefaults:
    """The values for tenants without their own settings; `notes` are our rules for all models."""

    max_characters: int
    leak_characters: int
    system_prompt: str
    notes: str


def longest_reply(own: int | None, defaults: ReplyDefaults) -> int:
    """Return how many characters a whole reply may have; `own` is the tenant's setting, if any."""
    if own is None:
        return defaults.max_characters
    return min(own, max(_MOST_CHARACTERS, defaults.max_characters))
