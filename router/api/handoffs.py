"""Handoffs: customers who wait for a human, and the humans who came."""

from router.api.dependencies import TheLists
from router.api.keyed import keyed
from router.api.queries import AskedHandoffs
from router.state.calls import handoffs
from router.state.calls.handoffs import HandoffPage

router = keyed("sessions")


@router.get("/handoffs", summary="List a tenant's handoffs, newest first")
async def list_handoffs(query: AskedHandoffs, database: TheLists) -> HandoffPage:
    """`state=waiting` lists the customers for whom no human has come yet."""
    return await handoffs.list_handoffs(database, handoffs.ListHandoffs(**query.model_dump()))
