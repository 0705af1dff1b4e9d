"""What is checked of a reply: a tenant's rules, and the deployment's where it has none."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class ReplyRules(BaseModel):
    """A tenant's own rules, as the state gives them; None: the deployment's default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    forbidden_patterns: tuple[str, ...] = ()
    max_characters: int | None = None
    leak_characters: int | None = None
    moderation_url: str | None = None


@dataclass(frozen=True, slots=True)
class ReplyDefaults:
    """What holds where a tenant has no rule of its own; `notes` are ours to every model."""

    max_characters: int
    leak_characters: int
    system_prompt: str
    notes: str
