"""Tries a tenant's flow in n8n with a test turn; nothing is sent to anybody."""

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
    """The text of a made-up customer, and which flow to try, if not the tenant's own.

    All fields but `text` need a key of the deployment: they name what runs in its n8n.
    """

    text: str = Field(default=TEXT, min_length=1, max_length=4000)
    flow: str | None = Field(
        default=None, max_length=200, pattern=_WEBHOOK, description="The path of its webhook"
    )
    contract: Literal["answer", "gateway"] | None = None
    in_editor: bool = Field(
        default=False, description="To n8n's test webhook, while its editor waits for one"
    )


@router.post("/instances/{name}/try-flow", summary="Try a flow without sending anything")
async def try_flow(
    name: _Name,
    database: TheDatabase,
    tests: TheTests,
    trial: TheTrial,
    wanted: TryFlowRequest | None = None,
) -> TriedFlow:
    """Posts a turn marked `dry` to n8n, and shows what would have been sent.

    The flow runs for real, with its LLM and its tools; what it sends is recorded only. The call
    takes at most N8N_ANSWER_SECONDS.
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
