"""Where n8n's flows are, what they are told, and what holds while one of them fails."""

from dataclasses import dataclass

from pydantic import SecretStr

from router.n8n.payload import Contract, FlowTerms
from router.state.calls.claimed_turn import ClaimedTurn

KEY_HEADER = "X-N8N-API-Key"
TURN_WEBHOOK = "hybridflow-turn"


@dataclass(frozen=True, slots=True)
class FlowRules:
    """Where n8n is, what its flows are told, and whether turns wait for it while it is away.

    `probe_seconds` pass between looks whether it is back, and between tries of a flow that has
    failed `flow_failures` times in a row. `contract` holds for tenants that have
    none of their own; `attempt_lease` is renewed while a flow is waited for. `editor_url` is where
    people see n8n. So many are waited for `at_once`.
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
        """Where turns go of tenants that have no flow of their own."""
        return self.url_of(None)

    def url_of(self, flow: str | None) -> str:
        """Return where a flow's turns go."""
        return f"{self.webhooks_url}/{flow or TURN_WEBHOOK}"


def flow_of(turn: ClaimedTurn) -> str:
    """Return the flow that the turn goes to: its webhook's path."""
    return turn.tenant.n8n_flow or TURN_WEBHOOK


def headers_with(key: SecretStr) -> dict[str, str]:
    """Return what n8n is shown with whatever is posted to it."""
    return {"Content-Type": "application/json", KEY_HEADER: key.get_secret_value()}
