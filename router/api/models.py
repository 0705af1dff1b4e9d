"""Response models that are not the state's answers; for those see `router.state.calls`."""

from pydantic import BaseModel, Field


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
