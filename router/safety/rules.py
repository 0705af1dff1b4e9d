"""What is checked of a reply: a tenant's rules, and the deployment's where it has none."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplyDefaults:
    """What holds where a tenant has no rule of its own; `notes` are ours to every model."""

    max_characters: int
    leak_characters: int
    system_prompt: str
    notes: str
