"""The settings of n8n's flows: their addresses, their payload, and the rules if one fails."""

from dataclasses import dataclass

from pydantic import SecretStr

from router.n8n.addresses import TURN_WEBHOOK
from router.n8n.payload import Contract, FlowTerms
from router.state.calls.claimed_turn import ClaimedTurn

KEY_HEADER = "X-N8N-API-Key"


@dataclass(frozen=True, slots=True)
class FlowRules:
    """Where n8n is, what its flows get, and whether turns wait while it is away.

    `probe_seconds` is the time between probes while n8n is away, and between attempts with a flow
    that has failed `flow_failures` times in a row. `contract` is for tenants without one of their
    own. `attempt_lease` is renewed while the router waits for a flow. `editor_url` is where people
    open n8n. `at_once` limits the turns that flows answer at the same time.
    """

    webhooks_url: str
    api_key: SecretStr
    terms: FlowTerms
    wait_for_n8n: bool
    probe_seconds: float
    contract: Contract = "answer"
    attempt_lease: float = 30
    flow_failures: int = 5
    editor_url: str = ""
    at_once: int = 30

    @property
    def webhook_url(self) -> str:
        """The URL for the turns of tenants without a flow of their own."""
        return self.url_of(None)

    def url_of(self, flow: str | None) -> str:
        """Return the URL for a flow's turns."""
        return f"{self.webhooks_url}/{flow or TURN_WEBHOOK}"


def flow_of(turn: ClaimedTurn) -> str:
    """Return the flow of the turn, as its webhook's path."""
    return turn.tenant.n8n_flow or TURN_WEBHOOK


def headers_with(key: SecretStr) -> dict[str, str]:
    """Return the headers of every request to n8n."""
    return {"Content-Type": "application/json", KEY_HEADER: key.get_secret_value()}
