"""The demo business that `make run` plays on loopback where there is no tenant yet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demo:
    """What a router is told of it. Only `scripts.serve` makes one: no setting brings it about.

    `evolution_url` is where its phones are; `llm_url` the AI that is played, None: a real one.
    """

    tenant_id: int
    instance_name: str
    evolution_url: str
    llm_url: str | None

    @property
    def told(self) -> str:
        """What the log and /health say of it."""
        played = "WhatsApp is" if self.llm_url is None else "WhatsApp and the AI are"
        return (
            f"demo: {self.instance_name} is not a real business; {played} played on this machine."
            " It goes with the first real tenant, or with DEMO=0"
        )
