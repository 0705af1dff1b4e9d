"""The circuit breakers: for all turns when n8n is away, and for each flow that keeps failing. Pure.

The responses of n8n's webhook show whether n8n itself is away; that affects all tenants. A flow
that fails, or lets its lease expire, counts only for its turn's tenant. If the flows of several
tenants fall silent and no flow reports in between, n8n is away. If one flow fails for several
tenants and works for none in between, it counts as failing for all tenants that share it.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

_TENANTS = 3
_MOST_TURNS = 10_000


@dataclass(slots=True)
class Breaker:
    """Opens after `limit` failures in a row; while it is open, n8n is only probed.

    `pause` and `now` are in seconds.
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
        """Whether it is time to probe n8n."""
        return self.is_open and now >= self.probe_at

    def failed(self, now: float) -> None:
        """Note that n8n did not accept a request, or did nothing with it."""
        self.failures += 1
        self.probe_at = now + self.pause

    def opens(self, now: float) -> None:
        """Open the breaker, whatever the count is: n8n is away."""
        self.failures = max(self.failures, self.limit)
        self.probe_at = now + self.pause

    def worked(self) -> None:
        """Note that n8n did what it was asked to do."""
        self.failures = 0

    def seen(self) -> None:
        """Note that n8n answered a probe: turns go there again, but one more failure opens it."""
        self.failures = self.limit - 1


@dataclass(slots=True)
class FlowBreaker:
    """Opens after `limit` failures of a flow in a row.

    While it is open, a single turn tries the flow once in each `pause`. If the flow answers that
    turn, the breaker closes.
    """

    limit: int
    pause: float
    failures: int = 0
    try_at: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether turns go elsewhere."""
        return self.failures >= self.limit

    def takes(self, now: float) -> bool:
        """Whether a turn may go to the flow now; while open, only one turn per `pause` may."""
        if self.is_open and now < self.try_at:
            return False
        self.try_at = now + self.pause
        return True

    def failed(self, now: float) -> None:
        """Note that the flow has failed, or was silent until its lease ended."""
        self.failures += 1
        self.try_at = now + self.pause


@dataclass(slots=True)
class _OfTenant:
    """What is known about the flow of one tenant's turns."""

    flow: str
    breaker: FlowBreaker


@dataclass(slots=True)
class FlowBreakers:
    """The flows' breakers: one per tenant's flow, and one per flow that fails for several tenants.

    `limit` failures in a row open a breaker, and after `all.pause` the flow is tried again. A flow
    is named by its webhook's path.
    """

    all: Breaker
    """The breaker for all turns, opened if the flows of several tenants are silent."""
    limit: int = 5
    _of_tenants: dict[int, _OfTenant] = field(default_factory=dict)
    _of_all: dict[str, FlowBreaker] = field(default_factory=dict)
    _against: dict[str, set[int]] = field(default_factory=dict)  # for whom it fails
    _silent: set[int] = field(default_factory=set)
    _by_themselves: set[int] = field(default_factory=set)
    _given: OrderedDict[int, tuple[int, str]] = field(default_factory=OrderedDict)

    def takes(self, tenant_id: int, flow: str, now: float) -> bool:
        """Whether a turn of the tenant may go to its flow now."""
        if (shared := self._of_all.get(flow)) is not None:
            return shared.takes(now)
        own = self._of(tenant_id, flow)
        return own is None or own.takes(now)

    def is_open(self, tenant_id: int, flow: str) -> bool:
        """Whether the flow's breaker is open, for the tenant or for all that share the flow."""
        own = self._of(tenant_id, flow)
        return flow in self._of_all or (own is not None and own.is_open)

    def failures(self, tenant_id: int, flow: str) -> int:
        """The number of failures in a row for the tenant."""
        own = self._of(tenant_id, flow)
        return 0 if own is None else own.failures

    def failing(self) -> dict[str, int]:
        """Return the flows whose breakers are open, each with its number of tenants."""
        found: dict[str, int] = {}
        for each in self._of_tenants.values():
            if each.breaker.is_open:
                found[each.flow] = found.get(each.flow, 0) + 1
        return found

    def began_itself(self, tenant_id: int) -> None:
        """Note that the tenant's flow only said that it has begun: it holds its turns' leases."""
        self._by_themselves.add(tenant_id)

    def answered(self, tenant_id: int) -> None:
        """Note that the tenant's flow has answered: then an expired lease is a router's fault."""
        self._by_themselves.discard(tenant_id)

    def begins_itself(self, tenant_id: int) -> bool:
        """Whether the tenant's flow last said that it has begun, and will send by itself."""
        return tenant_id in self._by_themselves

    def gave(self, turn_id: int, tenant_id: int, flow: str) -> None:
        """Note that the flow was given a turn of the tenant."""
        self._given[turn_id] = (tenant_id, flow)
        self._given.move_to_end(turn_id)
        if len(self._given) > _MOST_TURNS:
            self._given.popitem(last=False)

    def given(self, turn_id: int) -> tuple[int, str] | None:
        """Return the turn's tenant and flow, or None if another router gave it to n8n."""
        return self._given.get(turn_id)

    def lapsed(self, turn_id: int, tenant_id: int, flow: str, now: float) -> None:
        """Note that the lease of the tenant's flow ended without any report."""
        self._given.pop(turn_id, None)
        self._count(tenant_id, flow, now)
        self._silent.add(tenant_id)
        if len(self._silent) >= _TENANTS:
            self._silent.clear()
            self.all.opens(now)

    def failed(self, tenant_id: int, flow: str, now: float) -> None:
        """Note that the flow has failed for the tenant; n8n is there, because it reports that."""
        self._silent.clear()
        self._count(tenant_id, flow, now)
        if self.is_open(tenant_id, flow):
            self._against.setdefault(flow, set()).add(tenant_id)
        if flow in self._of_all or len(self._against.get(flow, ())) >= _TENANTS:
            self._of_all.setdefault(flow, FlowBreaker(1, self.all.pause)).failed(now)

    def heard_of(self) -> None:
        """Note that a flow has reported: n8n runs flows."""
        self._silent.clear()

    def worked(self, tenant_id: int, flow: str) -> None:
        """Note that the flow has answered a turn of the tenant, or finished its work."""
        self._silent.clear()
        self._of_all.pop(flow, None)
        self._against.pop(flow, None)
        if self._of(tenant_id, flow) is not None:
            del self._of_tenants[tenant_id]

    def _of(self, tenant_id: int, flow: str) -> FlowBreaker | None:
        known = self._of_tenants.get(tenant_id)
        return None if known is None or known.flow != flow else known.breaker

    def _count(self, tenant_id: int, flow: str, now: float) -> None:
        own = self._of(tenant_id, flow)
        if own is None:
            own = FlowBreaker(self.limit, self.all.pause)
            self._of_tenants[tenant_id] = _OfTenant(flow, own)
        own.failed(now)
