"""Assembles the way in from the configuration."""

from collections.abc import Callable
from dataclasses import dataclass

from router.configuration.settings import Settings
from router.evolution.client import EvolutionClient
from router.intake.gap_repairs import GapRepairs
from router.intake.ingester import Ingester
from router.intake.marks import Marks
from router.intake.pairs import Pairs
from router.intake.reactions import Reactions, Turns
from router.people.hashing import ContactHashes
from router.sharing.rates import Rates
from router.state.entrances import Entrances
from router.tenants.instance import InstanceKeys
from router.tenants.policy import policy


@dataclass(frozen=True, slots=True)
class Intake:
    """The services that bring in events: from webhooks, and those that no webhook brought."""

    ingester: Ingester
    repairs: GapRepairs
    pairs: Pairs
    reactions: Reactions


@dataclass(frozen=True, slots=True)
class Wakes:
    """What incoming events wake up, besides turns."""

    notices: Callable[[], None]
    relays: Callable[[], None]


def open_intake(
    settings: Settings,
    entrances: Entrances,
    history: EvolutionClient,
    turns: Turns,
    wakes: Wakes,
    hashes: ContactHashes,
    rates: Rates,
) -> Intake:
    """Return the way in; no repair has begun.

    `history` has its own pool. `turns` is told of events from webhooks and from repairs.
    """
    marks = Marks(hashes, rates, settings.contact_messages_per_minute)
    reactions = Reactions(turns, wakes.notices, hashes)
    reactions.relayed = wakes.relays
    ingester = Ingester(entrances.webhooks, policy(settings), marks, reactions)
    repairs = GapRepairs(entrances.repairs, history, settings, marks, reactions)
    reactions.reconnected = repairs.begin
    pairs = Pairs(entrances.repairs, history, ingester, InstanceKeys.of(settings))
    reactions.unknown_lid = pairs.ask
    return Intake(ingester, repairs, pairs, reactions)
