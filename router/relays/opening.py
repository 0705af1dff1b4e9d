"""Makes the relayer from the configuration."""

from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.http.bodies import Bodies
from router.relays.delivery import Delivery, RelayServices, Turns
from router.relays.relayer import Relayer, RelayLimits
from router.relays.staff_media import StaffMedia
from router.sending.outbox import Outbox
from router.state.database import Database
from router.tenants.instance import InstanceKeys
from router.tenants.policy import policy

_PARALLEL = 10
_LEASE = 60.0  # seconds for the work before the fence, and again after it


def make_relayer(
    settings: Settings,
    database: Database,
    outbox: Outbox,
    evolution: EvolutionClient,
    turns: Turns,
    bodies: Bodies,
) -> Relayer:
    """Return the relayer, not running yet. `bodies` limits the media in memory."""
    services = RelayServices(
        database=database,
        outbox=outbox,
        media=StaffMedia(evolution, InstanceKeys.of(settings), bodies, settings.max_media_bytes),
        turns=turns,
        policy=policy(settings),
        default_zone=settings.default_timezone,
    )
    limits = RelayLimits(parallel=_PARALLEL, lease=_LEASE, poll=settings.poll_seconds)
    return Relayer(database, limits, lambda relay: Delivery(relay, services))
