"""What is checked in a reply: a tenant's settings, and the deployment's if it has none."""

from dataclasses import dataclass

_MOST_CHARACTERS = 100_000
"""Of a reply, where a tenant allows itself more than the deployment: all of it is read each time
that a flow says more."""


@dataclass(frozen=True, slots=True)
class ReplyDefaults:
    """What holds where a tenant has no setting of its own; `notes` are ours to every model."""

    max_characters: int
    leak_characters: int
    system_prompt: str
    notes: str


def longest_reply(own: int | None, defaults: ReplyDefaults) -> int:
    """Return how many characters a whole reply may have; `own` is the tenant's setting, if any."""
    if own is None:
        return defaults.max_characters
    return min(own, max(_MOST_CHARACTERS, defaults.max_characters))
