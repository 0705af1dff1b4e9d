"""The times of a run, scaled down so that conversations are quick, and the configuration."""

import secrets
from dataclasses import dataclass, field

from benchmarks.faults.plan import SendFate

_MARGIN = 1.0  # seconds between the end of a played delay and the bound


@dataclass(frozen=True, slots=True)
class Terms:
    """Times in seconds, and the run's own secrets."""

    send_timeout: float = 2.5
    settle: float = 4.0
    llm_timeout: float = 2.0
    debounce: float = 0.3
    retry_seconds: float = 0.25
    """Evolution's first pause before it posts a webhook again."""
    webhook_secret: str = field(default_factory=lambda: secrets.token_hex(24))
    api_key: str = field(default_factory=lambda: secrets.token_hex(24))
    flow_key: str = field(default_factory=lambda: secrets.token_hex(24))

    @property
    def bound(self) -> float:
        """How long after its beginning a send may still reach the phone."""
        return self.send_timeout + self.settle

    def socket_seconds(self, fate: SendFate) -> float:
        """Return how long the socket takes for a send."""
        if fate.trouble == "beyond":
            return self.bound + 0.5 + 4 * fate.share
        return fate.share * (self.bound - _MARGIN)

    def environment(
        self, database_url: str, llm_url: str, flow_url: str | None = None
    ) -> dict[str, str]:
        """Return the configuration of both routers; `flow_url` is where n8n answers."""
        n8n = {
            "N8N_ENABLED": "true",
            "N8N_WEBHOOK_URL": str(flow_url),
            "N8N_API_KEY": self.flow_key,
            "N8N_ANSWER_SECONDS": f"{self.llm_timeout:g}",
            "N8N_PROBE_SECONDS": "1",
        }
        return {
            **(n8n if flow_url is not None else {}),
            "DATABASE_URL": database_url,
            "EVOLUTION_WEBHOOK_SHARED_SECRET": self.webhook_secret,
            "API_KEYS": f"people:{self.api_key}",
            "ALLOWED_NETWORKS": "127.0.0.0/8",
            "ANTHROPIC_API_KEY": "sk-ant-for-the-loopback",
            "ANTHROPIC_BASE_URL": llm_url,
            "LLM_PROVIDER": "anthropic",
            "LLM_TIMEOUT": f"{self.llm_timeout:g}",
            "LLM_ATTEMPTS": "1",
            "LLM_MAX_TOKENS": "8000",
            "PROMPT_TOKEN_BUDGET": "100000",
            "DEBOUNCE_SECONDS": f"{self.debounce:g}",
            "DEBOUNCE_CAP_SECONDS": f"{5 * self.debounce:g}",
            "TURN_LEASE_SECONDS": f"{self.llm_timeout + 6:g}",
            "RETRY_BASE_SECONDS": "0.2",
            "POLL_SECONDS": "0.5",
            "SEND_TIMEOUT": f"{self.send_timeout:g}",
            "SEND_SETTLE_SECONDS": f"{self.settle:g}",
            "TYPING_SECONDS": "0.05",
            "MAX_CONCURRENT_TURNS": "40",
            "LOOP_REPLIES": "0",
            "API_CALLS_PER_MINUTE": "1000000",
            "FLOW_CALLS_PER_MINUTE": "1000000",
            "ADDRESS_CALLS_PER_MINUTE": "1000000",
            "TENANT_WEBHOOKS_PER_MINUTE": "1000000",
            "CONTACT_MESSAGES_PER_MINUTE": "1000000",
            "LOG_LEVEL": "warning",
            "LOG_FORMAT": "text",
        }
