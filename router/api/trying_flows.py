"""Tries a tenant's flow in n8n with a test turn, of which nothing reaches anybody."""

from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from router.api.dependencies import TheDatabase, TheTests, TheTrial
from router.api.keyed import keyed
from router.errors import TooManyOfThese
from router.n8n.trial import TEXT, Trial, TriedFlow
from router.sharing.at_once import TooManyAtOnce

router = keyed("instances")
_WEBHOOK = r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"
_Name = Annotated[str, Path(max_length=200, description="Evolution's name of the instance")]


class TryFlowRequest(BaseModel, extra="forbid"):
    """What a made-up customer writes; and which flow is tried, if not the tenant's own.

    All but `text` is for a key of the deployment: it names what runs in its n8n.
    """

    text: str = Field(default=TEXT, min_length=1, max_length=4000)
    flow: str | None = Field(
        default=None, max_length=200, pattern=_WEBHOOK, description="The path of its webhook"
    )
    contract: Literal["answer", "gateway"] | None = None
    in_editor: bool = Field(
        default=False, description="To n8n's test webhook, while its editor waits for one"
    )


@router.post("/instances/{name}/try-flow", summary="Try a flow: nothing of it is sent")
async def try_flow(
    name: _Name,
    database: TheDatabase,
    tests: TheTests,
    trial: TheTrial,
    wanted: TryFlowRequest | None = None,
) -> TriedFlow:
    """Post a turn marked `dry` to n8n, and tell what would have been said.

    The flow runs for real, with its LLM and its tools; what it sends is written down. It holds the
    line for N8N_ANSWER_SECONDS at most.
    """
    given = wanted or TryFlowRequest()
    asked = Trial(name, given.text, given.flow, given.contract, given.in_editor)
    try:
        with tests.taken(f"flow of {name}"):
            return await trial.run(database, asked)
    except TooManyAtOnce as error:
        raise TooManyOfThese(
            f"a flow of {name} is being tried {tests.most} times already: wait for the answers"
        ) from error
