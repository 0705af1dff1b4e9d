"""The demo's own n8n, where the LLM is played: with its address, and gone with the demo.

The n8n that serves for real never learns that address: it would go on asking there. With a key of a
real model that one plays along, and keeps what builders change in it.
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
    """Give a new one, with these settings; nobody else plays on this data folder meanwhile."""
    place = place_of_demo(settings)
    end_leftovers(settings, tell)  # one of a killed start works in what is dropped now
    _forget(place, dsn)
    try:
        with running_n8n(settings, tell, place) as n8n:
            yield n8n
    finally:
        with suppress(OSError, asyncpg.PostgresError):  # then the next one does
            _forget(place, dsn)


def _forget(place: Place, dsn: str) -> None:
    asyncio.run(drop_database(dsn, place.database))
    shutil.rmtree(place.folder, ignore_errors=True)
