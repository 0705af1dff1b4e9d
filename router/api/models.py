"""Response models that are not the state's answers; for those see `router.state.calls`."""

from pydantic import BaseModel, Field


class AutoResumed(BaseModel):
    """The result of one run of auto-resume."""

    resumed: int
    turns: int = Field(description="Turns created for unanswered messages")
    more: bool = Field(default=False, description="More pauses have expired: call again")


class CheckStep(BaseModel):
    """One step of the way from a customer's message to the reply."""

    step: str
    ok: bool
    detail: str
    cure: str | None = None


class InstanceCheck(BaseModel):
    """The result of the test, step by step."""

    ok: bool
    failed: str | None = Field(description="The first step that failed")
    steps: list[CheckStep]
    warnings: list[str]
