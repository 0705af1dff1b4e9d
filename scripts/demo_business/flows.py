"""The demo's own n8n, for a simulated LLM. It knows the LLM's address, and goes with the demo.

The real n8n must never get that address, because it would keep on using it. If there is a key for a
real model, the demo uses the real n8n, which keeps what builders change in it.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import asyncpg

from router.configuration.settings import Settings
from scripts.n8n.launch import Place, end_leftovers, place_of_demo, running_n8n
from scripts.n8n.server import N8nServer, drop_database


@contextmanager
def n8n_of_demo(settings: Settings, dsn: str, tell: Callable[[str], None]) -> Iterator[N8nServer]:
    """Run a new n8n with these settings. The caller holds the demo's lock on the data folder."""
    place = place_of_demo(settings)
    end_leftovers(settings, tell)  # an n8n of a killed start may still use what is dropped now
    _forget(place, dsn)
    try:
        with running_n8n(settings, tell, place) as n8n:
            yield n8n
    finally:
        with suppress(OSError, asyncpg.PostgresError):  # then the next demo does it
            _forget(place, dsn)


def _forget(place: Place, dsn: str) -> None:
    asyncio.run(drop_database(dsn, place.database))
    shutil.rmtree(place.folder, ignore_errors=True)
