"""What the API answers that is not just what the state does: see `router.state.calls`."""

from pydantic import BaseModel, Field


class AutoResumed(BaseModel):
    """What one run of auto-resume has done."""

    resumed: int
    turns: int = Field(description="Turns made for what nobody had answered")
    more: bool = Field(default=False, description="Others are over, too: call it again")


class CheckStep(BaseModel):
    """One step of the way from a customer's message to the reply."""

    step: str
    ok: bool
    detail: str
    cure: str | None = None


class InstanceCheck(BaseModel):
    """The whole way, step by step, as far as each step can be looked at."""

    ok: bool
    failed: str | None = Field(description="The first step that failed")
    steps: list[CheckStep]
    warnings: list[str]
