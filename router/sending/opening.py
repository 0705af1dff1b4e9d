"""Assembles the way out from the configuration."""

from dataclasses import dataclass

from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.evolution.sends import EvolutionSends
from router.sending.doubts import DoubtLimits, DoubtSettler
from router.sending.looking import Looking
from router.sending.outbox import Outbox, SendTerms
from router.sending.times import SendTimes
from router.sharing.places import SendPlaces
from router.state.database import Database
from router.tenants.instance import InstanceKeys
from router.tenants.policy import policy

_CHECK_AFTER = 3.0  # seconds until a send in doubt is first looked up


@dataclass(frozen=True, slots=True)
class Sending:
    """The outbox, the search for sends in doubt, and the loop that settles some of them.

    `late`: see SendTimes.
    """

    outbox: Outbox
    looking: Looking
    settler: DoubtSettler
    late: float


def open_sending(
    settings: Settings,
    database: Database,
    evolution: EvolutionClient,
    sends: EvolutionSends,
    places: SendPlaces,
) -> Sending:
    """Return the way out; its loop is not running yet."""
    keys = InstanceKeys.of(settings)
    times = SendTimes(
        timeout=settings.send_timeout,
        settle=settings.send_settle_seconds,
        lease=settings.turn_lease_seconds,
    )
    terms = SendTerms(times, _CHECK_AFTER, policy(settings))
    looking = Looking(evolution, times.late)
    outbox = Outbox(database, sends, keys, places, terms)
    limits = DoubtLimits(times.late, settings.poll_seconds)
    settler = DoubtSettler(database, looking, keys, terms, limits)
    outbox.doubted = settler.wake
    return Sending(outbox, looking, settler, times.late)
