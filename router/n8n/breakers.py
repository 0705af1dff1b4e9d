"""When turns go elsewhere than to n8n: for all tenants, or for one whose flows fall silent. Pure.

That n8n itself is away is told by its webhook, and holds for all. A lease that ran out is of one
tenant's flow: it may be n8n that died, or the flow alone. It counts for its tenant, and shows that
n8n is away only where several tenants' flows fall silent and nobody's reports in between.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

_TENANTS = 3
_MOST_TURNS = 10_000


@dataclass(slots=True)
class Breaker:
    """Opens after `limit` failures in a row; while it is open, n8n is only probed.

    `pause` and `now` are seconds.
    """

    limit: int = 3
    pause: float = 15.0
    failures: int = 0
    probe_at: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether turns go elsewhere."""
        return self.failures >= self.limit

    def wants_probe(self, now: float) -> bool:
        """Whether it is time to look if n8n is back."""
        return self.is_open and now >= self.probe_at

    def failed(self, now: float) -> None:
        """n8n did not take what it was given, or let it lie."""
        self.failures += 1
        self.probe_at = now + self.pause

    def opens(self, now: float) -> None:
        """n8n is away, whatever was counted."""
        self.failures = max(self.failures, self.limit)
        self.probe_at = now + self.pause

    def worked(self) -> None:
        """n8n did what was asked of it."""
        self.failures = 0

    def seen(self) -> None:
        """n8n answered a probe: turns go there again, and the next failure is enough."""
        self.failures = self.limit - 1


@dataclass(slots=True)
class SilentFlows:
    """Whose flows took a turn and let it lie: a breaker for each tenant that has such."""

    all: Breaker
    """Opened where several tenants' flows are silent."""
    _of_tenants: dict[int, Breaker] = field(default_factory=dict)
    _silent: set[int] = field(default_factory=set)
    _by_themselves: set[int] = field(default_factory=set)
    _given: OrderedDict[int, int] = field(default_factory=OrderedDict)  # turns, with their tenants

    def of(self, tenant_id: int) -> Breaker | None:
        """Return the tenant's breaker, or None: nothing is known against its flows."""
        return self._of_tenants.get(tenant_id)

    def began_itself(self, tenant_id: int) -> None:
        """The tenant's flow only said that it has begun: its turns' leases are its own."""
        self._by_themselves.add(tenant_id)

    def answered(self, tenant_id: int) -> None:
        """The tenant's flow has answered: a lease that runs out is a router's."""
        self._by_themselves.discard(tenant_id)

    def begins_itself(self, tenant_id: int) -> bool:
        """Whether the tenant's flow was last seen to begin, and to send by itself."""
        return tenant_id in self._by_themselves

    def gave(self, turn_id: int, tenant_id: int) -> None:
        """A flow of the tenant has the turn."""
        self._given[turn_id] = tenant_id
        self._given.move_to_end(turn_id)
        if len(self._given) > _MOST_TURNS:
            self._given.popitem(last=False)

    def lapsed(self, turn_id: int, tenant_id: int, now: float) -> None:
        """The lease of the tenant's flow ran out, and nothing had been heard of it."""
        self._given.pop(turn_id, None)
        own = self._of_tenants.setdefault(tenant_id, Breaker(self.all.limit, self.all.pause))
        own.failed(now)
        self._silent.add(tenant_id)
        if len(self._silent) >= _TENANTS:
            self._silent.clear()
            self.all.opens(now)

    def failed(self, tenant_id: int, now: float) -> None:
        """A flow of the tenant has failed: n8n is there, and says so."""
        own = self._of_tenants.setdefault(tenant_id, Breaker(self.all.limit, self.all.pause))
        own.failed(now)
        self._silent.clear()

    def heard_of(self, turn_id: int) -> None:
        """The turn's flow has reported: n8n runs flows, and this tenant's."""
        self._silent.clear()
        tenant_id = self._given.get(turn_id)
        if tenant_id is not None:
            self._of_tenants.pop(tenant_id, None)
