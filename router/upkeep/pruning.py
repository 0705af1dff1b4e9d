"""Deletes or archives what is past its time, in batches."""

import logging
import time

from router.configuration.settings import Settings
from router.logs.events import Action, log_event
from router.state.calls import retention
from router.state.calls.retention import Pruned
from router.state.database import Database

_log = logging.getLogger(__name__)


async def run_prune(database: Database, settings: Settings, *, seconds: float) -> Pruned:
    """Prune in batches, each a transaction, until nothing is left or `seconds` are over; log it.

    Raises DatabaseAway; what was pruned until then stays pruned.
    """
    asked = retention.Prune(
        events_days=settings.events_retention_days, retention_days=settings.retention_days
    )
    ends = time.monotonic() + seconds
    done = await retention.prune(database, asked)
    while done.more and time.monotonic() < ends:
        batch = await retention.prune(database, asked)
        done = _together(done, batch)
    log_event(_log, Action.PRUNED, "Pruned what is past its time", **done.model_dump())
    return done


def _together(done: Pruned, next_batch: Pruned) -> Pruned:
    """Return the sum of both results; the later one knows whether there is more."""
    counts = done.model_dump(exclude={"more"})
    both = {name: count + getattr(next_batch, name) for name, count in counts.items()}
    return Pruned(**both, more=next_batch.more)
