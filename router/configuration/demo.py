"""The demo business that `make run` plays on loopback while there is no real tenant."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demo:
    """What a router needs to know about it. Only `scripts.serve` makes one: no setting does.

    `evolution_url` is the loopback Evolution; `llm_url` is the loopback LLM, or None for a real
    one.
    """

    tenant_id: int
    instance_name: str
    evolution_url: str
    llm_url: str | None

    @property
    def told(self) -> str:
        """What the log and /health say about it."""
        played = "WhatsApp is" if self.llm_url is None else "WhatsApp and the AI are"
        return (
            f"demo: {self.instance_name} is not a real business; {played} played on this machine."
            " It goes with the first real tenant, or with DEMO=0"
        )
